"""The threshold from which a step or a solution counts as correct, fitted to labels.

Fitted for what it is used for: a PRM's by ProcessBench's first-error F1, an ORM's by accuracy. Each is a step function
of the threshold, so every value it can take is looked at, in O(N log N); of the thresholds that are equally good the
middle of the widest run is taken, which is the farthest from where the result would change.

A fitted threshold's own score is optimistic: report it on other problems than it was fitted on (`halves`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

NO_STEP = -100.0  # a label where there is no step; one between it and 0 is unknown
_TIED = 1e-12  # two shares of the same counts differ by rounding alone


@dataclass(frozen=True)
class FittedThreshold:
    """A threshold, and what it reached on the rows it was fitted to.

    Attributes:
        value: in [0, 1]; a score counts as correct from it up.
        fitted: the first-error F1 or the accuracy on those rows, an optimistic number.
        low, high: every threshold in (low, high] does as well.
        n: solutions it was fitted to.
    """

    value: float
    fitted: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class FirstErrors:
    """Of N solutions, which say where their first error is, where it is, and what the scores say; -1 is "none".

    Attributes:
        usable: (N,) no unknown step lies before the error; where there is no error, no step is unknown at all.
        true: (N,) index of the first step labelled wrong.
        predicted: (N,) index of the first step that scores below the threshold.
    """

    usable: BoolArray
    true: IntArray
    predicted: IntArray


def first_errors(scores_NS: ArrayLike, hard_NS: ArrayLike, threshold: float | FloatArray) -> FirstErrors:
    """First errors by label and by score.

    Args:
        scores_NS: (N, S) in [0, 1]; one row per solution.
        hard_NS: (N, S) 0 and 1; between -100 and 0 where unknown, -100 where there is no step.
        threshold: one for all, or (N,) one for each solution.
    """
    scores, hard = _matrices(scores_NS, hard_NS)
    steps = hard > NO_STEP
    index = np.cumsum(steps, axis=1) - 1
    known_before = np.cumsum(steps & (hard < 0), axis=1) == 0
    wrong, flagged = hard == 0, steps & (scores < np.reshape(threshold, (-1, 1)))
    usable = np.where(wrong.any(axis=1), _at_first(known_before, wrong), known_before[:, -1]) & steps.any(axis=1)
    return FirstErrors(usable.astype(bool), _first(index, wrong), _first(index, flagged))


def fit_first_error_threshold(scores_NS: ArrayLike, hard_NS: ArrayLike) -> FittedThreshold | None:
    """The threshold of the highest first-error F1 (arXiv 2412.06559, section 3).

    A solution without an error is accepted by every threshold up to its lowest score; one with its first error at step
    e is hit by those above the score of e and up to the lowest score before it. So each is one interval, and the F1 at
    a threshold counts those it lies in.

    Args:
        scores_NS, hard_NS: as of `first_errors`; solutions that do not say where their first error is are left out.

    Returns:
        `None` where there is no solution with an error, or none without.
    """
    scores, hard = _matrices(scores_NS, hard_NS)
    errors = first_errors(scores, hard, 0.5)
    scores, hard, true = scores[errors.usable], hard[errors.usable], errors.true[errors.usable]
    wrong = true >= 0
    n_wrong, n_right = int(wrong.sum()), int((~wrong).sum())
    if not n_wrong or not n_right:
        return None
    at_error = hard == 0
    before = (hard > NO_STEP) & (np.cumsum(at_error, axis=1) == 0)
    highest = np.where(before, scores, math.inf).min(axis=1)  # accepted so far up to this threshold
    lowest = np.where(wrong, _at_first(scores, at_error), -math.inf)
    possible = lowest < highest
    edges = _edges(scores[hard > NO_STEP])
    hits = _covering(lowest[wrong & possible], highest[wrong & possible], edges) / n_wrong
    accepted = _covering(lowest[~wrong], highest[~wrong], edges) / n_right
    both = hits + accepted
    f1 = np.divide(2 * hits * accepted, both, out=np.zeros_like(both), where=both > 0)
    return _middle_of_best(edges, f1, len(true))


def fit_accuracy_threshold(scores: ArrayLike, labels: ArrayLike) -> FittedThreshold | None:
    """The threshold of the highest accuracy.

    Args:
        scores: (N,) in [0, 1].
        labels: (N,) 1 for correct, 0 for wrong.

    Returns:
        `None` where one of the two classes is missing.
    """
    values, right = np.asarray(scores, dtype=float), np.asarray(labels) == 1
    if values.ndim != 1 or values.shape != right.shape:
        raise DataError(f"{right.size} labels for {values.size} scores", remedy="Give every score one label")
    if right.all() or not right.any():
        return None
    edges = _edges(values)
    open_end = np.full(len(values), math.inf)
    agreeing = _covering(-open_end[right], values[right], edges) + _covering(values[~right], open_end[~right], edges)
    return _middle_of_best(edges, agreeing / len(values), len(values))


def halves(groups_N: ArrayLike, *, seed: int = 0) -> BoolArray:
    """Split rows in two by problem: (N,) true for the rows of one random half of the problems. The same problems and
    seed give the same halves, whatever the order of the rows."""
    names, index = np.unique(np.asarray(groups_N), return_inverse=True)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]] = True
    picked: BoolArray = chosen[index]
    return picked


def problem_folds(groups_N: ArrayLike, *, folds: int = 5, seed: int = 0) -> IntArray:
    """Split rows in `folds` by problem, or in as many as there are problems: (N,) the number of each row's fold. The
    same problems and seed give the same folds, whatever the order of the rows."""
    names, index = np.unique(np.asarray(groups_N), return_inverse=True)
    numbers: IntArray = np.random.default_rng(seed).permutation(len(names)) % min(folds, max(len(names), 1))
    return numbers[index]


def _matrices(scores_NS: ArrayLike, hard_NS: ArrayLike) -> tuple[FloatArray, FloatArray]:
    scores, hard = np.asarray(scores_NS, dtype=float), np.asarray(hard_NS, dtype=float)
    if scores.ndim != 2 or scores.shape != hard.shape or not scores.shape[1]:
        raise DataError(
            f"labels of shape {hard.shape} for scores of shape {scores.shape}", remedy="Give one row per solution"
        )
    return scores, hard


def _first(index_NS: IntArray, marked_NS: BoolArray) -> IntArray:
    """Index of the first marked step, -1 for none."""
    found: IntArray = np.where(marked_NS.any(axis=1), _at_first(index_NS, marked_NS), -1)
    return found


def _at_first(values_NS: NDArray[np.generic], marked_NS: BoolArray) -> NDArray[np.generic]:
    """(N,) the value at the first marked step; of rows without one, any."""
    return np.take_along_axis(values_NS, marked_NS.argmax(axis=1)[:, None], axis=1)[:, 0]


def _edges(scores: FloatArray) -> FloatArray:
    """Ends of the runs of thresholds (e[i], e[i+1]] within which no decision changes, over [0, 1]."""
    inner = np.unique(scores)
    # A threshold of 0 accepts all scores, as any up to the lowest does; none lies above 1.
    return np.concatenate([[-math.inf], inner[inner < 1], [math.inf]])


def _covering(lows: FloatArray, highs: FloatArray, edges: FloatArray) -> FloatArray:
    """How many of the intervals (low, high] hold each run (e[i], e[i+1]]; their ends are edges or beyond all."""
    starts = edges[:-1]
    begun = np.searchsorted(np.sort(lows), starts, side="right")
    over = np.searchsorted(np.sort(highs), starts, side="right")
    return (begun - over).astype(float)


def _middle_of_best(edges: FloatArray, quality: FloatArray, n: int) -> FittedThreshold:
    """The middle of the widest run of thresholds of the highest quality; neighbouring runs of it are one."""
    best = quality >= quality.max() - _TIED
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], best, [False]]).astype(int)))
    starts, ends = bounds[::2], bounds[1::2]
    lows, highs = np.maximum(edges[starts], 0.0), np.minimum(edges[ends], 1.0)
    widest = int((highs - lows).argmax())
    low, high = float(lows[widest]), float(highs[widest])
    middle = (low + high) / 2
    return FittedThreshold(middle if middle > low else high, float(quality.max()), low, high, n)
