"""Whether a score goes with something it should not, all else equal: rank correlation within groups."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import DataError

from .intervals import Estimate, bootstrap_of_means

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def within_group_correlation(
    x: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    problems: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """Spearman's correlation of x and y within groups, with its bootstrap interval over problems.

    Both are ranked within each group (ties take their mean rank) and centred there, so that what differs between
    groups cannot pass for an association; the covariances and variances of all groups are then summed. nan where x or
    y is the same throughout every group.

    Args:
        x, y: (N,) numbers.
        groups: (N,) names: the right solutions of one problem, say.
        problems: (N,) index 0..P-1 of the problem that each item belongs to; a group lies within one problem.
        clusters: (P,) names of what the problems share.

    Raises:
        DataError: no items, other lengths, or a value that is not a number.
    """
    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    owner = np.asarray(problems, dtype=np.int64)
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    if first.ndim != 1 or not first.size or not first.shape == second.shape == group.shape == owner.shape:
        raise DataError(f"{first.size} and {second.size} values, {group.size} groups and {owner.size} problems")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise DataError("a value is not a finite number", remedy="Leave out items without a score")
    a, b = _centred_ranks(first, group), _centred_ranks(second, group)
    count = int(owner.max()) + 1 if clusters is None else len(np.asarray(clusters))
    products = [np.bincount(owner, weights=w, minlength=count) for w in (a * b, a * a, b * b)]
    return bootstrap_of_means(
        _correlation,
        np.stack(products, axis=1),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        clusters=clusters,
    )


def _correlation(means: FloatArray) -> FloatArray:
    both = means[:, 1] * means[:, 2]
    found: FloatArray = np.full(len(means), np.nan)
    return np.divide(means[:, 0], np.sqrt(both), out=found, where=both > 0)


def _centred_ranks(values: FloatArray, group: IntArray) -> FloatArray:
    """Mid-ranks within each group, minus the group's mean rank."""
    order = np.lexsort((values, group))
    new = np.ones(len(values), dtype=bool)
    new[1:] = (np.diff(values[order]) != 0) | (np.diff(group[order]) != 0)
    block = np.cumsum(new) - 1
    sizes = np.bincount(block)
    middle = np.cumsum(sizes) - (sizes + 1) / 2
    ranks = np.empty(len(values))
    ranks[order] = middle[block]
    means = np.bincount(group, weights=ranks) / np.bincount(group)
    centred: FloatArray = ranks - means[group]
    return centred
