"""What a rule that stops sampling early would score and spend, over random orders of the M samples of one problem.

The rules draw one sample after another, at most n, and stop when the answer seems settled. They are replayed on
samples that exist: `first_above` exactly, the votes over random orders that depend on (M, subsets, seed) alone and are
nested in n, so that rules, verifiers and caps are compared on the same orders. Nothing here looks at a label but to
grade the final answer; ties are shared evenly.

What was drawn depends on what it says: a rule that stops at the first good sample draws few others. So each rule also
says how likely each sample is drawn, along the very orders that it stops in, and what samples cost is summed by that.

Shapes: `correct` (M,) bool, `classes` (M,) int with `NO_ANSWER` for samples that do not vote, `scores` (M,) float;
`groups` are sets of samples, by their indices, of which something is known to be spent once one of them is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError
from prm.stats.estimators import (
    TIE_TOLERANCE,
    _answer_groups,
    _check_n,
    _vector,
    best_of_n,
    share_of_right,
    subset_shares,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
GRID = 16
"""Points to a vote, where the votes that a lead needs are tabulated."""
Members = tuple[int, ...]
Groups = Sequence[Sequence[int]]
Settled = Callable[[int, FloatArray, FloatArray, IntArray], NDArray[np.bool_]]
"""From the number of samples drawn, the heaviest and the second heaviest class (A,), and the latest votes (A, t):
which of A orders need no further sample."""


@dataclass(frozen=True)
class Stopped:
    """What a rule earns on one problem, and how often it draws how much.

    Attributes:
        accuracy: the chance that its final answer is right.
        shares: the chance that it draws k samples, for k = 1..n.
        drawn: (M,) the chance of each sample to be drawn before it stops.
        touched: the chance of each group that any of its members is drawn.
    """

    accuracy: float
    shares: tuple[float, ...]
    drawn: tuple[float, ...]
    touched: tuple[float, ...] = ()

    @property
    def samples(self) -> float:
        """Drawn on average."""
        return math.fsum(k * share for k, share in enumerate(self.shares, start=1))


def vote_until_sure(
    classes: ArrayLike,
    correct: ArrayLike,
    n: int,
    *,
    confidence: float = 0.95,
    weights: ArrayLike | None = None,
    groups: Groups = (),
    subsets: int = 2048,
    seed: int = 0,
) -> Stopped:
    """Adaptive consistency (Aggarwal et al., arXiv 2305.11860, section 3.1, the Beta rule).

    With v1 and v2 votes for the two largest classes, the share of the first among these two has the posterior
    Beta(v1 + 1, v2 + 1); sampling stops when it exceeds one half with at least `confidence`. `weights` are votes of
    other sizes, such as verifier scores in [0, 1]: a sample that the verifier doubts settles less.

    Raises:
        ConfigError: n is not between 1 and M, or a confidence outside of (0.5, 1).
        DataError: as in `prm.stats.estimators.majority_at_n`.
    """
    if not 0.5 < confidence < 1:
        raise ConfigError(f"the confidence at which a vote stops must lie between 0.5 and 1, not {confidence}")

    most = len(np.atleast_1d(classes)) if weights is None else float(np.sum(weights))
    seconds, needed = _needed_for(confidence, 1 << max(1, math.ceil(most / 2)).bit_length())  # few sizes, kept

    def enough(second: FloatArray) -> FloatArray:
        if weights is None:  # whole numbers, which are on the grid
            return needed[GRID * second.astype(np.int64)]
        return np.interp(second, seconds, needed)

    def settled(drawn: int, first: FloatArray, second: FloatArray, votes: IntArray) -> NDArray[np.bool_]:
        if not (first >= needed[0] - TIE_TOLERANCE).any():  # a second class only asks for more
            return np.zeros(len(first), dtype=bool)
        return first >= enough(second) - TIE_TOLERANCE

    return _replayed(classes, correct, n, settled, weights=weights, groups=groups, subsets=subsets, seed=seed)


def vote_by_windows(
    classes: ArrayLike,
    correct: ArrayLike,
    n: int,
    *,
    window: int,
    groups: Groups = (),
    subsets: int = 2048,
    seed: int = 0,
) -> Stopped:
    """Early-stopping self-consistency (Li et al., arXiv 2401.10480, section 2.2).

    Samples are drawn in windows; when all of a window agree on an answer, sampling stops. The final answer is that
    of most samples drawn. A sample without an answer agrees with nobody, and a last window cut short by n decides
    nothing.

    Raises:
        ConfigError: n is not between 1 and M, or a window of fewer than two samples, in which all agree.
        DataError: as in `prm.stats.estimators.majority_at_n`.
    """
    if window < 2:
        raise ConfigError(f"a window of {window} samples agrees with itself; give at least 2")

    def settled(drawn: int, first: FloatArray, second: FloatArray, last: IntArray) -> NDArray[np.bool_]:
        if drawn % window:
            return np.zeros(len(first), dtype=bool)
        agree: NDArray[np.bool_] = (last == last[:, :1]).all(axis=1) & (last[:, 0] >= 0)
        return agree

    return _replayed(classes, correct, n, settled, latest=window, groups=groups, subsets=subsets, seed=seed)


def first_above(scores: ArrayLike, correct: ArrayLike, n: int, *, threshold: float, groups: Groups = ()) -> Stopped:
    """The first sample whose score reaches a threshold, else the best of n; exact over all orders.

    Of M samples K reach the threshold. By symmetry each of these is equally likely to come first, and among the
    first j samples there is none with the chance C(M-K, j) / C(M, j).

    A set A of samples is touched where the first of all that are in A or reach the threshold is in A and among the
    first n: what comes before that one neither stops the drawing nor belongs to A. Of these U samples each is equally
    likely to come first, wherever that is, and so the chance is |A| / U * (1 - C(M-U, n) / C(M, n)).

    Raises:
        ConfigError: n is not between 1 and M.
        DataError: as in `prm.stats.estimators.best_of_n`.
    """
    right = _vector(correct, "correct", bool)
    values = _vector(scores, "scores", float, length=len(right))
    _check_n(n, len(right))
    good = values >= threshold
    total, below = len(right), int((~good).sum())
    lacking = subset_shares(total, n)  # C(i, n) / C(M, n)

    reached = good.tolist()

    def touched(members: Members) -> float:
        either = total - below + sum(not reached[i] for i in members)
        return len(members) / either * (1 - float(lacking[total - either]))

    none = [math.comb(below, j) / math.comb(total, j) for j in range(n + 1)]
    shares = [before - after for before, after in pairwise(none)]
    shares[-1] += none[-1]  # nobody reached it, and n are drawn
    accuracy = (1 - none[-1]) * float(right[good].mean()) if good.any() else 0.0
    if none[-1]:
        accuracy += none[-1] * best_of_n(values[~good], right[~good], n)
    drawn = _of_each([(i,) for i in range(total)], touched)
    return Stopped(accuracy, tuple(shares), drawn, _of_each(groups, touched))


def chance_of_lead(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """P(p > 1/2) for p ~ Beta(first + 1, second + 1), elementwise; votes may be fractions, and none is negative."""
    a = np.atleast_1d(np.asarray(first, dtype=float)) + 1
    b = np.atleast_1d(np.asarray(second, dtype=float)) + 1
    # P(p > 1/2) = I_{1/2}(b, a). The fraction converges fast for x < (a + 1) / (a + b + 2), else for its mirror image.
    mirrored = b < a
    lower = np.where(mirrored, a, b)
    upper = np.where(mirrored, b, a)
    value = _incomplete_beta_at_half(lower, upper)
    return np.where(mirrored, 1 - value, value)


@lru_cache(maxsize=32)
def _needed_for(confidence: float, most: int) -> tuple[FloatArray, FloatArray]:
    """For a second class of 0..`most` votes, on a fine grid that holds every whole number: the votes that the first
    needs to lead with this confidence. By bisection, for the chance grows with them."""
    second = np.arange(GRID * most + 1) / GRID
    low, high = second.copy(), second + 8 * np.sqrt(second + 1) * max(1.0, -math.log2(1 - confidence))
    for _ in range(48):
        middle = (low + high) / 2
        enough = chance_of_lead(middle, second) >= confidence
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return second, high


def _incomplete_beta_at_half(a: FloatArray, b: FloatArray) -> FloatArray:
    """I_{1/2}(a, b) for a >= b, by the continued fraction of DLMF 8.17.22, evaluated with Lentz's method."""
    x, tiny = 0.5, 1e-300
    log_front = np.array([math.lgamma(p + q) - math.lgamma(p) - math.lgamma(q) for p, q in zip(a, b, strict=True)])
    front = np.exp(log_front + (a + b) * math.log(x)) / a
    c = np.ones_like(a)
    d = 1 / (1 - (a + b) * x / (a + 1))
    result = d.copy()
    for m in range(1, 300):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            c = 1 + numerator / c
            d = 1 / np.where(np.abs(d) < tiny, tiny, d)
            c = np.where(np.abs(c) < tiny, tiny, c)
            change = c * d
            result *= change
        if np.all(np.abs(change - 1) < 1e-13):
            break
    return front * result


