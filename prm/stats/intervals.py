"""Error bars over problems: bootstrap, paired differences, and intervals that count where counts are small.

The values are one per problem, computed by `prm.stats.estimators` or by grading one run of a search. Problems are the
unit of resampling because they are what a new test set would change; problems that share a source (paraphrases of one
question, say) share a cluster and are drawn together. All functions draw the same resamples at one seed, so that the
noise of resampling cancels between numbers that stand side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError

from .resampling import cluster_index, cluster_sums, draws, resampled_counts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

SMALL_COUNT = 10
"""Outcomes of one kind, whole or in parts, below which a bootstrap of shares is too narrow, and an interval that
counts stands in: resampling cannot draw the rare problem that was not seen."""
ROUNDING = 1e-9  # by which a mean of ones may come out above 1


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

    Where all values lie in [0, 1] and they, or what they lack of 1, sum to less than `SMALL_COUNT`, Wilson's interval
    (1927, J. Am. Stat. Assoc. 22) stands in, at the mean of the values: the bootstrap is too narrow there, and claims
    certainty where all values are equal. Of all values in [0, 1] with a given mean, zeros and ones vary most, so that
    the interval errs to the wide side for shares (means over seeds or subsets). A cluster counts as one problem, as if
    its problems always agreed; clusters of unequal sizes s as (sum of s)^2 / (sum of s^2) of them (Kish, 1965).

    Args:
        values: (P,) one number per problem; what can leave [0, 1] but happens not to, as a gain, is for
            `paired_difference`.
        clusters: (P,) names; problems of one cluster are drawn together.

    Raises:
        DataError: no values, or one that is not a number.
    """
    x = _values(values)
    units = _units(len(x), clusters)
    if _are_shares(x) and min(x.mean(), 1 - x.mean()) * units < SMALL_COUNT:
        low, high = _wilson(float(x.mean()), units, confidence)
        return Estimate(float(x.mean()), low, high, len(x))
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

    Where all values lie in [0, 1] and the differences sum to less than `SMALL_COUNT`, signs aside, the interval is
    Bonett and Price's (2012, J. Educ. Behav. Stat. 37): the normal interval after one more problem on either side, so
    that agreement on a few problems is not taken for certainty. Theirs is for zeros and ones; shares enter with their
    own squares, which is the same for zeros and ones. Clusters count as in `bootstrap_mean`.

    Two methods that are one by construction (any selector at n = 1) differ by nothing, and no interval says so: that
    is for the caller to know.

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
    counted = difference_of_few(first, second, confidence=confidence, clusters=clusters)
    return counted or _bootstrap(first - second, clusters, confidence, resamples, seed)


def difference_of_few(
    a: ArrayLike, b: ArrayLike, *, confidence: float = 0.95, clusters: ArrayLike | None = None
) -> Estimate | None:
    """The interval that `paired_difference` has where two methods differ on few problems (Bonett and Price, 2012);
    `None` where they differ on enough to resample them, or are no shares."""
    first, second = _values(a), _values(b)
    difference, units = first - second, _units(len(first), clusters)
    if not (_are_shares(first) and _are_shares(second)) or np.abs(difference).mean() * units >= SMALL_COUNT:
        return None
    centre = float(difference.mean()) * units / (units + 2)
    square = (float((difference**2).mean()) * units + 2) / (units + 2)
    half = _z_two_sided(confidence) * math.sqrt((square - centre**2) / (units + 2))
    return Estimate(float(difference.mean()), max(centre - half, -1.0), min(centre + half, 1.0), len(first))


def bootstrap_of_means(
    statistic: Callable[[FloatArray], FloatArray],
    columns: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: ArrayLike | None = None,
) -> Estimate:
    """A function of several means over problems (a ratio of gains, an accuracy at equal cost, the peak of a curve)
    with its percentile bootstrap interval. What the function chooses by the means it chooses anew in every resample.

    Args:
        statistic: takes means (R, K) of the K columns in R resamples, and returns R values.
        columns: (P, K) numbers of each problem.
        clusters: (P,) names; problems of one cluster are drawn together.

    Resamples on which the statistic is undefined (nan) are left out; where all are, the interval is nan.

    Raises:
        DataError: no problems, or a number that is none.
    """
    means = ResampledMeans.of(columns, resamples=resamples, seed=seed, clusters=clusters)
    return means.estimate(statistic, confidence=confidence)


