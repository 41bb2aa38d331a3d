"""Many requests at once: all are answered once, whatever the servers do, and what cannot be mended is told."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from prm.errors import EndpointError
from prm.generation.http_client import HttpClient
from prm.generation.http_policy import EndpointSettings, FailedAttempt, Refusal

QUICK = {"backoff": 0.002, "max_backoff": 0.02, "request_timeout": 1.0, "connect_timeout": 1.0, "max_retries": 30}


class Echo:
    """Asks for one greedy sample per number, and reads back which prompt it was."""

    path = "/completions"

    def __init__(self, tokenizer: Any, model: str = "scripted"):
        self.tokenizer, self.model = tokenizer, model

    def affinity(self, job: int) -> bytes:
        return str(job // 4).encode()

    def body(self, job: int) -> dict[str, Any]:
        ids = self.tokenizer.encode(f"{job + 1}a+5\n", add_special_tokens=False)
        return {"model": self.model, "prompt": ids, "temperature": 0, "max_tokens": 50, "return_token_ids": True}

    def read(self, job: int, answer: Any) -> tuple[list[int], list[int]]:
        choices = answer.get("choices")
        if not choices or "text" not in choices[0] or choices[0]["finish_reason"] is None:
            raise FailedAttempt("unusable")
        if choices[0]["prompt_token_ids"] != self.body(job)["prompt"]:
            raise FailedAttempt("another prompt's answer")
        return [job], []


def client(*servers: Any, **changes: Any) -> HttpClient:
    urls = tuple(server if isinstance(server, str) else server.url for server in servers)
    return HttpClient(EndpointSettings(urls, **(QUICK | changes)))


def flat(batches: Any) -> list[Any]:
    return [result for batch in batches for result in batch]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def echo(tokenizer: Any) -> Echo:
    return Echo(tokenizer)


def test_every_job_is_answered_once_with_no_more_open_than_allowed(
    scripted_server: Callable[..., Any], echo: Echo
) -> None:
    server = scripted_server(delay_s=0.01)
    assert sorted(flat(client(server, max_concurrency=7).stream(echo, range(60)))) == list(range(60))
    assert server.log.most_open == 7
    assert len(server.log.asked) == len(set(server.log.asked)) == 60
    assert flat(client(server).stream(echo, [])) == []


def test_faults_of_every_kind_are_asked_again(
    scripted_server: Callable[..., Any], echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted_server(fault_share=0.4)
    got = flat(client(server, max_concurrency=16, request_timeout=0.5).stream(echo, range(80)))
    assert sorted(got) == list(range(80))
    assert set(server.log.faults) == set(server.script.faults)
    assert "requests failed and were asked again" in caplog.text
    assert "HTTP status 500" in caplog.text and "timed out" in caplog.text and "not UTF-8" in caplog.text


def test_work_of_one_prompt_stays_on_one_server_and_none_is_idle(
    scripted_server: Callable[..., Any], echo: Echo
) -> None:
    servers = [scripted_server(delay_s=0.005) for _ in range(3)]
    assert sorted(flat(client(*servers, max_concurrency=3).stream(echo, range(120)))) == list(range(120))
    homes: dict[int, set[str]] = {}
    for server in servers:
        for ids, _ in server.log.asked:
            homes.setdefault(self_of(echo, ids) // 4, set()).add(server.url)
    assert len(homes) == 30
    assert sum(len(home) == 1 for home in homes.values()) >= 24  # all but what was taken over at the end
    assert all(len(server.log.asked) > 10 for server in servers)


def test_fewer_workers_than_servers_do_the_work_of_all(scripted_server: Callable[..., Any], echo: Echo) -> None:
    servers = [scripted_server() for _ in range(3)]
    assert sorted(flat(client(*servers, max_concurrency=1).stream(echo, range(30)))) == list(range(30))
    assert all(server.log.asked for server in servers)


def self_of(echo: Echo, ids: tuple[int, ...]) -> int:
    return int(echo.tokenizer.decode(list(ids)).partition("a")[0]) - 1


def test_the_work_of_a_server_that_is_down_goes_to_another(scripted_server: Callable[..., Any], echo: Echo) -> None:
    server, down = scripted_server(), f"http://127.0.0.1:{free_port()}"
    assert sorted(flat(client(down, server, max_concurrency=4).stream(echo, range(40)))) == list(range(40))
    assert len(server.log.answered) == 40


def test_a_server_that_asks_to_be_left_alone_is(scripted_server: Callable[..., Any], echo: Echo) -> None:
    server = scripted_server(fault_share=1.0, faults=["status_429"], retry_after="0.4")

    def relent() -> None:
        while not server.log.faults:
            time.sleep(0.005)
        server.script.fault_share = 0.0

    threading.Thread(target=relent).start()
    start = time.monotonic()
    assert flat(client(server, max_concurrency=1).stream(echo, range(3))) == [0, 1, 2]
    assert time.monotonic() - start >= 0.4
    assert len(server.log.asked) == 4


def test_a_wait_of_hours_is_not_waited_for(scripted_server: Callable[..., Any], echo: Echo) -> None:
    server = scripted_server(fault_share=1.0, faults=["status_429"], retry_after="7200")
    with pytest.raises(EndpointError, match="asks to be left alone for 7200 s"):
        flat(client(server).stream(echo, range(3)))


def test_what_is_finished_comes_before_the_error_of_a_request_that_failed_too_often(
    scripted_server: Callable[..., Any], echo: Echo
) -> None:
    server = scripted_server()
    got: list[int] = []

    def use_up() -> None:
        for batch in client(server, max_concurrency=2, max_retries=3).stream(echo, range(400)):
            got.extend(batch)
            if len(got) > 10:
                server.script.fault_share, server.script.faults = 1.0, ["status_500"]

    with pytest.raises(EndpointError, match=r"/completions: a request failed 4 times, at last with: HTTP status 500"):
        use_up()
    assert len(server.log.answered) == len(got) < 400
    assert sorted(got) == sorted(self_of(echo, ids) for ids, _ in server.log.answered)


def test_a_refusal_is_not_repeated_and_never_shows_the_key(
    scripted_server: Callable[..., Any], tokenizer: Any, echo: Echo
) -> None:
    server = scripted_server()
    with pytest.raises(
        Refusal, match=r"404 \(The model `other` does not exist.\). Check the URL and the model's name"
    ):
        flat(client(server, max_concurrency=1).stream(Echo(tokenizer, "other"), range(5)))
    assert len(server.log.bodies) == 1
    server.script.api_key = "sk-right"
    with pytest.raises(Refusal, match=r"401 \(Incorrect API key provided: Bearer \*\*\*\)") as raised:
        flat(client(server, api_key="sk-wrong").stream(echo, range(2)))
    assert "sk-wrong" not in str(raised.value)
    assert flat(client(server, api_key="sk-right").stream(echo, [3])) == [3]


def test_a_server_that_cannot_be_reached_is_named(echo: Echo) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(EndpointError, match=rf"{nobody}/v1/completions: a request failed 3 times.*cannot connect"):
        flat(client(nobody, max_retries=2).stream(echo, [1]))
    with pytest.raises(EndpointError, match=rf"{nobody}/v1: cannot be reached.*Check the URLs"):
        client(nobody, max_retries=1).get("/models")


def test_a_caller_that_stops_early_leaves_nothing_running(scripted_server: Callable[..., Any], echo: Echo) -> None:
    server = scripted_server(delay_s=0.02)
    stream = client(server, max_concurrency=2).stream(echo, range(500))
    next(stream)
    stream.close()
    time.sleep(0.1)
    assert len(server.log.asked) <= 6  # two answered, two under way when they came, and two that took their place
    assert not [thread for thread in threading.enumerate() if thread.name == "http"]


def test_it_works_within_a_running_event_loop(scripted_server: Callable[..., Any], echo: Echo) -> None:
    server = scripted_server()

    async def notebook_cell() -> list[int]:
        assert client(server).get("/models")["data"][0]["id"] == "scripted"
        return flat(client(server).stream(echo, range(3)))

    assert sorted(asyncio.run(notebook_cell())) == [0, 1, 2]


def test_paths_that_a_server_lacks_give_nothing(scripted_server: Callable[..., Any]) -> None:
    server = scripted_server(paths=["/v1/completions"])
    assert client(server).get("/models") is None
    assert client(server).post_once("/chat/completions", {}) == 404