def _replayed(
    classes: ArrayLike,
    correct: ArrayLike,
    n: int,
    settled: Settled,
    *,
    weights: ArrayLike | None = None,
    latest: int = 0,
    groups: Groups,
    subsets: int,
    seed: int,
) -> Stopped:
    """Draw along every order until it is settled or n samples are drawn, then vote; the rule is shown the `latest`
    votes. S orders, G classes."""
    labels, right = _answer_groups(classes, correct)
    total = len(labels)
    _check_n(n, total)
    if subsets < 1:
        raise ConfigError(f"subsets must be at least 1, not {subsets}")
    weight = np.ones(total) if weights is None else _vector(weights, "weights", float, length=total)
    orders = _orders(total, subsets, seed)[:n]
    tally = _Tally(labels[orders], weight[orders], len(right))
    stops = np.full(orders.shape[1], n)
    for t in range(n):
        tally.count(t)
        if t == n - 1:
            break
        done = settled(t + 1, tally.first, tally.second, tally.votes[max(0, t + 1 - latest) : t + 1].T) & tally.goes_on
        if done.any():
            stops[tally.rows[done]] = t + 1
            tally.leave(done)
            if not len(tally.rows):
                break
    shares = np.bincount(stops, minlength=n + 1)[1:] / len(stops)
    drawn = _places(total, subsets, seed) < stops  # (M, S)
    alone = drawn.mean(axis=1)

    def touched(members: Members) -> float:
        return float(alone[members[0]] if len(members) == 1 else drawn[list(members)].any(axis=0).mean())

    accuracy = _accuracy(tally.sums(), right) if len(right) else 0.0
    return Stopped(accuracy, tuple(shares.tolist()), tuple(alone.tolist()), _of_each(groups, touched))


