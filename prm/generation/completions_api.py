"""The completions API, spoken and read: requests into JSON bodies, choices into completions.

The servers differ in small ways, and a difference that is not noticed makes wrong labels: an unfinished choice is not
a wrong answer, one that stopped at a stop text is not finished by itself, and a stop text that is left out is part of
the step. vLLM tells the ids and (in `stop_reason`) what stopped it, SGLang calls the latter `matched_stop`, llama.cpp
tells neither. A choice's text is the server's: it ends with the stop text, behind which the last token may go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.http_policy import FailedAttempt
from prm.generation.http_wire import plain_text
from prm.rollouts import Cost, StopReason
from prm.step_format import encode_plain

SEED_RANGE = 2**31  # llama.cpp's seeds have 32 bits, of which 2^32 - 1 means a random one
Job = tuple[int, ...]  # positions of requests that have one prompt and consecutive seeds


def server_seed(seed: int) -> int:
    """A request's seed, reduced to what every server takes. The samples of one prompt, whose seeds follow each other,
    stay apart."""
    return seed % SEED_RANGE


def group_requests(requests: Sequence[GenerationRequest], positions: Sequence[int], limit: int) -> list[Job]:
    """The positions in groups of at most `limit`, one HTTP request each; prompts that begin alike lie side by side, so
    that they meet in the server's cache."""
    order = sorted(positions, key=lambda i: (requests[i].prompt_ids, requests[i].seed, i))
    groups: list[list[int]] = []
    for i in order:
        if groups and len(groups[-1]) < limit and _follows(requests[groups[-1][-1]], requests[i]):
            groups[-1].append(i)
        else:
            groups.append([i])
    return [tuple(group) for group in groups]


def _follows(before: GenerationRequest, after: GenerationRequest) -> bool:
    return before.prompt_ids == after.prompt_ids and server_seed(before.seed) + 1 == server_seed(after.seed)


