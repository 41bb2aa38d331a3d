"""Bootstrap of several numbers of one benchmark together: problems are drawn whole, within each subset."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prm.stats.intervals import Estimate

IntArray = NDArray[np.int64]
Draw = np.random.Generator | None
"""What draws whatever else a number was made of, such as the rows a threshold was fitted on; `None`: draw nothing."""
Statistic = Callable[[IntArray, Draw], Mapping[str, float]]

RESAMPLES = 500


def intervals(
    statistic: Statistic,
    subsets: Sequence[str],
    problems: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Numbers with their percentile bootstrap intervals (95%).

    Args:
        statistic: takes row indices, with repeats, and returns numbers by name, nan where undefined. What was chosen
            with the data must be chosen inside.
        subsets, problems: of each row; rows of one problem of a subset are drawn together, and each subset keeps its
            number of problems.

    Resamples on which a number is undefined are left out of its interval.
    """
    found = statistic(np.arange(len(subsets)), None)
    drawn: dict[str, list[float]] = {name: [] for name in found}
    for rows, rng in _resampled(subsets, problems, resamples, seed):
        for name, value in statistic(rows, rng).items():
            if not math.isnan(value):
                drawn[name].append(value)
    n = len(set(zip(subsets, problems, strict=True)))
    return {name: _estimate(value, drawn[name], n) for name, value in found.items()}


def _resampled(
    subsets: Sequence[str], problems: Sequence[str], resamples: int, seed: int
) -> Iterator[tuple[IntArray, np.random.Generator]]:
    members: dict[str, dict[str, list[int]]] = {}
    for row, (subset, problem) in enumerate(zip(subsets, problems, strict=True)):
        members.setdefault(subset, {}).setdefault(problem, []).append(row)
    clusters = [[np.array(rows) for rows in part.values()] for part in members.values()]
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        rows = [part[i] for part in clusters for i in rng.integers(0, len(part), size=len(part))]
        yield np.concatenate(rows), rng


def _estimate(value: float, drawn: Sequence[float], n: int) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), n)
