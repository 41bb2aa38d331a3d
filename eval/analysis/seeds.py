"""How much of a number is the seed's: accuracies of runs repeated on the same problems.

The table has each problem's mean over seeds, and intervals over problems: what a seed does to one problem is
independent of what it does to another, so that it is in the spread between problems already, and repeated measures
make it smaller. The spread between whole runs stands beside it, for those who ran once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev


@dataclass(frozen=True)
class SeedSpread:
    """One line of the table, run by run.

    Attributes:
        key: of the line.
        accuracies: with each seed, in the order of the run's seeds.
        mean: of them.
        deviation: their standard deviation; nan for a single seed.
    """

    key: str
    accuracies: tuple[float, ...]
    mean: float
    deviation: float


def seed_spreads(by_seed: Mapping[str, Sequence[float]]) -> tuple[SeedSpread, ...]:
    """The spread of every line with several seeds; nothing where there is one."""
    return tuple(
        SeedSpread(key, tuple(values), fmean(values), stdev(values) if len(values) > 1 else math.nan)
        for key, values in by_seed.items()
        if len(values) > 1
    )
