"""When a model server is asked again, and when not: which answers are worth another try, how long to wait before it,
and which of several servers is asked first. Nothing here talks to anyone; `prm.generation.http_client` does."""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit, urlunsplit

from prm.errors import ConfigError, EndpointError

LONGEST_WAIT_S = 900.0  # a server that asks for more (a day's quota is used up) is not waited for
_AGAIN = frozenset({408, 409, 425, 429})  # and every 5xx
_NEVER = frozenset({501, 505})
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


@dataclass(frozen=True)
class EndpointSettings:
    """Which servers are asked, and with how much patience.

    Attributes:
        urls: base URLs, with or without `/v1`.
        api_key: sent as a bearer token; never shown.
        max_concurrency: requests that are open at once, over all servers.
        max_retries: times that a request is asked again before the run is given up.
        connect_timeout, request_timeout: seconds, the latter for a whole exchange.
        backoff, max_backoff: seconds; the k-th wait is drawn from 0 to min(max_backoff, backoff * 2^k).

    Raises:
        ConfigError: no URL, one that is none, or a number out of range.
    """

    urls: tuple[str, ...]
    api_key: str | None = field(default=None, repr=False)
    max_concurrency: int = 64
    max_retries: int = 8
    connect_timeout: float = 10.0
    request_timeout: float = 600.0
    backoff: float = 0.5
    max_backoff: float = 30.0

    def __post_init__(self) -> None:
        if not self.urls:
            raise ConfigError("missing endpoint_urls: give the base URL of at least one server")
        object.__setattr__(self, "urls", tuple(dict.fromkeys(base_url(url) for url in self.urls)))
        if self.max_concurrency < 1 or self.max_retries < 0:
            raise ConfigError("max_concurrency must be at least 1 and max_retries must not be negative")
        if min(self.connect_timeout, self.request_timeout, self.backoff, self.max_backoff) <= 0:
            raise ConfigError("connect_timeout, request_timeout and the waits between retries must be positive")

    def hidden(self, text: str) -> str:
        """The text without the key, which some servers repeat in their refusals."""
        return text.replace(self.api_key, "***") if self.api_key else text


def base_url(url: str) -> str:
    """The URL up to its version, such as `http://host:8000/v1`.

    Raises:
        ConfigError: not a URL of http or https, or one with a password in it.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is not a server's URL; give one such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise ConfigError(
            f"the URL of {parts.hostname} has a password in it, which would end up in logs; name an environment "
            "variable with api_key_env instead"
        )
    path = parts.path.rstrip("/")
    if not re.search(r"/v\d+$", path):
        path += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def root_url(url: str) -> str:
    """A base URL without its version: where vLLM has what is not OpenAI's."""
    return re.sub(r"/v\d+$", "", url)


class FailedAttempt(Exception):
    """An exchange that failed and may succeed another time.

    Args:
        kind: what went wrong in a word or two, to count by.
        detail: what exactly.
        wait: seconds that the server asked to be left alone.
        unreachable: whether nobody answered at all.
    """

    def __init__(self, kind: str, detail: str = "", *, wait: float = 0.0, unreachable: bool = False):
        self.kind, self.detail, self.wait, self.unreachable = kind, detail, wait, unreachable
        super().__init__(f"{kind} ({detail})" if detail else kind)


class Refusal(EndpointError):
    """An answer that would be the same another time: a wrong key, an unknown model, a request the server does not
    understand.

    Args:
        url: what was asked.
        status: the HTTP status.
        said: the server's own words.
    """

    def __init__(self, url: str, status: int, said: str):
        self.url, self.status, self.said = url, status, said
        super().__init__(f"{url}: refused with HTTP status {status} ({said}). {self._remedy()}")

    def _remedy(self) -> str:
        if self.status in (401, 403):
            return "Name the environment variable that holds the server's key with --api_key_env"
        if self.status in (404, 405, 501):
            return "Check the URL and the model's name on the server (--served_model_name, a judge's --judge_model)"
        return "Mend the request's options, or use another server"


def check_status(url: str, status: int, headers: Mapping[str, str], said: str) -> None:
    """Pass a 200.

    Raises:
        FailedAttempt: worth another try.
        Refusal: not worth it.
    """
    if status == 200:
        return
    if status in _AGAIN or (status >= 500 and status not in _NEVER):
        raise FailedAttempt(f"HTTP status {status}", said, wait=retry_after(headers))
    raise Refusal(url, status, said or "without a word")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float:
    """Seconds to wait before the next request: what `retry-after-ms` or `Retry-After` (seconds or a date, RFC 9110,
    10.2.3) say, else `quota_wait`. 0 where they say nothing."""
    given = headers.get("retry-after-ms")
    if given is not None and (milliseconds := _number(given)) is not None:
        return max(0.0, milliseconds / 1000)
    given = headers.get("Retry-After") or headers.get("retry-after")
    if given is None:
        return quota_wait(headers)
    if (seconds := _number(given)) is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(given).timestamp() - (time.time() if now is None else now))
    except ValueError:
        return 0.0


def quota_wait(headers: Mapping[str, str]) -> float:
    """Seconds until there are requests and tokens left again, from `x-ratelimit-remaining-*` and
    `x-ratelimit-reset-*` (`6m0s`, `250ms` or plain seconds); 0 while there are some."""
    wait = 0.0
    for what in ("requests", "tokens"):
        remaining = _number(headers.get(f"x-ratelimit-remaining-{what}", ""))
        if remaining is not None and remaining <= 0:
            wait = max(wait, _span(headers.get(f"x-ratelimit-reset-{what}", "")))
    return wait


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*\d+(?:\.\d+)?\s*", text) else None


def _span(text: str) -> float:
    if (seconds := _number(text)) is not None:
        return seconds
    return sum(float(count) * _UNITS[unit] for count, unit in _SPAN.findall(text))


def backoff_seconds(attempt: int, settings: EndpointSettings, rng: random.Random) -> float:
    """Exponential backoff with full jitter: uniform up to the doubled limit, so that clients that failed together do
    not come back together."""
    return rng.uniform(0.0, min(settings.max_backoff, settings.backoff * 2.0 ** min(attempt, 30)))


def preference(urls: Sequence[str], affinity: bytes) -> list[int]:
    """Positions of the URLs in the order in which they are asked for work of this affinity.

    Rendezvous hashing (Thaler and Ravishankar 1998): equal affinities agree on one server, whose prefix cache then
    knows their prompt, and where one is left out only its own work moves.
    """
    scores = [hashlib.sha256(affinity + b"\0" + url.encode()).digest() for url in urls]
    return sorted(range(len(urls)), key=scores.__getitem__, reverse=True)


@dataclass
class ServerState:
    """What is known of one server while a run lasts: until when it is left alone (`time.monotonic`), and why."""

    url: str
    paused_until: float = 0.0
    unreachable: int = 0

    def note_success(self, headers: Mapping[str, str], now: float) -> None:
        self.unreachable = 0
        if wait := quota_wait(headers):
            self.paused_until = max(self.paused_until, now + min(wait, LONGEST_WAIT_S))

    def note_failure(self, failure: FailedAttempt, settings: EndpointSettings, now: float) -> None:
        """Leave a server alone that asks for it, or that cannot be reached: others take over its work meanwhile."""
        wait = failure.wait
        if failure.unreachable:
            wait = min(settings.max_backoff, settings.backoff * 2.0 ** min(self.unreachable, 30))
            self.unreachable += 1
        self.paused_until = max(self.paused_until, now + wait)