@dataclass(frozen=True)
class ResampledMeans:
    """Means of K columns in every resample, for many functions of them.

    Attributes:
        means: (K,) over all problems.
        drawn: (R, K) in each resample.
        n: how many problems there are.
    """

    means: FloatArray
    drawn: FloatArray
    n: int

    @classmethod
    def of(
        cls, columns: ArrayLike, *, resamples: int = 2000, seed: int = 0, clusters: ArrayLike | None = None
    ) -> ResampledMeans:
        """Draw resamples; arguments and errors of `bootstrap_of_means`."""
        table = np.asarray(columns, dtype=float)
        if table.ndim != 2 or not table.size or not np.isfinite(table).all():
            raise DataError(f"columns of shape {table.shape} are not finite numbers of each problem")
        sums, sizes = cluster_sums(table, clusters)
        drawn = [c @ sums / (c @ sizes)[:, None] for c in resampled_counts(len(sizes), resamples, seed)]
        return cls(table.mean(axis=0), np.concatenate(drawn), len(table))

    def estimate(self, statistic: Callable[[FloatArray], FloatArray], *, confidence: float = 0.95) -> Estimate:
        """As `bootstrap_of_means`."""
        found = statistic(self.drawn)
        found = found[~np.isnan(found)]
        low, high = _percentiles(found, confidence) if found.size else (math.nan, math.nan)
        return Estimate(float(statistic(self.means[None, :])[0]), low, high, self.n)


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
    drawn = (row for chunk in draws(len(members), resamples, seed) for row in chunk)
    found = np.array([statistic(np.concatenate([members[i] for i in row])) for row in drawn])
    found = found[~np.isnan(found)]
    low, high = _percentiles(found, confidence) if found.size else (math.nan, math.nan)
    return Estimate(float(statistic(np.arange(n))), low, high, len(members))


def reflected(bar: Estimate) -> Estimate:
    """The basic bootstrap interval, 2 x - high to 2 x - low. A mean of absolute values is biased upwards, and in a
    resample as much again as in the data: percentiles would lie above the number they belong to."""
    low, high = max(0.0, 2 * bar.mean - bar.high), 2 * bar.mean - bar.low
    return Estimate(bar.mean, min(low, bar.mean), max(high, bar.mean), bar.n)


def wilson(successes: float, n: int, *, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval (1927), which stays honest at 0 and 1 and for small n. Of n shares,
    each in [0, 1], the successes are the sum.

    Raises:
        DataError: `n` is not positive or `successes` is not between 0 and n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} are not a proportion")
    return Estimate(successes / n, *_wilson(successes / n, n, confidence), n)


def _bootstrap(x: FloatArray, clusters: ArrayLike | None, confidence: float, resamples: int, seed: int) -> Estimate:
    sums, sizes = cluster_sums(x[:, None], clusters)
    counts = resampled_counts(len(sizes), resamples, seed)
    low, high = _percentiles(np.concatenate([c @ sums[:, 0] / (c @ sizes) for c in counts]), confidence)
    return Estimate(float(x.mean()), low, high, len(x))


def _wilson(p: float, n: float, confidence: float) -> tuple[float, float]:
    """Ends of the score interval of a share p of n; neither need be whole."""
    z = _z_two_sided(confidence)
    centre, scale = p + z * z / (2 * n), 1 + z * z / n
    half = z * math.sqrt(max(p * (1 - p), 0.0) / n + z * z / (4 * n * n))
    # At 0 and 1 the bound on that side is exact; rounding would leave it an ulp off.
    return (0.0 if p <= 0 else (centre - half) / scale, 1.0 if p >= 1 else (centre + half) / scale)


def _units(problems: int, clusters: ArrayLike | None) -> float:
    """How many independent problems the problems are worth where those of a cluster always agree."""
    sizes = np.bincount(cluster_index(clusters, problems)).astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def _are_shares(x: FloatArray) -> bool:
    """Whether all lie in [0, 1], but for rounding."""
    return bool((x >= -ROUNDING).all() and (x <= 1 + ROUNDING).all())


def _values(values: ArrayLike) -> FloatArray:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or not x.size:
        raise DataError(f"values of shape {x.shape}, not one per problem", remedy="Check that any problem was run")
    if not np.isfinite(x).all():
        raise DataError("a problem's value is not a finite number", remedy="Leave out problems without a result")
    return x


def _percentiles(found: FloatArray, confidence: float) -> tuple[float, float]:
    _z_two_sided(confidence)
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _z_two_sided(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, not {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
