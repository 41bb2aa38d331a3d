"""Rollouts where two labelers agree on the first wrong step (consensus filtering, Zhang et al., arXiv 2501.07301).

What one labeler gets wrong the other seldom gets wrong in the same place: of Monte Carlo labels and a judge's, the 40%
that agreed trained as good a verifier as all of either. A labeler here is any that `prm label` knows, or a
`labels.jsonl` that one has written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout, StepLabel, first_wrong
from prm.rollouts import Cost, Rollout

from .labeler import Labeler

REJECTED_FILE = "label_rejected.jsonl"  # what was left out, beside the labels


@dataclass(frozen=True)
class Rejected:
    """A rollout that was left out: the reason, what each labeler said, and what both cost."""

    rollout: Rollout
    reason: str
    verdicts: tuple[tuple[StepLabel, ...], ...]
    cost: Cost = field(default_factory=Cost)

    def to_dict(self) -> dict[str, Any]:
        verdicts = [[label.to_dict() for label in labels] for labels in self.verdicts]
        cost = {name: value for name, value in self.cost.to_dict().items() if value}
        return {"reason": self.reason, "verdicts": verdicts, "label_cost": cost, **self.rollout.to_dict()}


class ConsensusLabeler:
    """A `Labeler` over two others; the labels kept are the first one's, the verdict of the second is in `kept`.

    After `label`, `kept` holds both verdicts of every rollout kept, in order, and `rejected` what was left out.
    """

    def __init__(self, first: Labeler, second: Labeler):
        self.first, self.second = first, second
        self.kept: list[tuple[LabelledRollout, LabelledRollout]] = []
        self.rejected: list[Rejected] = []

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """The rollouts where both agree, in order, each at the cost of both. What they disagreed on was paid for too:
        its cost is the rejected rows'."""
        self.kept, self.rejected = [], []
        for one, other in zip(self.first.label(rollouts), self.second.label(rollouts), strict=True):
            if reason := disagreement(one.labels, other.labels):
                verdicts = (one.labels, other.labels)
                self.rejected.append(Rejected(one.rollout, reason, verdicts, self._cost(one, other)))
            else:
                self.kept.append((one, other))
        return [replace(one, cost=self._cost(one, other)) for one, other in self.kept]

    def _cost(self, one: LabelledRollout, other: LabelledRollout) -> Cost:
        """Labelers that draw from one pool share their completions, and the second's bill has the first's on it."""
        pool = getattr(self.first, "pool", None)
        shared = pool is not None and pool is getattr(self.second, "pool", None)
        return other.cost if shared else one.cost + other.cost

    def summary(self) -> dict[str, Any]:
        """How many rollouts were kept, and how many were left out for which reason, ready for JSON."""
        reasons = Counter(row.reason for row in self.rejected)
        return {"kept": len(self.kept), "rejected": dict(sorted(reasons.items()))}


def disagreement(one: Sequence[StepLabel], other: Sequence[StepLabel]) -> str:
    """Why two verdicts on a rollout are no consensus; empty where they are one."""
    first, second = first_wrong(one), first_wrong(other)
    if undecided := [name for name, place in (("first", first), ("second", second)) if place is None]:
        return f"undecided by the {' and the '.join(undecided)}"
    if first == second:
        return ""
    if -1 in (first, second):
        return "one finds no wrong step"
    return "different first wrong steps"


class RecordedLabels:
    """A `Labeler` that looks labels up in a `labels.jsonl`.

    Raises:
        DataError: a rollout that is not in the file, or other steps under its key.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        rows = (LabelledRollout.from_dict(row, path=path, line=line) for line, row in read_jsonl(path))
        self.rows = {row.rollout.key: row for row in rows}

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        return [self._find(rollout) for rollout in rollouts]

    def _find(self, rollout: Rollout) -> LabelledRollout:
        row = self.rows.get(rollout.key)
        if row is None or row.rollout.steps != rollout.steps:
            what = "no labels of" if row is None else "the labels of other steps under"
            raise DataError(
                f"{what} the rollout {rollout.key}", path=self.path, remedy="Give labels of the very rollouts to label"
            )
        return replace(row, rollout=rollout)