class CompletionsExchange:
    """An `Exchange` whose jobs are groups of requests, and whose results are completions by position.

    Args:
        requests: what the positions stand for.
        sampling: of all requests.
        tokenizer: the served model's.
        served_name: what the server calls the model.
        num_parameters: what FLOPs are counted with.
        context_length: in tokens.
        affine_tokens: the first so many tokens of a prompt decide on its server.
    """

    path = "/completions"

    def __init__(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        tokenizer: Any,
        *,
        served_name: str,
        num_parameters: int,
        context_length: int,
        affine_tokens: int,
    ):
        self.requests, self.sampling, self.tokenizer = requests, sampling, tokenizer
        self.served_name, self.num_parameters = served_name, num_parameters
        self.context_length, self.affine_tokens = context_length, affine_tokens

    def affinity(self, job: Job) -> bytes:
        return np.array(self.requests[job[0]].prompt_ids[: self.affine_tokens], dtype=np.int64).tobytes()

    def body(self, job: Job) -> dict[str, Any]:
        """The request. What the servers would otherwise take from the model's `generation_config.json` (Qwen's says
        top_k 20 and a repetition penalty) is switched off, so that samples follow `sampling` alone."""
        first = self.requests[job[0]]
        room = self.context_length - len(first.prompt_ids)
        return {
            "model": self.served_name,
            "prompt": list(first.prompt_ids),
            "n": len(job),
            "seed": server_seed(first.seed),
            "max_tokens": min(self.sampling.max_new_tokens, room),
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop": list(self.sampling.stop),
            "include_stop_str_in_output": True,  # vLLM
            "no_stop_trim": True,  # the same for SGLang
            "return_token_ids": True,
        }

    def read(self, job: Job, answer: Any) -> tuple[list[tuple[int, Completion]], list[Job]]:
        """The completions in an answer, and the jobs that ask for those it lacks.

        Raises:
            FailedAttempt: there is none in it.
            ConfigError: the server does not tell an end of text from a stop text.
        """
        choices = _choices(answer)
        usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
        found: dict[int, Completion] = {}
        problem = FailedAttempt("no choices")
        for at, choice in enumerate(choices):
            index = choice.get("index", at) if isinstance(choice, dict) else None
            if type(index) is not int or not 0 <= index < len(job) or job[index] in found:
                continue
            try:
                found[job[index]] = self._completion(job, choice, usage, first=not found)
            except FailedAttempt as failure:
                problem = failure
        if not found:
            raise problem
        return list(found.items()), list(_runs(job, found))

    def _completion(self, job: Job, choice: dict[str, Any], usage: dict[str, Any], first: bool) -> Completion:
        prompt_ids = self.requests[job[0]].prompt_ids
        text, ids = choice.get("text"), choice.get("token_ids")
        if not isinstance(text, str) or not (ids is None or _is_ids(ids)):
            raise FailedAttempt("malformed choice", "no text, or token ids that are none")
        if choice.get("prompt_token_ids") not in (None, list(prompt_ids)):
            raise FailedAttempt("another prompt's answer")
        reason, text = self._ending(choice, plain_text(text), ids)
        generated = usage.get("completion_tokens") if len(job) == 1 else None
        if ids is None:
            ids = encode_plain(self.tokenizer, text)
            if reason is StopReason.EOS and self.tokenizer.eos_token_id is not None:
                ids = [*ids, self.tokenizer.eos_token_id]
        else:
            generated = len(ids)
        cost = self._cost(usage, len(prompt_ids), len(ids) if type(generated) is not int else generated, first)
        return Completion(tuple(ids), text, reason, cost)

    def _ending(self, choice: dict[str, Any], text: str, ids: list[int] | None) -> tuple[StopReason, str]:
        """Why a choice ended, and its text with the stop text that ended it.

        Raises:
            FailedAttempt: it did not end: the server gave up on it.
            ConfigError: it cannot be told.
        """
        reason = choice.get("finish_reason")
        if reason == "length":
            return StopReason.LENGTH, text
        if reason == "content_filter":
            return StopReason.ERROR, text  # asked again, it would be filtered again
        if reason != "stop":
            raise FailedAttempt("unfinished choice", f"finish_reason {reason!r}")
        told = choice.get("stop_reason", choice.get("matched_stop"))
        if isinstance(told, str):
            return StopReason.STOP, text if text.endswith(told) else text + told
        if text.endswith(self.sampling.stop) and self.sampling.stop:
            return StopReason.STOP, text
        if told is not None or not self.sampling.stop or "stop_reason" in choice:
            return StopReason.EOS, text  # vLLM tells an end-of-text token as null, or as its id
        if ids is None:
            raise ConfigError(
                "the server does not say whether a sample ended by itself or at a stop text (no stop_reason, no token "
                "ids); leave stop empty, or use a server that does, such as vLLM or SGLang"
            )
        return self._ending_of_ids(text, ids)

    def _ending_of_ids(self, text: str, ids: list[int]) -> tuple[StopReason, str]:
        whole = self.tokenizer.decode(ids, skip_special_tokens=True)
        at = min((found for stop in self.sampling.stop if (found := whole.find(stop, len(text))) >= 0), default=-1)
        if at < 0:
            return StopReason.EOS, text
        stop = next(stop for stop in self.sampling.stop if whole.startswith(stop, at))
        return StopReason.STOP, whole[:at] + stop

    def _cost(self, usage: dict[str, Any], prompt: int, generated: int, first: bool) -> Cost:
        """What a choice cost: the prompt is read for the first choice of an answer and cached for the others."""
        details = usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        prompt_tokens = usage.get("prompt_tokens")
        prompt = prompt_tokens if type(prompt_tokens) is int and prompt_tokens >= 0 else prompt
        cached = min(cached, prompt) if type(cached) is int and cached > 0 else 0
        prefilled = prompt - cached if first else 0
        flops = 2.0 * self.num_parameters * (prefilled + generated)
        return Cost(generated, prefilled, prompt - prefilled, flops=flops)


def _choices(answer: Any) -> list[Any]:
    if not isinstance(answer, dict) or not isinstance(answer.get("choices"), list):
        raise FailedAttempt("not an answer", f"{str(answer)[:80]!r} has no choices")
    choices: list[Any] = answer["choices"]
    return choices


def _is_ids(ids: Any) -> bool:
    return isinstance(ids, list) and all(type(token) is int and token >= 0 for token in ids)


def _runs(job: Job, found: dict[int, Completion]) -> Iterator[Job]:
    """The positions of a job that were not found, in runs whose seeds follow each other."""
    run: list[int] = []
    for i in job:
        if i not in found:
            run.append(i)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)
