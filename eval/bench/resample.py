"""Bootstrap of several numbers of one benchmark together: problems are drawn whole, within each subset.

A share of few solutions, and an F1 of such shares, is not certain because all of them were alike: resampling cannot
draw the hit that was not seen. So `share` adds half a hit and half a miss of random weight to what was drawn (Gamma of
shape 1/2 each). What no hit or no miss was seen of is then spread like Beta(k + 1/2, n - k + 1/2), the posterior under
Jeffreys' prior, whose intervals cover well at small n (Brown, Cai and DasGupta, 2001, Stat. Sci. 16); an F1 is that of
the shares so drawn, as in Goutte and Gaussier (2005, ECIR). Where counts are large it makes no difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prm.stats.intervals import Estimate

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
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


def share(hits: FloatArray | NDArray[np.bool_], draw: Draw, per_problem: float = 1.0) -> float:
    """The mean of hits from 0 to 1, nan of none; in a resample with half a hit and half a miss more.

    Args:
        hits: those of the rows that were drawn.
        per_problem: how many rows stand for one problem, so that half a hit is half a problem's.
    """
    if not len(hits):
        return math.nan
    hit, miss = half_a_problem(draw, per_problem)
    return float((hits.sum() + hit) / (len(hits) + hit + miss))


def half_a_problem(draw: Draw, per_problem: float = 1.0) -> FloatArray:
    """Weights of half a hit and half a miss, (2,); nothing where nothing is drawn."""
    return np.zeros(2) if draw is None else draw.gamma(0.5, size=2) * per_problem


def rows_per_problem(problems: Sequence[str]) -> float:
    """How many of these rows one problem has on average."""
    return len(problems) / max(1, len(set(problems)))


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
    """The interval reaches to the number itself, which at 0 or 1 no resample comes to."""
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn else (math.nan, math.nan)
    return Estimate(value, min(float(low), value), max(float(high), value), n)
