"""Rollouts: sampled solutions, one line each in `rollouts.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.jsonl import read_jsonl
from prm.problems import Problem, problem_from_row

GROWN = "/omega"  # ends the source of a rollout that a tree search drew from a prefix it had chosen


class StopReason(StrEnum):
    """Why a generation ended. A truncated (`length`) rollout is not a wrong one: it is counted apart."""

    EOS = "eos"
    LENGTH = "length"
    STOP = "stop"
    ERROR = "error"


class Outcome(StrEnum):
    """What grading said of a final answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Cost:
    """What was spent. Tokens are counts; FLOPs are 2 per parameter and token (Snell et al., arXiv 2408.03314).

    Attributes:
        generated_tokens, prefilled_tokens, cached_tokens: of the generator: sampled, read, and known from before.
        verifier_tokens: read by the verifier.
        lookahead_tokens, pruned_tokens: parts of `generated_tokens`: sampled only to look ahead, and sampled for
            branches that a search gave up.
        attended_tokens, verifier_attended_tokens: for each token that went through the model, the tokens it attends
            to, itself included, summed: what attention costs grows with them.
        cache_bytes: of key-value caches at their peak, both models; of several costs the largest.
    """

    generated_tokens: int = 0
    prefilled_tokens: int = 0
    cached_tokens: int = 0
    verifier_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    lookahead_tokens: int = 0
    pruned_tokens: int = 0
    attended_tokens: int = 0
    verifier_attended_tokens: int = 0
    cache_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        spent = {name: value + getattr(other, name) for name, value in vars(self).items()}
        spent["cache_bytes"] = max(self.cache_bytes, other.cache_bytes)
        return Cost(**spent)

    def to_dict(self) -> dict[str, float]:
        return dict(vars(self))  # `asdict` copies deeply, which is felt over a hundred thousand completions

    @classmethod
    def from_dict(cls, row: Any) -> Cost:
        """Inverse of `to_dict`; what is missing is 0.

        Raises:
            ValueError: not a cost.
        """
        if not isinstance(row, dict) or not row.keys() <= _COSTS or not all(map(_is_amount, row.values())):
            raise ValueError(f"{row!r} is not a cost, which has numbers under {', '.join(sorted(_COSTS))}")
        return cls(**row)


_COSTS = Cost.__dataclass_fields__.keys()


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


@dataclass(frozen=True)
class Rollout:
    """One sampled solution of a problem.

    `gaps` are the texts around the steps, one more than there are steps:
    `gaps[0] + steps[0] + gaps[1] + ... + steps[-1] + gaps[-1]` is the sampled text, to the character.
    `pred` is the final answer as text, `None` where none was found; `outcome` is `None` until it is graded.
    """

    problem: Problem
    steps: tuple[str, ...]
    gaps: tuple[str, ...]
    sample_index: int
    stop_reason: StopReason
    source: str
    pred: str | None = None
    outcome: Outcome | None = None
    seed: int | None = None
    cost: Cost = field(default_factory=Cost)

    @property
    def text(self) -> str:
        return self.gaps[0] + "".join(step + gap for step, gap in zip(self.steps, self.gaps[1:], strict=True))

    @property
    def correct(self) -> bool:
        return self.outcome is Outcome.CORRECT

    @property
    def key(self) -> str:
        """Identifies the rollout within a file."""
        return f"{self.problem.unique_id}/{self.source}/{self.sample_index}"

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.problem.to_dict(),
            "steps": list(self.steps),
            "gaps": list(self.gaps),
            "sample_index": self.sample_index,
            "stop_reason": self.stop_reason.value,
            "source": self.source,
            "pred": self.pred,
            "outcome": self.outcome.value if self.outcome else None,
            "seed": self.seed,
            "cost": {k: v for k, v in self.cost.to_dict().items() if v},
        }

    @classmethod
    def from_dict(cls, row: dict[str, Any], *, path: str | Path | None = None, line: int | None = None) -> Rollout:
        """Inverse of `to_dict`. An empty reference answer is an unknown one, as other projects' labelled data have it.

        Raises:
            DataError: a field is missing or not what it should be.
        """
        problem = problem_from_row(row, path=path, line=line, answer_known=False)
        try:
            steps, gaps = _texts(row, "steps"), _texts(row, "gaps")
            if len(gaps) != len(steps) + 1:
                raise ValueError(f"{len(steps)} steps need {len(steps) + 1} gaps, got {len(gaps)}")
            return cls(
                problem=problem,
                steps=steps,
                gaps=gaps,
                sample_index=int(row["sample_index"]),
                stop_reason=StopReason(row["stop_reason"]),
                source=str(row["source"]),
                pred=_text_or_none(row, "pred"),
                outcome=Outcome(row["outcome"]) if row.get("outcome") else None,
                seed=row.get("seed"),
                cost=Cost.from_dict(row.get("cost", {})),
            )
        except KeyError as error:
            what = f"not a rollout: no {error.args[0]!r} among the keys {sorted(row)}"
        except (TypeError, ValueError) as error:
            what = f"not a rollout: {error}"
        raise DataError(what, path=path, line=line, remedy="`prm rollout` writes this format")


def _texts(row: dict[str, Any], name: str) -> tuple[str, ...]:
    value = row[name]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name!r} is not a list of texts")
    return tuple(value)


def _text_or_none(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name!r} is {value!r}, neither a text nor null")
    return value


def read_rollouts(path: str | Path, *, answer_known: bool = True) -> Iterator[Rollout]:
    """Yield the rollouts of a `rollouts.jsonl`, which can be graded: their reference answers are known.

    Args:
        answer_known: false for those who grade nothing; an empty answer is then an unknown one.

    Raises:
        DataError: a malformed line, a problem without an answer that must be known, or no line at all.
    """
    count = 0
    for line, row in read_jsonl(path):
        count += 1
        rollout = Rollout.from_dict(row, path=path, line=line)
        if answer_known and not rollout.problem.answer:
            raise DataError("the answer is empty", path=path, line=line, remedy="Give every problem its answer")
        yield rollout
    if not count:
        raise DataError("no rollouts in it", path=path, remedy="Run `prm rollout` again, or check the path")
