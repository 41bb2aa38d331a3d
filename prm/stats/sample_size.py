"""How many problems a claim needs (Miller, arXiv 2411.00640, section 5): with a paired standard deviation s over
problems, a difference d is seen with the wanted power on

    (z_{1 - alpha/2} + z_{power})^2 s^2 / d^2

problems, at two-sided confidence 1 - alpha. Problems that share a cluster tell less than as many independent ones: s
is then that of the clusters, scaled to one problem."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from prm.errors import ConfigError, DataError

from .resampling import cluster_sums


def paired_deviation(differences: ArrayLike, *, clusters: ArrayLike | None = None) -> float:
    """The standard deviation of a paired difference, such that its square over the number of problems is the variance
    of the mean: nan for one problem (or one cluster), from which none can be estimated.

    Args:
        differences: (P,) one method minus the other on each problem.
        clusters: (P,) names of what the problems share (cluster-robust, Miller, equation 4).

    Raises:
        DataError: no problems, or a difference that is not a number.
    """
    d = np.asarray(differences, dtype=float)
    if d.ndim != 1 or not d.size or not np.isfinite(d).all():
        raise DataError(f"differences of shape {d.shape} are not one finite number per problem")
    sums, sizes = cluster_sums((d - d.mean())[:, None], clusters)
    units = len(sizes)
    if units < 2:
        return math.nan
    variance_of_mean = float((sums**2).sum()) / len(d) ** 2 * units / (units - 1)
    return math.sqrt(variance_of_mean * len(d))


def problems_needed(
    difference: float, deviation: float, *, power: float = 0.8, confidence: float = 0.95
) -> int | None:
    """Problems on which a difference of this size is seen; at least 2, and `None` where the deviation is unknown.

    Args:
        difference: the size to be seen, as a share: .01 is one point.
        deviation: of the paired difference (`paired_deviation`).

    Raises:
        ConfigError: no difference, or a power or confidence that is no probability.
    """
    if not difference:
        raise ConfigError("no number of problems shows a difference of 0")
    if math.isnan(deviation):
        return None
    return max(2, math.ceil((_quantiles(power, confidence) * deviation / difference) ** 2))


def difference_seen(problems: int, deviation: float, *, power: float = 0.8, confidence: float = 0.95) -> float:
    """The smallest difference that so many problems show: the inverse of `problems_needed`."""
    return _quantiles(power, confidence) * deviation / math.sqrt(problems)


def _quantiles(power: float, confidence: float) -> float:
    for name, value in (("power", power), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} must be between 0 and 1, not {value}")
    normal = NormalDist()
    return normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(power)
