"""Whether a score of .8 is right eight times in ten: reliability table, calibration error, Brier score.

Observations may be hard (0 or 1) or shares in [0, 1], such as the soft values of Monte Carlo labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBin:
    """The items whose scores lie in [low, high]: their mean score, the share that was right, and how many they are."""

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def reliability_table(probabilities: ArrayLike, observations: ArrayLike, *, bins: int = 10) -> list[ReliabilityBin]:
    """Bins of equal mass, from low scores to high.

    Equal scores are never split between bins, which would let the order of the input decide; where scores repeat much,
    bins are therefore fewer and unequal.

    Args:
        probabilities: (N,) scores in [0, 1].
        observations: (N,) 0, 1, or a share.

    Raises:
        DataError: nothing to bin, or a value outside [0, 1].
    """
    p, y = _pairs(probabilities, observations)
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    table = []
    for start, end in _equal_mass_ranges(p, bins):
        part, seen = p[start:end], y[start:end]
        # A mean of equal numbers may round beyond them, and then out of the bin.
        predicted = float(np.clip(part.mean(), part[0], part[-1]))
        table.append(ReliabilityBin(float(part[0]), float(part[-1]), predicted, float(seen.mean()), end - start))
    return table


def expected_calibration_error(probabilities: ArrayLike, observations: ArrayLike, *, bins: int = 10) -> float:
    """ECE: the mean distance of score and truth over bins of equal mass (Nguyen and O'Connor, 2015)."""
    table = reliability_table(probabilities, observations, bins=bins)
    total = sum(row.count for row in table)
    return sum(row.count * abs(row.predicted - row.observed) for row in table) / total


def brier_score(probabilities: ArrayLike, observations: ArrayLike) -> float:
    """The mean squared difference of score and observation (Brier, 1950)."""
    p, y = _pairs(probabilities, observations)
    return float(np.mean((p - y) ** 2))


def _equal_mass_ranges(ordered: FloatArray, bins: int) -> list[tuple[int, int]]:
    """Cut the ordered scores near i * N / bins, only where the score changes."""
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, not {bins}")
    n = len(ordered)
    changes = np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [n]])
    wanted = np.arange(1, bins) * n / bins
    above = np.searchsorted(changes, wanted)
    below = np.maximum(above - 1, 0)
    nearest = np.where(wanted - changes[below] <= changes[above] - wanted, changes[below], changes[above])
    cuts = sorted({0, n, *(int(cut) for cut in nearest)})
    return list(pairwise(cuts))


def _pairs(probabilities: ArrayLike, observations: ArrayLike) -> tuple[FloatArray, FloatArray]:
    p, y = np.asarray(probabilities, dtype=float), np.asarray(observations, dtype=float)
    if p.ndim != 1 or not p.size or p.shape != y.shape:
        raise DataError(f"{y.size} observations for {p.size} scores", remedy="Give every score one observation")
    if not ((p >= 0) & (p <= 1)).all() or not ((y >= 0) & (y <= 1)).all():
        raise DataError("a score or observation is outside [0, 1]", remedy="Calibration needs probabilities")
    return p, y
