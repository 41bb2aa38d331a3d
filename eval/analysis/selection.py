"""The best of the methods that a PRM guides, and what is left of its gain once the choice is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prm.stats.intervals import Estimate
from prm.stats.selection import gain_of_the_chosen

from ..results import MethodResult


@dataclass(frozen=True)
class Selection:
    """A choice among lines of the table.

    Attributes:
        among: `n`: all methods at the run's n; `all`: all methods at every n.
        baseline: key of the line that gains are over.
        keys: the lines chosen from.
        best: the line that is best on all problems.
        apparent: its gain on the problems that it was chosen on.
        honest: the gain where every problem is measured with what is best on resamples without it.
        shares: how often each line was chosen, in the order of `keys`.
    """

    among: str
    baseline: str
    keys: tuple[str, ...]
    best: str
    apparent: Estimate
    honest: Estimate
    shares: tuple[float, ...]


def selections(
    methods: Sequence[MethodResult],
    baseline: MethodResult,
    *,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> tuple[Selection, ...]:
    """The best line of a PRM at the baseline's n, and the best at any n, as far as there is one."""
    lines = [line for line in methods if line.kind == "prm" and not line.control and not line.oracle]
    at_n = [line for line in lines if line.n == baseline.n]
    found = [("n", at_n)] if len(at_n) == len(lines) else [("n", at_n), ("all", lines)]
    return tuple(_select(among, chosen, baseline, seed, clusters) for among, chosen in found if chosen)


def _select(
    among: str, lines: Sequence[MethodResult], baseline: MethodResult, seed: int, clusters: Sequence[str] | None
) -> Selection:
    values = np.array([line.per_problem for line in lines]).T
    found = gain_of_the_chosen(values, baseline.per_problem, seed=seed, clusters=clusters)
    keys = tuple(line.key for line in lines)
    return Selection(among, baseline.key, keys, keys[found.best], found.apparent, found.honest, found.shares)
