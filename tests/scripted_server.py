"""A model server for tests that answers like vLLM's, faults included: `/v1/models`, `/v1/completions` with token ids
as prompts, `/v1/chat/completions` with structured output, and `/pooling` with the probabilities of a verifier.

Its model solves the chains of the arithmetic world and slips now and then. An answer is a function of the prompt and
the seed alone (choice i of a request has the seed plus i), so that runs can be compared to the byte whatever happened
on the way. Its judge checks marked steps (`<step index="0">...</step>`) and slips as well. The server runs in a thread
of the test's process and remembers what it was asked and what it answered in full. Tests get it from the fixture
`scripted_server`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from prm.worlds.arithmetic import ANSWER_PREFIX, LETTERS, apply, parse_chain

Ask = tuple[tuple[int, ...], int]  # the prompt's ids and the seed of one sample

FAULTS = (
    *("status_500", "status_429", "hang", "cut_body", "reset", "empty_choices", "fewer_choices", "not_json"),
    *("not_utf8", "error_in_200", "unfinished", "another_prompt", "malformed_choice"),
)
_NOT_OF_CHATS = ("fewer_choices", "another_prompt")  # they have one choice, and do not repeat their prompt
_STEP = re.compile(r'<step index="(\d+)">(.*?)</step>', re.DOTALL)
_CHAIN = re.compile(r"\d+(?:[a-zA-Z][+\-*]\d+)+")


@dataclass
class Script:
    """How the server behaves.

    Attributes:
        slip: the probability that a step it writes is wrong.
        judge_slip: the probability that its judge misjudges a step.
        fault_share: the share of requests that are answered with a fault, each kind in its turn.
        faults: those kinds.
        hang_s: how long a hanging request hangs; longer than the client waits.
        retry_after: the header of a 429, in seconds.
        delay_s: how long every answer takes.
        max_model_len: the context length it tells of.
        paths: what it serves; another path is 404.
        ids, stop_kept, stop_told: whether an answer has token ids, keeps its stop text, and tells what stopped it.
        cached: whether `usage` tells of cached tokens.
        api_key: refuse requests without it.
        pooling: what the pooling server answers to a task and token ids: one row of probabilities for each token
            (`token_classify`), or one alone (`classify`).
        judge_says: raw texts that the judge says in its turn, instead of a verdict; `None` stands for its verdict.
    """

    slip: float = 0.15
    judge_slip: float = 0.0
    fault_share: float = 0.0
    faults: Sequence[str] = FAULTS
    hang_s: float = 5.0
    retry_after: str = "0.02"
    delay_s: float = 0.0
    max_model_len: int = 512
    paths: Sequence[str] = ("/v1/models", "/v1/completions", "/v1/chat/completions", "/pooling")
    ids: bool = True
    stop_kept: bool = True
    stop_told: bool = True
    cached: bool = False
    api_key: str = ""
    judge_says: Sequence[Mapping[str, Any] | None] = ()
    pooling: Callable[[str, list[int]], Any] | None = None


@dataclass
class ServerLog:
    """What a server was asked, sample by sample, what of it was answered in full, and the faults it injected."""

    asked: list[Ask] = field(default_factory=list)
    answered: list[Ask] = field(default_factory=list)
    judged: list[tuple[str, int]] = field(default_factory=list)  # the prompts and seeds of chats answered in full
    bodies: list[dict[str, Any]] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    most_open: int = 0


class ScriptedServer:
    """A server on a free port of the loopback interface, from `start` to `stop`; `log` and `script` may be read and
    changed while it runs."""

    def __init__(self, tokenizer: Any, script: Script | None = None):
        self.tokenizer, self.script, self.log = tokenizer, script or Script(), ServerLog()
        self.url = ""
        self._open = self._requests = self._faults = self._said = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._ready = threading.Event()

    def start(self) -> ScriptedServer:
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http://127.0.0.1:{port}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._open += 1
        self.log.most_open = max(self.log.most_open, self._open)
        try:
            return await self._route(request)
        except ConnectionError:
            return web.Response(status=499)  # the client is gone
        finally:
            self._open -= 1

    async def _route(self, request: web.Request) -> web.StreamResponse:
        if self.script.api_key and request.headers.get("Authorization") != f"Bearer {self.script.api_key}":
            return _error(401, f"Incorrect API key provided: {request.headers.get('Authorization')}")
        if request.path not in self.script.paths:
            return web.json_response({"detail": "Not Found"}, status=404)
        if request.path == "/v1/models":
            card = {"id": "scripted", "object": "model", "max_model_len": self.script.max_model_len}
            return web.json_response({"object": "list", "data": [card]})
        body = await request.json()
        self.log.bodies.append(body)
        if body["model"] != "scripted":
            return _error(404, f"The model `{body['model']}` does not exist.")
        samples = self._samples(body) if request.path == "/v1/completions" else []
        self.log.asked += samples
        await asyncio.sleep(self.script.delay_s)
        if fault := self._next_fault(chat=request.path != "/v1/completions"):
            return await self._fail(request, fault, body, samples)
        if request.path == "/v1/completions":
            return await self._send(request, self._completions(body, samples), samples)
        if request.path == "/pooling":
            return await self._send(request, self._pooled(body), [])
        sent = await self._send(request, self._chat(body), [])
        self.log.judged.append((body["messages"][-1]["content"], body.get("seed", 0)))
        return sent

    async def _send(self, request: web.Request, answer: dict[str, Any], samples: Sequence[Ask]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(json.dumps(answer).encode())
        await response.write_eof()
        self.log.answered += samples
        return response

    # Faults

    def _next_fault(self, chat: bool) -> str | None:
        self._requests += 1
        if random.Random(self._requests).random() >= self.script.fault_share:
            return None
        faults = [fault for fault in self.script.faults if not (chat and fault in _NOT_OF_CHATS)]
        fault = faults[self._faults % len(faults)]
        self._faults += 1
        self.log.faults[fault] += 1
        return fault

    async def _fail(
        self, request: web.Request, fault: str, body: dict[str, Any], samples: list[Ask]
    ) -> web.StreamResponse:
        if fault == "status_500":
            return _error(500, "CUDA out of memory")
        if fault == "status_429":
            return web.json_response({}, status=429, headers={"Retry-After": self.script.retry_after})
        if fault == "hang":
            await asyncio.sleep(self.script.hang_s)
            return _error(500, "nobody should be waiting any more")
        if request.path == "/pooling":
            answer = self._pooled(body)
        else:
            answer = self._completions(body, samples) if samples else self._chat(body)
        content = json.dumps(answer).encode()
        if fault in ("cut_body", "reset"):
            return await _broken(request, content, clean=fault == "cut_body")
        if fault in ("not_json", "not_utf8"):
            torn = content[:-7] if fault == "not_json" else content.replace(b'"text"', b'"te\xff\xfext"', 1) + b"\xff"
            return web.Response(body=torn, content_type="application/json")
        if fault == "error_in_200":
            return web.json_response({"object": "error", "message": "engine is dead", "code": 500})
        if fault == "fewer_choices":
            kept = answer["choices"] = answer["choices"][: len(answer["choices"]) // 2]
            return await self._send(request, answer, samples[: len(kept)])
        if fault == "empty_choices":
            answer["choices"] = []
        for choice in answer["choices"]:
            if fault == "unfinished":
                choice["finish_reason"] = None
            elif fault == "another_prompt":
                choice["prompt_token_ids"] = [1, 2, 3]
            elif fault == "malformed_choice":
                choice.pop("text", None)
                choice.pop("message", None)
        return web.json_response(answer)

    # The completions API

    def _samples(self, body: dict[str, Any]) -> list[Ask]:
        prompt = body["prompt"][0] if isinstance(body["prompt"][0], list) else body["prompt"]
        return [(tuple(prompt), body.get("seed", 0) + i) for i in range(body.get("n", 1))]

    def _completions(self, body: dict[str, Any], samples: Sequence[Ask]) -> dict[str, Any]:
        choices = [self._choice(i, ids, seed, body) for i, (ids, seed) in enumerate(samples)]
        usage: dict[str, Any] = {
            "prompt_tokens": len(samples[0][0]),
            "completion_tokens": sum(len(choice["token_ids"]) for choice in choices),
        }
        if self.script.cached:
            usage["prompt_tokens_details"] = {"cached_tokens": len(samples[0][0]) // 16 * 16}
        if not (self.script.ids and body.get("return_token_ids")):
            for choice in choices:
                del choice["token_ids"], choice["prompt_token_ids"]
        return {"id": "cmpl-0", "object": "text_completion", "model": "scripted", "choices": choices, "usage": usage}

    def _choice(self, index: int, ids: tuple[int, ...], seed: int, body: dict[str, Any]) -> dict[str, Any]:
        text = self.continuation(self.tokenizer.decode(list(ids)), seed if body["temperature"] else 0)
        tokens = [*self.tokenizer.encode(text, add_special_tokens=False), self.tokenizer.eos_token_id]
        taken, finish, told = self._cut(tokens, body.get("stop") or [], body["max_tokens"])
        written = self.tokenizer.decode(taken, skip_special_tokens=True)
        if told and not (self.script.stop_kept and body.get("include_stop_str_in_output")):
            written = written[: written.index(told)]
        choice = {
            "index": index,
            "text": written,
            "finish_reason": finish,
            "token_ids": taken,
            "prompt_token_ids": list(ids),
        }
        return choice | ({"stop_reason": told} if self.script.stop_told else {})

    def _cut(self, tokens: list[int], stops: Sequence[str], max_tokens: int) -> tuple[list[int], str, str | None]:
        for count in range(1, min(len(tokens), max_tokens) + 1):
            text = self.tokenizer.decode(tokens[:count], skip_special_tokens=True)
            if found := [stop for stop in stops if stop in text]:
                return tokens[:count], "stop", found[0]
            if count == len(tokens):
                return tokens, "stop", None
        return tokens[:max_tokens], "length", None

    def continuation(self, text: str, seed: int) -> str:
        """The rest of a solution, up to its answer, as a function of the text before it and the seed."""
        rng = random.Random(hashlib.sha256(f"{seed}\0{text}".encode()).digest())
        problem, _, begun = text.partition("\n")
        lines = begun.split("\n")[:-1]
        if any(line.startswith(ANSWER_PREFIX) for line in lines):
            return ""
        chain = parse_chain(problem)
        value = int(lines[-1].rpartition("=")[2]) if lines else chain.start
        written = []
        for letter, (op, operand) in zip(LETTERS, chain.operations, strict=False):
            if LETTERS.index(letter) < len(lines):
                continue
            result = apply(value, op, operand) + (rng.choice((-1, 1, 10)) if rng.random() < self.script.slip else 0)
            written.append(f"{letter}{value}{op}{operand}={result}")
            value = result
        return "\n".join([*written, f"{ANSWER_PREFIX}{value}"])[len(begun.rpartition("\n")[2]) :]

    # vLLM's pooling API: a verifier

    def _pooled(self, body: dict[str, Any]) -> dict[str, Any]:
        assert self.script.pooling is not None and body["use_activation"] and not body["add_special_tokens"]
        data = self.script.pooling(body["task"], body["input"])
        usage = {"prompt_tokens": len(body["input"]), "total_tokens": len(body["input"])}
        return {"object": "list", "model": "scripted", "data": [{"index": 0, "data": data}], "usage": usage}

    # The chat API: a judge

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        turn = body["messages"][-1]["content"]
        says = self.script.judge_says
        said = says[self._said % len(says)] if says else None
        self._said += 1
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        finish = "stop"
        if said is None:
            message["content"] = json.dumps(self.verdict(turn, body.get("seed", 0)))
        else:
            finish = said.get("finish_reason", "stop")
            message |= {key: value for key, value in said.items() if key != "finish_reason"}
        usage = {"prompt_tokens": len(turn) // 4, "completion_tokens": len(message["content"] or "") // 4}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return {"object": "chat.completion", "model": "scripted", "choices": [choice], "usage": usage}

    def verdict(self, turn: str, seed: int) -> dict[str, Any]:
        """The truth about every marked step, misjudged now and then."""
        rng = random.Random(hashlib.sha256(f"{seed}\0{turn}".encode()).digest())
        chain = _CHAIN.search(turn)
        expected = parse_chain(chain[0]).solution() if chain else []
        right, steps = True, []
        for number, step in _STEP.findall(turn):
            right = right and int(number) < len(expected) and step.strip() == expected[int(number)]
            steps.append({"index": int(number), "reason": "recomputed", "correct": right})
        for step_verdict in steps:
            if rng.random() < self.script.judge_slip:
                step_verdict["correct"] = not step_verdict["correct"]
        wrong = [step_verdict["index"] for step_verdict in steps if not step_verdict["correct"]]
        return {"steps": steps, "first_error": wrong[0] if wrong else -1}


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


async def _broken(request: web.Request, content: bytes, *, clean: bool) -> web.StreamResponse:
    """Half of a body that was announced whole, and then the end (`clean`) or a reset of the connection."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(content))})
    await response.prepare(request)
    await response.write(content[: len(content) // 2])
    if request.transport is not None:
        if clean:
            request.transport.close()
        else:
            request.transport.abort()
    return response
