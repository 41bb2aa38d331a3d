"""How much of what the samples hold a method brings out: regret against a perfect choice, and efficiency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm.stats.intervals import Estimate, bootstrap_of_means, difference_of_few, paired_difference

from ..results import MethodResult
from .gains import is_measured

FloatArray = NDArray[np.float64]
NO_ROOM = 1e-9


@dataclass(frozen=True)
class Worth:
    """One method against what a perfect verifier makes of n samples.

    Attributes:
        key: of the method's line.
        regret: pass@n minus the method's accuracy, paired by problem.
        efficiency: the gain over pass@1 as a share of the possible gain, pass@n minus pass@1; `None` where the samples
            leave nothing to gain. A search draws solutions of its own, so that it may exceed 1.
    """

    key: str
    regret: Estimate
    efficiency: Estimate | None


def worths(
    methods: Sequence[MethodResult], *, seed: int = 0, clusters: Sequence[str] | None = None
) -> tuple[Worth, ...]:
    """Every method that chooses among more than one solution, at each n where pass@n is known."""
    oracle = {line.n: line.per_problem for line in methods if line.method == "pass_at_n"}
    if 1 not in oracle:
        return ()
    return tuple(
        Worth(
            line.key,
            paired_difference(oracle[line.n], line.per_problem, seed=seed, clusters=clusters),
            efficiency(line.per_problem, oracle[1], oracle[line.n], seed=seed, clusters=clusters),
        )
        for line in methods
        if is_measured(line) and line.n in oracle and line.n > 1
    )


def efficiency(
    method: Sequence[float],
    at_one: Sequence[float],
    at_n: Sequence[float],
    *,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Estimate | None:
    """(method - pass@1) / (pass@n - pass@1) of the means, or `None` where the two oracles are equal; resamples without
    a problem that more samples help are left out of the interval. Where all resamples say the same of few problems (a
    method that misses nothing), the interval is 1 less that of the regret, as shares of the room."""
    table = np.array([method, at_one, at_n]).T
    room = float(table[:, 2].mean() - table[:, 1].mean())
    if room < NO_ROOM:
        return None
    found = bootstrap_of_means(_share, table, seed=seed, clusters=clusters)
    few = difference_of_few(at_n, method, clusters=clusters)
    if few is None or found.high - found.low > NO_ROOM:
        return found
    return Estimate(found.mean, 1 - few.high / room, 1 - few.low / room, found.n)


def _share(means: FloatArray) -> FloatArray:
    gain, room = means[:, 0] - means[:, 1], means[:, 2] - means[:, 1]
    gain[np.abs(gain) < NO_ROOM] = 0.0  # two ways to compute one number differ by rounding, which is no gain
    found: FloatArray = np.full(len(means), np.nan)
    return np.divide(gain, room, out=found, where=room > NO_ROOM)
