"""One HTTP exchange with a model server: a JSON object out, a JSON value in, and every way in which that fails told as
what it means for the caller (`prm.generation.http_policy`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prm.generation.http_policy import EndpointSettings, FailedAttempt, check_status

if TYPE_CHECKING:
    import aiohttp

_SAID = 300  # characters of a server's words that a message shows


def open_session(settings: EndpointSettings) -> aiohttp.ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),  # the workers are the limit
        timeout=aiohttp.ClientTimeout(total=settings.request_timeout, sock_connect=settings.connect_timeout),
        headers={"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {},
    )


async def exchange_json(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    settings: EndpointSettings,
    body: dict[str, Any] | None = None,
) -> tuple[Any, Any]:
    """One exchange; returns the answer's JSON and its headers.

    Raises:
        FailedAttempt: worth another try.
        Refusal: not worth it.
    """
    import aiohttp

    try:
        async with session.request(method, url, json=body, allow_redirects=False) as response:
            content = await response.read()
            status, headers = response.status, response.headers
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        reason = getattr(getattr(error, "os_error", None), "strerror", None) or str(error)
        raise FailedAttempt("cannot connect", reason, unreachable=True) from None
    except TimeoutError:
        raise FailedAttempt("timed out", f"no answer in {settings.request_timeout:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise FailedAttempt("connection lost", f"{type(error).__name__}: {error}") from None
    check_status(url, status, headers, settings.hidden(server_words(content)))
    try:
        return json.loads(content.decode("utf-8")), headers
    except UnicodeDecodeError:
        raise FailedAttempt("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise FailedAttempt("not JSON", str(error)) from None


def plain_text(text: str) -> str:
    """A text as it can be written to a file: JSON may hold halves of characters, lone surrogates, which become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def server_words(content: bytes) -> str:
    """What a server says in the body of a refusal, in a line: the message of its JSON, or the text itself."""
    text = content.decode("utf-8", errors="replace")
    try:
        said = json.loads(text)
        said = said.get("error", said) if isinstance(said, dict) else said
        said = said.get("message", said.get("detail", said)) if isinstance(said, dict) else said
        text = said if isinstance(said, str) else json.dumps(said)
    except (ValueError, RecursionError):
        pass
    return " ".join(text.split())[:_SAID]
