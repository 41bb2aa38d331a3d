"""Where a budget does most: one method for each bin of difficulty, with the highest accuracy whose mean cost over all
problems stays within the budget.

The budget holds on average, so that what easy problems leave goes to harder ones; Snell et al. (arXiv 2408.03314,
section 3.2) choose within each bin at the same number of samples. Among all combinations of one method a bin the best
ones are found exactly: bins are merged one after the other, and of the combinations so far only those are kept that no
cheaper one equals (the multiple-choice knapsack, by dominance).

Numbers only: what the methods are and how a difficulty is found is `prm.eval.policy`'s and `prm.eval.difficulty`'s.
Shapes: A methods, P problems, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError

from .difficulty import Binning, IntArray, make_bins

FloatArray = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative: a budget that is the mean cost of a method is within reach of that method."""


@dataclass(frozen=True)
class Menu:
    """What each method reaches and costs on each problem: `accuracy` and `flops` (A, P)."""

    accuracy: FloatArray
    flops: FloatArray

    def __post_init__(self) -> None:
        assert self.accuracy.shape == self.flops.shape and self.accuracy.ndim == 2


@dataclass(frozen=True)
class Frontier:
    """The combinations that no cheaper one equals, in order of cost: `flops` and `accuracy` (F,) are means over
    problems, both ascending, and `picks` (F, K) the method of each bin."""

    flops: FloatArray
    accuracy: FloatArray
    picks: IntArray

    def within(self, budget: float) -> IntArray | None:
        """The best combination (K,) whose mean cost is within the budget; `None` where there is none."""
        place = int(np.searchsorted(self.flops, budget * (1 + ROUNDING), side="right")) - 1
        return self.picks[place] if place >= 0 else None


def frontier(menu: Menu, bins: ArrayLike, count: int) -> Frontier:
    """The frontier on problems that lie in these bins (P,), of `count`.

    A bin without a problem cannot be told apart by its accuracy: it gets the method of the nearest one that has some.
    """
    bin_of = np.asarray(bins, dtype=np.int64)
    taken = np.unique(bin_of)
    found = Frontier(np.zeros(1), np.zeros(1), np.zeros((1, 0), dtype=np.int64))
    for place in taken:
        members = bin_of == place
        share = members.mean()
        found = _merged(
            found, share * menu.flops[:, members].mean(axis=1), share * menu.accuracy[:, members].mean(axis=1)
        )
    nearest = np.abs(np.arange(count)[:, None] - taken).argmin(axis=1)
    return Frontier(found.flops, found.accuracy, found.picks[:, nearest])


def _merged(so_far: Frontier, flops: FloatArray, accuracy: FloatArray) -> Frontier:
    """Every combination so far with every method of one more bin, without the dominated ones."""
    costs = (so_far.flops[:, None] + flops).ravel()
    gains = (so_far.accuracy[:, None] + accuracy).ravel()
    order = np.lexsort((-gains, costs))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(gains[order])[:-1]])
    kept = order[gains[order] > best_before + 1e-12]
    before, last = np.divmod(kept, len(flops))
    return Frontier(costs[kept], gains[kept], np.column_stack([so_far.picks[before], last]))


def best_plan(menu: Menu, bins: ArrayLike, count: int, budget: float, probe_flops: float) -> IntArray | None:
    """The method of each bin (K,) within a budget, where telling the bins apart costs `probe_flops` a problem; `None`
    where nothing is within it.

    One method for all bins needs no telling apart, and does not pay for it. It is preferred unless the choice by bin
    is better by more than one standard error: among many methods in small bins the best one is always a little lucky
    (Breiman et al.'s rule for the size of a tree, "Classification and Regression Trees", 1984).
    """
    bin_of = np.asarray(bins, dtype=np.int64)
    one = frontier(menu, np.zeros_like(bin_of), 1).within(budget)
    several = frontier(menu, bin_of, count).within(budget - probe_flops)
    if one is None or several is None:
        return several if one is None else np.repeat(one, count)
    gain = menu.accuracy[several[bin_of], np.arange(len(bin_of))] - menu.accuracy[one[0]]
    return several if gain.mean() > gain.std() / np.sqrt(len(gain)) else np.repeat(one, count)


def is_probed(plan: ArrayLike) -> bool:
    """Whether a plan of one method a bin has to know the bin."""
    return len(np.unique(np.asarray(plan))) > 1


@dataclass(frozen=True)
class HeldOut:
    """What each problem gets from the others: its method (P,), and whether its difficulty was estimated (P,)."""

    methods: IntArray
    probed: NDArray[np.bool_]


def split_folds(problems: int, folds: int, seed: int, clusters: Sequence[str] | None = None) -> list[IntArray]:
    """The rows of each fold, at random: of sizes that differ by one at most, or whole clusters in numbers that do.

    Args:
        folds: how many, at most as many as problems or clusters.
        clusters: (P,) names of what problems share.

    Raises:
        ConfigError: there are not two problems, or not two clusters, to be held against each other.
    """
    _, unit = np.unique(np.arange(problems) if clusters is None else np.asarray(clusters), return_inverse=True)
    units = int(unit.max(initial=-1)) + 1
    if units < 2 or folds < 2:
        what = "problems" if clusters is None else "clusters"
        raise ConfigError(
            f"a choice is judged on problems that it was not made on, and there are {units} {what}; add some"
        )
    place = np.empty(units, dtype=np.int64)
    place[np.random.default_rng(seed).permutation(units)] = np.arange(units) % min(folds, units)
    return [np.flatnonzero(place[unit] == fold) for fold in range(min(folds, units))]


def held_out_picks(
    menu: Menu,
    difficulties: FloatArray,
    probe_flops: FloatArray,
    budgets: Sequence[float],
    *,
    count: int,
    binning: Binning,
    folds: Sequence[IntArray],
) -> list[HeldOut | None]:
    """For each budget, what each problem gets from the problems of the other folds: bins, their edges and the choices
    are all made without it. `None` where a fold has nothing within the budget.

    Args:
        difficulties, probe_flops: (P,) each problem's difficulty, and what estimating it cost.
    """
    methods = [np.full(len(difficulties), -1, dtype=np.int64) for _ in budgets]
    probed = [np.zeros(len(difficulties), dtype=np.bool_) for _ in budgets]
    for rows in folds:
        others = np.setdiff1d(np.arange(len(difficulties)), rows)
        bins = make_bins(difficulties[others], count, binning)
        known, bin_of = Menu(menu.accuracy[:, others], menu.flops[:, others]), bins.of(difficulties[others])
        for place, budget in enumerate(budgets):
            plan = best_plan(known, bin_of, len(bins), budget, float(probe_flops[others].mean()))
            if plan is not None:
                methods[place][rows] = plan[bins.of(difficulties[rows])]
                probed[place][rows] = is_probed(plan)
    return [None if (found < 0).any() else HeldOut(found, told) for found, told in zip(methods, probed, strict=True)]