def _of_each(groups: Groups, chance: Callable[[Members], float]) -> tuple[float, ...]:
    """The chance of each group; equal ones, of which there are many, are computed once."""
    members = [tuple(one) for one in groups]
    found = {one: chance(one) if one else 0.0 for one in dict.fromkeys(members)}
    return tuple(found[one] for one in members)


class _Tally:
    """The votes of S orders for G classes, one draw after another, with the two heaviest classes of every order.

    Orders that are settled leave `rows`, and with them every other attribute, in batches: to copy what goes on pays
    where it is much less.

    Attributes:
        rows: (A,) which orders are still here; `goes_on` (A,) is false for those of them that are settled.
        votes: (n, A) the class that each draw votes for, -1 for none.
        first, second: (A,) votes of the heaviest and the second heaviest class.
    """

    def __init__(self, votes: IntArray, weight: FloatArray, classes: int):
        """Votes and their weights, both (n, S)."""
        n_orders = votes.shape[1]
        self._weight = np.where(votes >= 0, weight, 0.0)
        self._whole = self._sums = np.zeros((classes + 1, n_orders))  # the last is of those who vote for nobody
        self.rows, self.first, self.second = np.arange(n_orders), np.zeros(n_orders), np.zeros(n_orders)
        self._settle(votes)

    def _settle(self, votes: IntArray) -> None:
        """Say where in `_sums` each vote goes, after a change of rows."""
        n_orders = votes.shape[1]
        self.votes, self.goes_on = votes, np.ones(n_orders, dtype=bool)
        self._place = np.where(votes < 0, len(self._sums) - 1, votes) * n_orders + np.arange(n_orders)

    def count(self, t: int) -> None:
        """Add the vote of draw t to each order that goes on. A sum only grows, so that the heaviest class stays it or
        is overtaken, and then is the second."""
        sums, place = self._sums.reshape(-1), self._place[t]
        old = sums[place]
        new = old + self._weight[t] * self.goes_on
        sums[place] = new
        others = old != self.first  # of tied classes either may be the heaviest
        np.copyto(self.second, np.maximum(self.second, np.minimum(self.first, new)), where=others)
        np.maximum(self.first, new, out=self.first)

    def leave(self, done: NDArray[np.bool_]) -> None:
        """Leave out the orders that are done."""
        self.goes_on &= ~done
        keep = np.flatnonzero(self.goes_on)
        if 2 * len(keep) < len(self.rows):
            self._whole[:, self.rows] = self._sums
            self.rows, self.first, self.second = self.rows[keep], self.first[keep], self.second[keep]
            self._sums, self._weight = self._sums.take(keep, axis=1), self._weight.take(keep, axis=1)
            self._settle(self.votes.take(keep, axis=1))

    def sums(self) -> FloatArray:
        """The votes of every class in every order, (G, S)."""
        self._whole[:, self.rows] = self._sums
        return self._whole[:-1]


def _accuracy(sums: FloatArray, right: NDArray[np.bool_]) -> float:
    """The mean chance (over S orders) that the heaviest of G classes is right; where nobody voted it is not."""
    top = sums.max(axis=0)
    return share_of_right((sums >= top - TIE_TOLERANCE * np.abs(top)) & (top > 0), right)


@lru_cache(maxsize=8)
def _orders(total: int, subsets: int, seed: int) -> IntArray:
    """Random orders (total, S) of the samples, at least `subsets`, of which each sample begins equally many: one draw
    is exact then, and agrees with every other way to choose among one sample."""
    n_orders = -(-subsets // total) * total
    keys = np.random.default_rng((seed, total)).random((n_orders, total))
    keys[np.arange(n_orders), np.arange(n_orders) % total] = -1.0
    return np.ascontiguousarray(np.argsort(keys, axis=1).T)


@lru_cache(maxsize=8)
def _places(total: int, subsets: int, seed: int) -> NDArray[np.int32]:
    """Where each sample stands in each order, (total, S)."""
    return np.argsort(_orders(total, subsets, seed), axis=0).astype(np.int32)
