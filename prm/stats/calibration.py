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


@dataclass(frozen=True)
class Scored:
    """Scores and observations, sorted once and measured under any number of weights: a bootstrap draws each item so
    many times.

    Attributes:
        values: (K,) the distinct scores, rising.
        block: (N,) which of them each item has.
        observations: (N,) 0, 1, or a share.
    """

    values: FloatArray
    block: NDArray[np.int64]
    observations: FloatArray

    @classmethod
    def of(cls, probabilities: ArrayLike, observations: ArrayLike) -> Scored:
        """Sort items; the arguments and errors of `reliability_table`."""
        p, y = _pairs(probabilities, observations)
        values, block = np.unique(p, return_inverse=True)
        return cls(values, block, y)

    def table(self, *, bins: int = 10, weights: ArrayLike | None = None) -> list[ReliabilityBin]:
        """As `reliability_table`, each item counted `weights` (N,) times."""
        times = np.ones(len(self.block)) if weights is None else np.asarray(weights, dtype=float)
        counts: FloatArray = np.bincount(self.block, times).astype(np.float64)
        drawn = counts > 0
        seen = np.bincount(self.block, times * self.observations)[drawn]
        values, counts = self.values[drawn], counts[drawn]
        table = []
        for start, end in _equal_mass_ranges(counts, bins):
            count, low, high = counts[start:end].sum(), float(values[start]), float(values[end - 1])
            # A mean of equal numbers may round beyond them, and then out of the bin.
            predicted = float(np.clip(values[start:end] @ counts[start:end] / count, low, high))
            table.append(ReliabilityBin(low, high, predicted, float(seen[start:end].sum() / count), round(count)))
        return table

    def calibration_error(self, *, bins: int = 10, weights: ArrayLike | None = None) -> float:
        """As `expected_calibration_error`, each item counted `weights` (N,) times."""
        table = self.table(bins=bins, weights=weights)
        return sum(row.count * abs(row.predicted - row.observed) for row in table) / sum(row.count for row in table)


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
    return Scored.of(probabilities, observations).table(bins=bins)


def expected_calibration_error(probabilities: ArrayLike, observations: ArrayLike, *, bins: int = 10) -> float:
    """ECE: the mean distance of score and truth over bins of equal mass (Nguyen and O'Connor, 2015)."""
    return Scored.of(probabilities, observations).calibration_error(bins=bins)


def brier_score(probabilities: ArrayLike, observations: ArrayLike) -> float:
    """The mean squared difference of score and observation (Brier, 1950)."""
    p, y = _pairs(probabilities, observations)
    return float(np.mean((p - y) ** 2))


def _equal_mass_ranges(counts: FloatArray, bins: int) -> list[tuple[int, int]]:
    """Ranges of blocks, cut where the number of items so far is nearest to i * N / bins."""
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, not {bins}")
    so_far = np.concatenate([[0.0], np.cumsum(counts)])
    wanted = np.arange(1, bins) * so_far[-1] / bins
    above = np.searchsorted(so_far, wanted)
    below = np.maximum(above - 1, 0)
    nearest = np.where(wanted - so_far[below] <= so_far[above] - wanted, below, above)
    cuts = sorted({0, len(counts), *(int(cut) for cut in nearest)})
    return list(pairwise(cuts))


def _pairs(probabilities: ArrayLike, observations: ArrayLike) -> tuple[FloatArray, FloatArray]:
    p, y = np.asarray(probabilities, dtype=float), np.asarray(observations, dtype=float)
    if p.ndim != 1 or not p.size or p.shape != y.shape:
        raise DataError(f"{y.size} observations for {p.size} scores", remedy="Give every score one observation")
    if not ((p >= 0) & (p <= 1)).all() or not ((y >= 0) & (y <= 1)).all():
        raise DataError("a score or observation is outside [0, 1]", remedy="Calibration needs probabilities")
    return p, y
