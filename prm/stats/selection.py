"""What the best of several methods is worth once the choice has been paid for.

The largest of several measured means is too large: what was lucky on these problems is what gets chosen. Here every
problem is judged by methods that were chosen without it, so that the choice earns nothing by its luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import DataError

from .intervals import Estimate, paired_difference
from .resampling import cluster_index, cluster_sums, resampled_counts

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Chosen:
    """The best of K methods over a baseline.

    Attributes:
        best: index of the method with the largest mean on all problems; of equal ones the first.
        apparent: its gain on the problems it was chosen on: too large.
        honest: the gain where each problem is measured with the methods chosen on resamples without it.
        shares: (K,) how often each method was chosen.
    """

    best: int
    apparent: Estimate
    honest: Estimate
    shares: tuple[float, ...]


def gain_of_the_chosen(
    methods: ArrayLike,
    baseline: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Chosen:
    """The gain of choosing the best of K methods, by the leave-one-out bootstrap (Efron and Tibshirani, 1997): a
    problem's gain is the mean over the resamples that lack it (its whole cluster) of the gain of the method that is
    best in the resample. Methods that tie in a resample share it.

    Args:
        methods: (P, K) value of each method on each problem.
        baseline: (P,) value of what they are measured over.
        clusters: (P,) names; problems of one cluster are drawn, and left out, together.

    Raises:
        DataError: nothing to choose from, or the two do not pair up.
    """
    values, base = np.asarray(methods, dtype=float), np.asarray(baseline, dtype=float)
    if values.ndim != 2 or not values.size or base.shape != values.shape[:1]:
        raise DataError(f"methods of shape {values.shape} cannot be measured over a baseline of shape {base.shape}")
    gains = values - base[:, None]
    unit = cluster_index(clusters, len(base))
    chosen, shares = _chosen_without(gains, clusters, resamples, seed)
    held_out = (chosen[unit] * values).sum(axis=1)
    best = int(values.mean(axis=0).argmax())
    difference = partial(paired_difference, confidence=confidence, resamples=resamples, seed=seed, clusters=clusters)
    return Chosen(
        best=best,
        apparent=difference(values[:, best], base),
        honest=difference(held_out, base),
        shares=tuple(map(float, shares)),
    )


def _chosen_without(
    gains: FloatArray, clusters: ArrayLike | None, resamples: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """How often each method is best in the resamples without a unit, (U, K), and in all of them, (K,)."""
    sums, sizes = cluster_sums(gains, clusters)
    chosen = np.zeros(sums.shape)
    lacking, all_of_them = np.zeros(len(sizes)), np.zeros(sums.shape[1])
    for drawn in resampled_counts(len(sizes), resamples, seed):
        means = drawn @ sums / (drawn @ sizes)[:, None]
        winners = _first_places(means)
        absent = (drawn == 0).astype(float)
        chosen += absent.T @ winners
        lacking += absent.sum(axis=0)
        all_of_them += winners.sum(axis=0)
    shares = all_of_them / all_of_them.sum()
    # A single unit is in every resample: nothing can be chosen without it.
    without = np.divide(chosen, lacking[:, None], out=np.tile(shares, (len(sizes), 1)), where=lacking[:, None] > 0)
    return without, shares


def _first_places(means: FloatArray) -> FloatArray:
    """(R, K): 1 for the largest of each row, shared evenly by equal ones."""
    top = means.max(axis=1, keepdims=True)
    winners = (means >= top - 1e-12 * np.maximum(1.0, np.abs(top))).astype(float)
    shared: FloatArray = winners / winners.sum(axis=1, keepdims=True)
    return shared
