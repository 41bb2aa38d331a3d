"""How well scores tell right from wrong: AUROC overall and within a problem, AUPRC, and ProcessBench's first-error F1.

What is undefined, because one of the two classes is missing, is nan and never a made-up number; the counts that tell
why are returned beside it. Intervals: `prm.stats.intervals.bootstrap_statistic` with problems as clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import DataError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

NO_ERROR = -1  # ProcessBench's mark of a solution without a wrong step


@dataclass(frozen=True)
class AveragePrecision:
    """Area under precision and recall, and what a scorer without skill gets (`base_rate`)."""

    value: float
    base_rate: float


@dataclass(frozen=True)
class FirstErrorF1:
    """ProcessBench's metric and what it is made of.

    Attributes:
        f1: harmonic mean of the two accuracies; nan where one of them has no rows.
        accuracy_wrong: share of solutions with an error whose first wrong step was named exactly.
        accuracy_correct: share of solutions without an error of which every step was accepted.
        n_wrong: solutions with an error.
        n_correct: solutions without one.
    """

    f1: float
    accuracy_wrong: float
    accuracy_correct: float
    n_wrong: int
    n_correct: int


@dataclass(frozen=True)
class Ranked:
    """Scored items, sorted once and measured under any number of weights: a bootstrap draws each item so many times.

    Attributes:
        block: (N,) rank of the item's score among the distinct ones; items of one block are tied.
        right: (N,) whether the item is right.
    """

    block: NDArray[np.int64]
    right: BoolArray

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> Ranked:
        """Sort items.

        Args:
            scores: (N,) floats, higher for right.
            labels: (N,) 1 for right, 0 for wrong.

        Raises:
            DataError: other lengths, a label that is neither 0 nor 1, or a score that is not a number.
        """
        values, right = _scored(scores, labels)
        return cls(np.unique(values, return_inverse=True)[1], right)

    def auroc(self, weights: ArrayLike | None = None) -> float:
        """As the function `auroc`, each item counted `weights` (N,) times."""
        right, wrong = self._counts(weights)
        n_right, n_wrong = right.sum(), wrong.sum()
        if not n_right or not n_wrong:
            return math.nan
        return float(right @ (np.cumsum(wrong) - wrong / 2) / (n_right * n_wrong))

    def auprc_of_wrong(self, weights: ArrayLike | None = None) -> AveragePrecision:
        """As the function `auprc_of_wrong`, each item counted `weights` (N,) times."""
        right, wrong = self._counts(weights)
        n_wrong, n = wrong.sum(), (right + wrong).sum()
        if not n_wrong:
            return AveragePrecision(math.nan, 0.0)
        above, found = np.cumsum(right + wrong), np.cumsum(wrong)
        precision = np.divide(found, above, out=np.zeros_like(found), where=above > 0)
        return AveragePrecision(float(precision @ wrong / n_wrong), float(n_wrong / n))

    def _counts(self, weights: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
        """Right and wrong items in each block, from low scores to high."""
        times = np.ones(len(self.block)) if weights is None else np.asarray(weights, dtype=float)
        if not len(self.block):
            return np.zeros(0), np.zeros(0)
        counted = [np.bincount(self.block, weights=times * kind) for kind in (self.right, ~self.right)]
        return counted[0].astype(np.float64), counted[1].astype(np.float64)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """The chance that a right item scores above a wrong one, half credit for ties; nan without both kinds.

    Args:
        scores: (N,) floats, higher for right.
        labels: (N,) 1 for right, 0 for wrong.

    Raises:
        DataError: other lengths, a label that is neither 0 nor 1, or a score that is not a number.
    """
    return Ranked.of(scores, labels).auroc()


def auprc_of_wrong(scores: ArrayLike, labels: ArrayLike) -> AveragePrecision:
    """Average precision at finding the wrong items among the lowest scores, with the base rate of wrong ones.

    Items of equal score enter together, so that ties never look at the label.

    Args:
        scores: (N,) floats, higher for right.
        labels: (N,) 1 for right, 0 for wrong.
    """
    return Ranked.of(scores, labels).auprc_of_wrong()


def aurocs_per_group(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> FloatArray:
    """One AUROC for each group that holds both classes, in the order of the sorted groups.

    Hand it to `bootstrap_mean` for the interval of `auroc_within_groups`.
    """
    values, right = _scored(scores, labels)
    names: NDArray[Any] = np.asarray(groups)
    if names.shape != values.shape:
        raise DataError(f"{names.size} groups for {len(values)} scores", remedy="Name the problem of every score")
    _, index = np.unique(names, return_inverse=True)
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
    found = np.array([auroc(values[rows], right[rows]) for rows in members])
    return found[~np.isnan(found)]


def auroc_within_groups(scores: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> float:
    """AUROC over pairs of the same problem, averaged over the problems with both classes; nan if there are none.

    This is the skill that choosing among samples of one problem needs. The AUROC over all items also credits a scorer
    that only knows which problems are hard, and such a scorer selects no better than chance (0.5 here).

    Args:
        scores: (N,) floats, higher for right.
        labels: (N,) 1 for right, 0 for wrong.
        groups: (N,) the problem of each item.
    """
    found = aurocs_per_group(scores, labels, groups)
    return float(found.mean()) if found.size else math.nan


def first_error_from_scores(scores: Sequence[float], threshold: float = 0.5) -> int:
    """The first step that scores below the threshold, or -1 where every step is accepted."""
    return next((index for index, score in enumerate(scores) if score < threshold), NO_ERROR)


def first_error_f1(predicted_first_error: ArrayLike, true_first_error: ArrayLike) -> FirstErrorF1:
    """ProcessBench's F1 (arXiv 2412.06559, section 3): both accuracies matter, and neither buys the other.

    Where both accuracies are 0 the F1 is 0, the limit of the harmonic mean; where a class has no rows, its accuracy
    and the F1 are nan.

    Args:
        predicted_first_error: (N,) index of the first step held to be wrong, -1 for none.
        true_first_error: (N,) index of the first wrong step, -1 for none.

    Raises:
        DataError: the two have other lengths.
    """
    predicted, true = np.asarray(predicted_first_error), np.asarray(true_first_error)
    if predicted.shape != true.shape or true.ndim != 1:
        raise DataError(
            f"{predicted.size} predictions for {true.size} solutions", remedy="Predict one first error per solution"
        )
    wrong, hit = true != NO_ERROR, predicted == true
    n_wrong, n_correct = int(wrong.sum()), int((~wrong).sum())
    on_wrong = float(hit[wrong].mean()) if n_wrong else math.nan
    on_correct = float(hit[~wrong].mean()) if n_correct else math.nan
    return FirstErrorF1(f1_of_accuracies(on_wrong, on_correct), on_wrong, on_correct, n_wrong, n_correct)


def f1_of_accuracies(on_wrong: float, on_correct: float) -> float:
    """The harmonic mean of the two accuracies of `FirstErrorF1`: 0 where both are, nan where one is."""
    both = on_wrong + on_correct
    return 0.0 if both == 0 else 2 * on_wrong * on_correct / both


def _scored(scores: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, BoolArray]:
    values, right = np.asarray(scores, dtype=float), np.asarray(labels)
    if values.ndim != 1 or values.shape != right.shape:
        raise DataError(f"{right.size} labels for {values.size} scores", remedy="Give every score one label")
    if not np.isfinite(values).all():
        raise DataError("a score is not a finite number", remedy="Score these items again")
    if not np.isin(right, (0, 1)).all():
        raise DataError("a label is neither 0 nor 1", remedy="Use hard labels, and leave out unknown ones")
    return values, right.astype(bool)
