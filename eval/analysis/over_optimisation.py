"""Where more samples stop helping, and what the chosen solutions look like there.

A search that looks for high scores finds solutions whose scores are wrong (Gao et al., arXiv 2210.10760; Snell et al.,
arXiv 2408.03314, section 5.3, see it as short solutions and repeated steps). Three things tell: accuracy falls after a
peak, the chosen score leaves accuracy behind, and the chosen solutions change their shape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm.stats.estimators import choice_shares, subset_shares
from prm.stats.intervals import Estimate, ResampledMeans, bootstrap_mean, bootstrap_of_means, paired_difference
from prm.stats.selection import gain_of_the_chosen

from ..results import MethodResult
from ..search.base import Candidates
from .evidence import Evidence

FloatArray = NDArray[np.float64]
SCORE, RIGHT, STEPS, CHARACTERS, REPEATED, DUPLICATES = range(6)  # columns of `_Solutions.taken_among`


@dataclass(frozen=True)
class Peak:
    """Where a method's accuracy is largest.

    Attributes:
        method, verifier: of the curve; no verifier for the majority vote.
        ns: the numbers of solutions it was measured at.
        n, low, high: the best of them, and between which the best lies in 95% of the resamples.
        fall: accuracy at the peak minus accuracy at the largest n, each problem measured with the peak of resamples
            without it: clear of zero where too many samples do harm.
    """

    method: str
    verifier: str
    ns: tuple[int, ...]
    n: int
    low: int
    high: int
    fall: Estimate

    @property
    def is_inside(self) -> bool:
        """Accuracy falls again after the peak, beyond doubt."""
        return self.fall.low > 0


@dataclass(frozen=True)
class Chosen:
    """What the highest score takes among n solutions, on average over problems (and subsets of samples, and ties).

    Attributes:
        method, verifier, n: of samples (`best_of_n`), or of a live search.
        score, accuracy: its score, 0 where it has none, and whether it is right: a calibrated verifier has both alike.
        excess: score minus accuracy, paired by problem.
        steps: how many it has.
        step_length: characters in one of its steps.
        repeated: share of its steps that say what an earlier one has said.
        duplicates: share of the n solutions that equal an earlier one.
    """

    method: str
    verifier: str
    n: int
    score: Estimate
    accuracy: Estimate
    excess: Estimate
    steps: Estimate
    step_length: Estimate
    repeated: Estimate
    duplicates: Estimate


def peaks(
    methods: Sequence[MethodResult], *, seed: int = 0, clusters: Sequence[str] | None = None
) -> tuple[Peak, ...]:
    """The peak of every method that was measured at three numbers of solutions or more."""
    curves: dict[tuple[str, str], list[MethodResult]] = {}
    for line in methods:
        if not line.oracle and line.method != "no_skill":
            curves.setdefault((line.method, line.verifier), []).append(line)
    return tuple(_peak(lines, seed, clusters) for lines in curves.values() if len(lines) > 2)


def _peak(lines: Sequence[MethodResult], seed: int, clusters: Sequence[str] | None) -> Peak:
    curve = sorted(lines, key=lambda line: line.n)
    ns = np.array([line.n for line in curve])
    table = np.array([line.per_problem for line in curve]).T

    def best(means: FloatArray) -> FloatArray:
        return ns[means.argmax(axis=1)].astype(float)  # of equal means the smaller n: it costs less

    place = bootstrap_of_means(best, table, seed=seed, clusters=clusters)
    fall = gain_of_the_chosen(table, table[:, -1], seed=seed, clusters=clusters).honest
    # A quantile may lie between two of the ns: the interval reaches to the outer ones.
    low, high = ns[ns <= place.low].max(), ns[ns >= place.high].min()
    first = curve[0]
    return Peak(first.method, first.verifier, tuple(map(int, ns)), int(place.mean), int(low), int(high), fall)


def chosen_solutions(
    verifier: str,
    evidence: Sequence[Evidence],
    ns: Sequence[int],
    *,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> tuple[Chosen, ...]:
    """What a verifier takes: among n of the shared samples for every n, and in each live search.

    Args:
        evidence: of each of the repeated runs; a problem's numbers are means over them.
    """
    samples = [[_Solutions.of(pool) for pool in one.samples] for one in evidence]
    found = []
    for n in ns:
        table = np.mean([[pool.taken_among(n) for pool in pools] for pools in samples], axis=0)
        found.append(_chosen("best_of_n", verifier, n, table, seed, clusters))
    for method, n in evidence[0].grown:
        grown = [[_Solutions.of(pool) for pool in one.grown[method, n]] for one in evidence]
        table = np.mean([[pool.taken_among(len(pool.scores)) for pool in pools] for pools in grown], axis=0)
        found.append(_chosen(method, verifier, n, table, seed, clusters))
    return tuple(found)


@dataclass(frozen=True)
class _Solutions:
    """The M candidates of a problem as numbers.

    Attributes:
        scores: (M,) as the highest takes all.
        values: (M, 5) score (0 for none), correctness, steps, characters, repeated steps.
        copies: (D,) how often each of the D distinct solutions is there.
    """

    scores: tuple[float, ...]
    values: FloatArray
    copies: NDArray[np.int64]

    @classmethod
    def of(cls, pool: Candidates) -> _Solutions:
        shapes = [(len(steps), sum(map(len, steps)), len(steps) - len(set(steps))) for steps in pool.steps]
        values = np.column_stack([pool.weights, pool.correct, np.array(shapes, dtype=float)])
        return cls(pool.scores, values, np.array(list(Counter(pool.steps).values())))

    def taken_among(self, n: int) -> FloatArray:
        """The expected values of what is taken among n of them, and the expected share of these n that equal another
        one before them, 1 - distinct / n: a solution with m copies is missing from C(M - m, n) of the C(M, n)
        subsets."""
        total = len(self.scores)
        distinct = (1 - subset_shares(total, n)[total - self.copies]).sum()
        return np.append(choice_shares(self.scores, n) @ self.values, 1 - distinct / n)


def _chosen(
    method: str, verifier: str, n: int, table: FloatArray, seed: int, clusters: Sequence[str] | None
) -> Chosen:
    """From the rows (`_Solutions.taken_among`) of all problems."""

    means = ResampledMeans.of(table, seed=seed, clusters=clusters)

    def mean(column: int) -> Estimate:
        return bootstrap_mean(table[:, column], seed=seed, clusters=clusters)

    def per_step(column: int) -> Estimate:
        return means.estimate(lambda drawn: _ratio(drawn[:, column], drawn[:, STEPS]))

    def share_of_steps(column: int) -> Estimate:
        found = per_step(column)
        if found.high != found.low:
            return found
        # A resample without doubt of its own, say of no repeated step at all: each problem's share counts instead.
        shares = np.nan_to_num(_ratio(table[:, column], table[:, STEPS]))
        return bootstrap_mean(shares, seed=seed, clusters=clusters)

    return Chosen(
        method,
        verifier,
        n,
        score=mean(SCORE),
        accuracy=mean(RIGHT),
        excess=paired_difference(table[:, SCORE], table[:, RIGHT], seed=seed, clusters=clusters),
        steps=mean(STEPS),
        step_length=per_step(CHARACTERS),
        repeated=share_of_steps(REPEATED),
        duplicates=mean(DUPLICATES),
    )


def _ratio(what: FloatArray, steps: FloatArray) -> FloatArray:
    return np.divide(what, steps, out=np.full(len(what), np.nan), where=steps > 0)
