"""What the analysis looks at beside the lines of the table: the solutions that a verifier chose among."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..search.base import Candidates

StepScoresOf = Sequence[Sequence[Sequence[float] | None]]


@dataclass(frozen=True)
class Evidence:
    """One verifier's view of a run. Problems are in the order of the run; of runs repeated with other seeds there is
    one `Evidence` each.

    Attributes:
        samples: the shared samples of every problem, with scores and steps.
        step_scores: of every sample of every problem; `None` for one that the verifier could not read. Empty for an
            ORM.
        grown: the candidates of live searches, by strategy and n.
    """

    samples: Sequence[Candidates]
    step_scores: StepScoresOf = ()
    grown: Mapping[tuple[str, int], Sequence[Candidates]] = field(default_factory=dict)


def distinct_solutions(pool: Candidates) -> Iterator[int]:
    """The index of each different solution that the verifier scored, the first of equal ones."""
    seen = set()
    for index, steps in enumerate(pool.steps):
        if pool.scores[index] >= 0 and steps not in seen:
            seen.add(steps)
            yield index
