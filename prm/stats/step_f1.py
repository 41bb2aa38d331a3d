"""PRMScore, PRMBench's metric (arXiv 2501.03124): how well right and wrong steps are told apart, by error category."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import DataError

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""The categories of each dimension, spelled as in the published files."""
CATEGORIES = tuple(category for group in DIMENSIONS.values() for category in group)
ALL_CORRECT = "multi_solutions"
"""Its solutions hold no wrong step, so that it is measured by the F1 of right steps alone."""


@dataclass(frozen=True)
class StepCounts:
    """Steps by what they are and what they are held to be; "accepted" is held to be right."""

    right_accepted: float
    right_rejected: float
    wrong_accepted: float
    wrong_rejected: float

    @property
    def f1_of_right(self) -> float:
        """nan where no step is right and none is accepted."""
        return _f1(self.right_accepted, self.right_rejected + self.wrong_accepted)

    @property
    def f1_of_wrong(self) -> float:
        """nan where no step is wrong and none is rejected."""
        return _f1(self.wrong_rejected, self.right_rejected + self.wrong_accepted)


@dataclass(frozen=True)
class PrmScore:
    """PRMScore: half the F1 of right steps and half that of wrong ones, over pooled steps; nan where undefined.

    Attributes:
        overall: of all steps pooled.
        categories: of each one's steps; `multi_solutions` by the F1 of right steps alone.
        dimensions: the mean over the categories of each; of those that there are.
    """

    overall: float
    categories: dict[str, float]
    dimensions: dict[str, float]


def prm_score(accepted: ArrayLike, correct: ArrayLike, categories: ArrayLike) -> PrmScore:
    """PRMScore of steps.

    Args:
        accepted: (N,) 1 where a step is held to be right, 0 where it is held to be wrong.
        correct: (N,) 1 where it is right.
        categories: (N,) the error category of each step's solution.

    Raises:
        DataError: other lengths, or no step.
    """
    yes, right, names = np.asarray(accepted) == 1, np.asarray(correct) == 1, np.asarray(categories)
    if yes.ndim != 1 or not yes.size or not yes.shape == right.shape == names.shape:
        raise DataError(f"{yes.size} verdicts for {right.size} steps of {names.size} categories")
    counts = {str(name): step_counts(yes[names == name], right[names == name]) for name in np.unique(names)}
    return score_of_counts(counts)


def step_counts(accepted: NDArray[np.bool_], correct: NDArray[np.bool_]) -> StepCounts:
    """Count steps, (N,) each."""
    cells = [(accepted & correct), (~accepted & correct), (accepted & ~correct), (~accepted & ~correct)]
    return StepCounts(*(float(cell.sum()) for cell in cells))


def score_of_counts(counts: Mapping[str, StepCounts]) -> PrmScore:
    """PRMScore from the counts of each category."""
    cells = np.array([astuple(one) for one in counts.values()])
    found = {name: _category(name, one) for name, one in counts.items()}
    dimensions = {
        dimension: float(np.mean([found[name] for name in group if name in found]))
        for dimension, group in DIMENSIONS.items()
        if any(name in found for name in group)
    }
    return PrmScore(_both(StepCounts(*cells.sum(axis=0).tolist())), found, dimensions)


def _category(name: str, counts: StepCounts) -> float:
    return counts.f1_of_right if name == ALL_CORRECT else _both(counts)


def _both(counts: StepCounts) -> float:
    return 0.5 * counts.f1_of_right + 0.5 * counts.f1_of_wrong


def _f1(hits: float, errors: float) -> float:
    """2 TP / (2 TP + FP + FN), which is 0 where there are errors alone."""
    return 2 * hits / (2 * hits + errors) if hits or errors else math.nan
