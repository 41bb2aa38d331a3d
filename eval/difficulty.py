"""How hard a problem is for a generator, and the bins that a compute-optimal policy tells problems apart by.

Difficulty is a number in [0, 1], larger for harder problems (Snell et al., arXiv 2408.03314, section 3.2, who take
five quantiles of pass@1):

- `scores`: one minus the mean verifier score of a few samples, their "model-predicted" difficulty;
- `agreement`: one minus the share of the most frequent answer among a few samples; no verifier is asked;
- `oracle`: one minus pass@1, which reads the reference answers. An upper bound, no method: at best as good as what a
  bin can tell, and the same samples say how hard a problem is and what a method makes of it.

The few samples are a probe: drawn for this purpose, used for nothing else, and billed (`prm.eval.policy_run`). What is
done with a difficulty is `prm.eval.policy`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError
from prm.spelling import hint

from .search.base import Candidates

IntArray = NDArray[np.int64]
DifficultyBy = Literal["scores", "agreement", "oracle"]
Binning = Literal["quantile", "absolute"]
BINNINGS: tuple[str, ...] = get_args(Binning)


@dataclass(frozen=True)
class Measure:
    """How difficulty is estimated: `by` one of the three, from `samples` probes of a problem (0 for the oracle, which
    reads the shared samples).

    Raises:
        ConfigError: no such measure, or too few samples for it.
    """

    by: DifficultyBy
    samples: int = 0

    def __post_init__(self) -> None:
        if self.by not in MEASURES:
            raise ConfigError(f"unknown difficulty {self.by!r}; {hint(self.by, MEASURES)}")
        least = {"oracle": 0, "scores": 1, "agreement": 2}[self.by]
        if self.samples < least:
            raise ConfigError(f"difficulty by {self.by} needs at least {least} samples, not {self.samples}")

    @property
    def oracle(self) -> bool:
        return self.by == "oracle"

    def of(self, pools: Sequence[Candidates]) -> tuple[float, ...]:
        """One difficulty for each problem."""
        return tuple(MEASURES[self.by](pool) for pool in pools)


def measure_named(by: str, samples: int) -> Measure:
    """The measure of that name; the oracle takes no probes."""
    return Measure(cast(DifficultyBy, by), 0 if by == "oracle" else samples)


def by_scores(pool: Candidates) -> float:
    """One minus the mean score; a sample that the verifier could not read, or without an answer, counts as 0."""
    return 1.0 - sum(pool.weights) / len(pool)


def by_agreement(pool: Candidates) -> float:
    """One minus the share of the most frequent answer; samples without one agree with nobody."""
    votes = Counter(label for label in pool.classes if label >= 0)
    return 1.0 - max(votes.values(), default=0) / len(pool)


def by_oracle(pool: Candidates) -> float:
    """One minus the share of right samples."""
    return 1.0 - sum(pool.correct) / len(pool)


MEASURES: dict[str, Callable[[Candidates], float]] = {
    "scores": by_scores,
    "agreement": by_agreement,
    "oracle": by_oracle,
}


@dataclass(frozen=True)
class Bins:
    """Intervals of difficulty: bin k holds edges[k-1] <= difficulty < edges[k], the first and the last are open.

    Raises:
        ConfigError: edges that do not ascend.
    """

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ConfigError(f"the edges of difficulty bins must ascend, not {list(self.edges)}")

    def __len__(self) -> int:
        return len(self.edges) + 1

    def of(self, difficulties: ArrayLike) -> IntArray:
        """(P,) difficulties to (P,) bin numbers, 0 the easiest."""
        return np.searchsorted(self.edges, np.asarray(difficulties, dtype=float), side="right").astype(np.int64)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Lower and upper end of every bin, within [0, 1]."""
        ends = (0.0, *self.edges, 1.0)
        return tuple(pairwise(ends))


def make_bins(difficulties: ArrayLike, count: int, binning: Binning) -> Bins:
    """At most `count` bins: `quantile` ones hold about as many problems each, `absolute` ones are equally wide.

    Quantile edges are difficulties that occur, so that no bin is empty; where many problems are equally hard, bins
    fall together and there are fewer.

    Raises:
        ConfigError: less than one bin.
    """
    if count < 1:
        raise ConfigError(f"difficulty_bins must be at least 1, not {count}")
    shares = np.arange(1, count) / count
    if binning == "absolute":
        return Bins(tuple(shares.tolist()))
    values = np.asarray(difficulties, dtype=float)
    edges = np.unique(np.quantile(values, shares, method="higher"))
    return Bins(tuple(edges[edges > values.min()].tolist()))
