"""The rules that choose among solutions, each on the census alone. A rule marks with its reason what it rejects among
the solutions that are still in; random choices follow a hash of the solution and the seed, so that the same input and
seed choose the same, whatever the order of the rows, and new rows change little of it."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from prm.errors import ConfigError

from .census import UNDECIDED, Bools, Census, Hashes, Ints, Reason, mixed

logger = logging.getLogger(__name__)

Dedup = Literal["none", "exact", "normalised"]
Balance = Literal["none", "rollouts", "steps"]


def in_play(census: Census) -> Bools:
    """The solutions that no rule has rejected."""
    return np.asarray(census["reason"] == Reason.KEPT)


def mark_duplicates(census: Census, how: Dedup) -> None:
    """Keep the first of solutions with the same problem and steps: to the character, or whitespace (and the problem's
    letter case) aside. Labels are not compared."""
    if how == "none":
        return
    rows = np.flatnonzero(in_play(census))
    keys = census["exact" if how == "exact" else "squeezed"][rows]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    original = rows[first[group]]  # `return_index` gives the first occurrence
    again = rows != original
    same = census["exact"][rows] == census["exact"][original]
    reasons = np.where(same, Reason.EXACT_DUPLICATE, Reason.WHITESPACE_DUPLICATE)
    census["reason"][rows[again]] = reasons[again]
    census["detail"][rows[again]] = original[again]


def mark_difficulty(census: Census, low: float, high: float) -> None:
    """Keep the problems whose pass rate, the share of right ones among the solutions with a decided outcome, lies in
    [low, high]. All solutions that were read count, duplicates too: they are samples like any other. Only those that a
    tree search grew from prefixes it chose are none of the problem's."""
    if low <= 0 and high >= 1:
        return
    _, group = np.unique(census["problem"], return_inverse=True)
    outcome = census["outcome"]
    sampled = census["grown"] == 0
    decided = np.bincount(group, weights=sampled & (outcome != UNDECIDED))
    right = np.bincount(group, weights=sampled & (outcome == 1))
    rate = np.divide(right, decided, out=np.full(len(right), np.nan), where=decided > 0)[group]
    kept = in_play(census)
    census["reason"][kept & np.isnan(rate)] = Reason.NO_OUTCOME
    census["reason"][kept & (rate < low)] = Reason.TOO_HARD
    census["reason"][kept & (rate > high)] = Reason.TOO_EASY


def mark_problem_limit(census: Census, limit: int, seed: int) -> None:
    """Keep at most so many solutions of each problem, chosen at random; 0 keeps all."""
    if not limit:
        return
    rows = np.flatnonzero(in_play(census))
    problems = census["problem"][rows]
    order = np.lexsort((_priority(census, seed)[rows], problems))
    starts = np.flatnonzero(np.r_[True, problems[order][1:] != problems[order][:-1]]) if len(rows) else order
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    census["reason"][rows[order[rank >= limit]]] = Reason.OVER_PROBLEM_LIMIT


def held_out(census: Census, fraction: float, seed: int) -> Bools:
    """Which solutions are of problems held out for evaluation: a problem's side depends on its text and the seed
    alone, so that rows which are added later move no problem."""
    share = mixed(_hashes(census, "problem"), seed).astype(np.float64) / 2.0**64
    return np.asarray(share < fraction)


def mark_balance(census: Census, how: Balance, seed: int, among: Bools) -> None:
    """Balance the classes by leaving out solutions of the larger one, at random.

    `rollouts`: as many solutions with a wrong step as without. `steps`: as many wrong steps as right ones; left out
    are solutions all of whose known steps are of the larger class, never more than there are too many. Where those are
    too few, a warning says what remains.

    Args:
        among: the solutions to balance: the training side.

    Raises:
        ConfigError: every solution without an error would be left out, and the steps would not be balanced then, as
            where labels behind the first error are dropped: each faulty solution has one wrong step and several right.
    """
    if how == "none":
        return
    rows = np.flatnonzero(in_play(census) & among)
    rows = rows[np.argsort(_priority(census, seed)[rows], kind="stable")]
    right, wrong = (census[name][rows].astype(np.int64) for name in ("right", "wrong"))
    if how == "rollouts":
        faulty = wrong > 0
        surplus = int(faulty.sum() - (~faulty).sum())
        larger = rows[faulty if surplus > 0 else ~faulty]
        census["reason"][larger[: abs(surplus)]] = Reason.BALANCE
        return
    surplus = int(wrong.sum() - right.sum())
    pure, size = (right == 0, wrong) if surplus > 0 else (wrong == 0, right)
    census["reason"][_until(rows[pure], size[pure], abs(surplus))] = Reason.BALANCE
    if (lacking := abs(surplus) - int(size[pure].sum())) > 0:
        _say_unbalanced(int(pure.sum()), lacking, wrong=surplus > 0)


def _say_unbalanced(pure: int, lacking: int, wrong: bool) -> None:
    many, few = ("wrong", "right") if wrong else ("right", "wrong")
    gone = f"all {pure:,} solutions without a {few} step are left out"
    what = f"{gone}, and still there are {lacking:,} more {many} steps than {few} ones"
    if pure and not wrong:
        raise ConfigError(
            f"balance=steps cannot be reached: {what}. Use --balance rollouts, which keeps solutions of both kinds, "
            "or, where there are steps behind the first error, count them as wrong (--after_first_error wrong)"
        )
    logger.warning("balance=steps: %s; balance=rollouts keeps solutions of both kinds", what)


def _until(rows: Ints, sizes: Ints, surplus: int) -> Ints:
    """The rows, in order, whose sizes fit into the surplus one after another."""
    chosen = []
    for row, size in zip(rows.tolist(), sizes.tolist(), strict=True):
        if size <= surplus:
            surplus -= size
            chosen.append(row)
        if not surplus:
            break
    return np.array(chosen, dtype=np.int64)


def _priority(census: Census, seed: int) -> Hashes:
    return mixed(_hashes(census, "exact"), seed)


def _hashes(census: Census, name: str) -> Hashes:
    return census[name].astype(np.uint64)
