"""How many problems a difference needs to be seen, from the paired deviation that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prm.stats.sample_size import difference_seen, paired_deviation, problems_needed

from ..results import MethodResult
from .gains import is_measured

DIFFERENCES = (0.01, 0.02, 0.05)
"""The sizes that problems are counted for: one, two and five points."""


@dataclass(frozen=True)
class SampleSize:
    """What the problems at hand can show of one method over another (power 80%, confidence 95%).

    Attributes:
        key, reference: of the two lines.
        deviation: of the difference over problems; nan for a single problem.
        seen: the smallest difference that this many problems show.
        needed: problems that show a difference of each of `DIFFERENCES`; `None` where the deviation is unknown.
    """

    key: str
    reference: str
    deviation: float
    seen: float
    needed: tuple[int | None, ...]


def sample_sizes(
    methods: Sequence[MethodResult], baseline: MethodResult, *, clusters: Sequence[str] | None = None
) -> tuple[SampleSize, ...]:
    """Every method at the baseline's n, over the baseline."""
    return tuple(
        _sample_size(line, baseline, clusters)
        for line in methods
        if line.n == baseline.n and line.key != baseline.key and is_measured(line)
    )


def _sample_size(line: MethodResult, baseline: MethodResult, clusters: Sequence[str] | None) -> SampleSize:
    difference = np.subtract(line.per_problem, baseline.per_problem)
    deviation = paired_deviation(difference, clusters=clusters)
    return SampleSize(
        line.key,
        baseline.key,
        deviation,
        difference_seen(len(difference), deviation),
        tuple(problems_needed(size, deviation) for size in DIFFERENCES),
    )
