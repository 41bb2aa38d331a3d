"""Error bars over problems: bootstrap, paired differences, Wilson's interval, and how many problems a claim needs.

The values are one per problem, computed by `prm.stats.estimators` or by grading one run of a search. Problems are the
unit of resampling because they are what a new test set would change; problems that share a source (paraphrases of one
question, say) share a cluster and are drawn together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CHUNK = 4_000_000  # resampled indices held at a time, 32 MB


@dataclass(frozen=True)
class Estimate:
    """A mean over problems with its interval.

    Attributes:
        mean: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        n: how many problems it rests on.
    """

    mean: float
    low: float
    high: float
    n: int

    def clear_of(self, value: float = 0.0) -> bool:
        """Whether the interval lies on one side of a value."""
        return self.low > value or self.high < value


def bootstrap_mean(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """The mean of one value per problem with its percentile bootstrap interval.

    Where every value is 0, or every value is 1, the bootstrap would claim certainty; Wilson's interval stands in.

    Args:
        values: (P,) one number per problem.
        clusters: (P,) names; problems of one cluster are drawn together.

    Raises:
        DataError: no values, or one that is not a number.
    """
    x = _values(values)
    if (x == x[0]).all() and x[0] in (0.0, 1.0):
        units = len(x) if clusters is None else len(np.unique(np.asarray(clusters)))
        bar = wilson(round(units * x[0]), units, confidence=confidence)
        return Estimate(float(x[0]), bar.low, bar.high, len(x))
    return _bootstrap(x, clusters, confidence, resamples, seed)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """The mean of a - b over the same problems: what is common to both methods on a problem cancels.

    Args:
        a: (P,) values of one method.
        b: (P,) values of the other, in the same order of problems.

    Raises:
        DataError: the two do not pair up.
    """
    first, second = _values(a), _values(b)
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} and {len(second)} values cannot be paired",
            remedy="Compare the two methods on the same problems",
        )
    return _bootstrap(first - second, clusters, confidence, resamples, seed)


def bootstrap_statistic(
    statistic: Callable[[IntArray], float],
    n: int,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """A statistic that is not a mean (an AUROC, an F1) with its percentile bootstrap interval.

    Args:
        statistic: takes row indices, with repeats, and returns the statistic of these rows; everything that was
            chosen with the data (a threshold, say) must be chosen inside.
        n: how many rows there are.
        clusters: (n,) names; rows of one cluster (the steps of one problem) are drawn together.

    Resamples on which the statistic is undefined (nan) are left out; where all are, the interval is nan.
    """
    rows = np.arange(n) if clusters is None else np.asarray(clusters)
    if n < 1 or len(rows) != n:
        raise DataError(f"{len(rows)} clusters for {n} rows")
    order = np.argsort(rows, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(np.unique(rows, return_inverse=True)[1][order])) + 1)
    draws = (row for chunk in _draws(len(members), resamples, seed) for row in chunk)
    found = np.array([statistic(np.concatenate([members[i] for i in draw])) for draw in draws])
    found = found[~np.isnan(found)]
    low, high = _percentiles(found, confidence) if found.size else (math.nan, math.nan)
    return Estimate(float(statistic(np.arange(n))), low, high, len(members))


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval, which stays honest at 0 and 1 and for small n.

    Raises:
        DataError: `n` is not positive or `successes` is not between 0 and n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} are not a proportion")
    z, p = _z_two_sided(confidence), successes / n
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound on that side is exact; rounding would leave it an ulp off.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return Estimate(p, low, high, n)


def _bootstrap(x: FloatArray, clusters: ArrayLike | None, confidence: float, resamples: int, seed: int) -> Estimate:
    sums, sizes = _cluster_sums(x, clusters)
    means = np.concatenate([sums[i].sum(axis=1) / sizes[i].sum(axis=1) for i in _draws(len(sums), resamples, seed)])
    low, high = _percentiles(means, confidence)
    return Estimate(float(x.mean()), low, high, len(x))


def _values(values: ArrayLike) -> FloatArray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not x.size:
        raise DataError(f"values of shape {x.shape}, not one per problem", remedy="Check that any problem was run")
    if not np.isfinite(x).all():
        raise DataError("a problem's value is not a finite number", remedy="Leave out problems without a result")
    return x


def _cluster_sums(x: FloatArray, clusters: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """Sum of values and number of problems of each cluster; a problem alone is a cluster of one."""
    if clusters is None:
        return x, np.ones(len(x))
    names: NDArray[Any] = np.asarray(clusters)
    if names.shape != x.shape:
        raise DataError(f"{names.size} clusters for {len(x)} problems", remedy="Give every problem one cluster")
    _, index = np.unique(names, return_inverse=True)
    sums: FloatArray = np.bincount(index, weights=x).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _draws(units: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """Yield resampled unit indices in chunks of (R, units)."""
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // units)
    for start in range(0, resamples, step):
        yield rng.integers(0, units, size=(min(step, resamples - start), units))


def _percentiles(found: FloatArray, confidence: float) -> tuple[float, float]:
    _z_two_sided(confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _z_two_sided(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
