"""Graders: an answer and a reference in, an `Outcome` out. Cannot hang, and executes nothing.

Finding the answer in a solution is `prm.grading.answers`' business, grouping answers for a vote is
`prm.grading.grouping`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from types import TracebackType
from typing import Protocol, Self

from prm.errors import DataError
from prm.grading.answers import MAX_ANSWER_CHARS, normalise_answer, quick_outcome
from prm.grading.workers import DEFAULT_MEMORY_MB, WorkerPool
from prm.rollouts import Outcome

RULES_VERSION = 1
"""Raise it when a change of our own rules may change a verdict: ledgers key verdicts by the grader's version."""

Pair = tuple[str | None, str]
"""An answer, `None` where the solution stated none, and the reference answer."""


class Grader(Protocol):
    """Compares answers with references.

    `version` changes whenever a verdict may: it is part of every ledger key.
    """

    @property
    def version(self) -> str: ...

    def grade(self, answer: str | None, reference: str) -> Outcome:
        """One verdict; an answer that is `None` or blank is `UNPARSABLE`."""
        ...

    def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """One verdict a pair, in order."""
        ...


class ExactGrader:
    """Correct is what is spelt like the reference, after `normalise_answer`: for multiple choice and plain texts."""

    version = f"exact/{RULES_VERSION}"

    def grade(self, answer: str | None, reference: str) -> Outcome:
        _check_references([(answer, reference)])
        if answer is None or not answer.strip():
            return Outcome.UNPARSABLE
        return Outcome.CORRECT if normalise_answer(answer) == normalise_answer(reference) else Outcome.WRONG

    def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
        _check_references(pairs)
        return [self.grade(answer, reference) for answer, reference in pairs]


class MathGrader:
    """Mathematical equality: plain numbers and names at once, all else by Math-Verify in processes of its own.

    Use it as a context manager, or `close()` it; forgotten, its processes end with it or with the program. Safe from
    any thread.

    Args:
        timeout_s: wall-clock seconds for one comparison, after which it is a `TIMEOUT`.
        workers: Math-Verify processes; they start when the first answer needs one.
        fast_path: decide by exact arithmetic what is certain; `False` sends every answer to Math-Verify.
        memory_mb: memory one process may take beyond its imports.

    Raises:
        DataError: from the grading methods, for an empty reference answer.
        ConfigError: for values out of range, and where Math-Verify does not start.
    """

    def __init__(
        self,
        timeout_s: float = 5.0,
        workers: int = 2,
        fast_path: bool = True,
        *,
        memory_mb: int = DEFAULT_MEMORY_MB,
    ):
        self.fast_path = fast_path
        self.pool = WorkerPool(timeout_s, workers, memory_mb)

    @cached_property  # the packages' metadata are parsed anew at each question, and every verdict's key asks
    def version(self) -> str:
        """Our rules' version and those of the libraries that decide the rest."""
        libraries = "+".join(f"{name}-{version(name)}" for name in ("math-verify", "latex2sympy2-extended", "sympy"))
        return f"math/{RULES_VERSION}{'' if self.fast_path else '/no-fast-path'}+{libraries}"

    def grade(self, answer: str | None, reference: str) -> Outcome:
        return self.grade_many([(answer, reference)])[0]

    def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
        """One verdict a pair, in order; equal pairs are compared once."""
        _check_references(pairs)
        verdicts: dict[Pair, Outcome] = {}
        unsettled: list[tuple[str, str]] = []
        for pair in dict.fromkeys(pairs):
            answer, reference = pair
            outcome = self._without_math_verify(answer, reference)
            if outcome is not None:
                verdicts[pair] = outcome
            elif answer is not None:
                unsettled.append((answer, reference))
        verdicts.update(zip(unsettled, self.pool.compare_many(unsettled), strict=True))
        return [verdicts[pair] for pair in pairs]

    def _without_math_verify(self, answer: str | None, reference: str) -> Outcome | None:
        if answer is None or not answer.strip():
            return Outcome.UNPARSABLE
        if max(len(answer), len(reference)) > MAX_ANSWER_CHARS:
            return Outcome.CORRECT if answer.strip() == reference.strip() else Outcome.UNPARSABLE
        if not self.fast_path:
            return None
        return quick_outcome(normalise_answer(answer), normalise_answer(reference))

    def close(self) -> None:
        """End the processes. The grader may be used again; they then start anew."""
        self.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_references(pairs: Sequence[Pair]) -> None:
    for index, (_, reference) in enumerate(pairs):
        if not reference.strip():
            raise DataError(f"the reference answer of pair {index} is empty", remedy="Give every problem an answer")
