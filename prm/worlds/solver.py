"""A generator without weights: it solves chains of the arithmetic world and slips now and then.

It carries on from the last result of a started solution, wrong or right, as a language model does, and each step it
writes is wrong with a given chance. Tests and benchmarks of labelling and search that need a generator with known
chances, or more completions than a model yields in the time, use it; its samples are their seeds' alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from prm.errors import DataError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.rollouts import Cost, StopReason
from prm.worlds.arithmetic import ANSWER_PREFIX, LETTERS, apply, parse_chain

_SLIPS = (1, 1, 1, 2, 10, 10, 20)  # how far off a wrong result is


class ChainSolver:
    """A `Generator` whose token ids are the bytes of the text.

    Args:
        slip: the chance that a step it writes has a wrong result.
        unfinished: the chance that a completion is cut off before its answer line.
    """

    name, num_parameters, context_length = "chain-solver", 0, 2**20

    def __init__(self, slip: float = 0.1, unfinished: float = 0.0):
        self.slip, self.unfinished = slip, unfinished
        self.revision = f"slip={slip:g},unfinished={unfinished:g}"

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        """The bytes of the problem on a line of its own, and of the started solution."""
        return list(f"{problem}\n{prefix}".encode())

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order; of `sampling` only `max_new_tokens` counts.

        Raises:
            DataError: a prompt that is not a chain with a started solution.
        """
        seen: set[tuple[int, ...]] = set()
        completions = []
        for request in requests:
            completions.append(self._answer(request, sampling.max_new_tokens, request.prompt_ids in seen))
            seen.add(request.prompt_ids)
        if progress:
            progress(len(requests))
        return completions

    def _answer(self, request: GenerationRequest, max_new_tokens: int, cached: bool) -> Completion:
        rng = random.Random(request.seed)
        problem, _, prefix = bytes(request.prompt_ids).decode().partition("\n")
        text = carry_on(problem, prefix, self.slip, rng)
        cut = rng.random() < self.unfinished
        text = text[: len(text) // 2] if cut else text
        cut, text = cut or len(text) > max_new_tokens, text[:max_new_tokens]
        prompt = len(request.prompt_ids)
        cost = Cost(len(text), 0 if cached else prompt, prompt if cached else 0)
        return Completion(tuple(text.encode()), text, StopReason.LENGTH if cut else StopReason.EOS, cost)


def carry_on(problem: str, prefix: str, slip: float, rng: random.Random) -> str:
    """The rest of a solution from the last result of a started one.

    Raises:
        DataError: not a chain, or not a solution of one.
    """
    chain = parse_chain(problem)
    written = [line for line in prefix.split("\n") if line]
    if any(line.startswith(ANSWER_PREFIX) for line in written):
        return ""
    try:
        value = int(written[-1].rpartition("=")[2]) if written else chain.start
    except ValueError:
        raise DataError(f"{written[-1][:60]!r} is not a step of a chain", remedy="Steps read like a7+5=12") from None
    lines = []
    for letter, (op, operand) in list(zip(LETTERS, chain.operations, strict=False))[len(written) :]:
        result = apply(value, op, operand)
        if rng.random() < slip:
            result += rng.choice((-1, 1)) * rng.choice(_SLIPS)
        lines.append(f"{letter}{value}{op}{operand}={result}")
        value = result
    return "\n".join([*lines, f"{ANSWER_PREFIX}{value}"])
