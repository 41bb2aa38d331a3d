"""When a server is asked again, after how long, and which server is asked first."""

from __future__ import annotations

import random
from email.utils import formatdate

import pytest

from prm.errors import ConfigError
from prm.generation.http_policy import (
    EndpointSettings,
    FailedAttempt,
    Refusal,
    ServerState,
    backoff_seconds,
    base_url,
    check_status,
    preference,
    retry_after,
)
from prm.generation.http_wire import server_words

SETTINGS = EndpointSettings(("http://one:8000",), backoff=0.5, max_backoff=30)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        (" http://host:8000/v1/ ", "http://host:8000/v1"),
        ("https://host/openai/v2", "https://host/openai/v2"),
        ("https://host/openai", "https://host/openai/v1"),
    ],
)
def test_a_base_url_ends_with_its_version(given: str, expected: str) -> None:
    assert base_url(given) == expected


@pytest.mark.parametrize("given", ["host:8000", "", "ftp://host", "http://"])
def test_what_is_no_url_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="is not a server's URL"):
        base_url(given)


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="api_key_env") as raised:
        EndpointSettings(("http://me:secret@host:8000",))
    assert "secret" not in str(raised.value)


def test_the_key_is_in_no_representation() -> None:
    settings = EndpointSettings(("http://one", "http://one/v1/"), api_key="sk-123")
    assert settings.urls == ("http://one/v1",)
    assert "sk-123" not in repr(settings)
    assert settings.hidden("Incorrect API key: sk-123.") == "Incorrect API key: ***."


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_a_passing_trouble_is_worth_another_try(status: int) -> None:
    with pytest.raises(FailedAttempt, match=f"HTTP status {status}"):
        check_status("http://one", status, {}, "busy")


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "options"), (401, "--api_key_env"), (404, "--served_model_name"), (404, "--judge_model"), (501, "URL")],
)
def test_a_lasting_refusal_is_told_with_the_servers_words_and_the_remedy(status: int, remedy: str) -> None:
    with pytest.raises(Refusal, match=rf"http://one: refused with HTTP status {status} \(its words\).*{remedy}"):
        check_status("http://one", status, {}, "its words")
    check_status("http://one", 200, {}, "")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": formatdate(1000, usegmt=True)}, 90),
        ({"Retry-After": formatdate(10, usegmt=True)}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"}, 62.5),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1m"}, 0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "4"}, 4),
    ],
)
def test_the_wait_that_the_headers_ask_for(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, now=910) == pytest.approx(seconds)


def test_waits_double_up_to_a_limit_and_are_drawn_from_the_whole_range() -> None:
    rng = random.Random(0)
    for attempt, limit in ((0, 0.5), (3, 4.0), (20, 30.0), (5000, 30.0)):
        waits = [backoff_seconds(attempt, SETTINGS, rng) for _ in range(2000)]
        assert 0 <= min(waits) < 0.02 * limit
        assert 0.98 * limit < max(waits) <= limit
        assert sum(waits) / 2000 == pytest.approx(limit / 2, rel=0.05)


def test_a_lost_server_moves_its_own_work_alone() -> None:
    urls = [f"http://host{i}/v1" for i in range(4)]
    works = [f"problem {i}".encode() for i in range(2000)]
    homes = [preference(urls, work)[0] for work in works]
    assert all(400 < homes.count(i) < 600 for i in range(4))
    for work, home in zip(works, homes, strict=True):
        order = preference(urls, work)
        assert sorted(order) == [0, 1, 2, 3]
        left = preference(urls[:3], work)[0]
        assert left == (home if home < 3 else order[1])


def test_a_server_that_cannot_be_reached_is_left_alone_ever_longer_until_it_answers() -> None:
    server, lost = ServerState("http://one"), FailedAttempt("cannot connect", unreachable=True)
    pauses = []
    for _ in range(4):
        server.note_failure(lost, SETTINGS, now=100.0)
        pauses.append(server.paused_until - 100)
    assert pauses == [0.5, 1, 2, 4]
    server.note_success({}, now=200.0)
    server.note_failure(FailedAttempt("HTTP status 500"), SETTINGS, now=200.0)
    assert server.paused_until <= 200
    server.note_success({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}, now=300.0)
    assert server.paused_until == 309


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"object": "error", "message": "no such model"}', "no such model"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"<html>\n  Bad\n  Gateway</html>", "<html> Bad Gateway</html>"),
        (b"\xff" * 5, "\ufffd" * 5),
        (b"x" * 1000, "x" * 300),
        (b"[1]", "[1]"),
    ],
)
def test_a_servers_words_are_told_in_a_line(content: bytes, words: str) -> None:
    assert server_words(content) == words
