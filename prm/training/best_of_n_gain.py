"""Best-of-n as a metric during training: what the verifier would gain over majority voting on recorded samples.

Classifying steps well and choosing solutions well are two things, and published verifiers rank differently by the two
(arXiv 2501.07301). Graded rollouts of held-out problems (`prm rollout`) are scored at every evaluation; both sides are
the exact means over all subsets of n samples (`prm.stats.estimators`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prm.aggregation import Aggregation
from prm.errors import DataError
from prm.grading.grouping import group_answers
from prm.rollouts import Rollout, read_rollouts
from prm.rows.training_rows import StepRow
from prm.stats.estimators import best_of_n, majority_at_n
from prm.stats.intervals import Estimate, bootstrap_mean
from prm.training.aggregation_choice import fold_scores

GAIN, ACCURACY = "best_of_n_gain", "best_of_n"


@dataclass(frozen=True)
class RecordedSamples:
    """Samples of some problems, each with its outcome and its class of answers.

    Attributes:
        rows: the solutions that have steps, as rows whose outcome is the last step's label.
        problem_N, correct_N, class_N: of *all* samples; the class of one without an answer is -1, which never votes.
        row_N: which of `rows` a sample is; -1 where it has no steps, and then it is chosen last.
        n: samples of each problem, the fewest that any problem has.
    """

    rows: tuple[StepRow, ...]
    problem_N: np.ndarray
    correct_N: np.ndarray
    class_N: np.ndarray
    row_N: np.ndarray
    n: int

    def gain(self, margins_RS: np.ndarray, steps_RS: np.ndarray, how: Aggregation) -> tuple[Estimate, Estimate]:
        """Accuracy of best-of-n, and its gain over majority@n, paired per problem.

        Args:
            margins_RS: margins of `rows`; steps_RS: where there is a score.
            how: the fold of step scores; an outcome model has one score.
        """
        scores_R = fold_scores(1 / (1 + np.exp(-np.clip(margins_RS.astype(float), -700, 700))), steps_RS, how)
        scores_N = np.where(self.row_N >= 0, scores_R[np.maximum(self.row_N, 0)], -1.0)
        best, gains = [], []
        for problem in np.unique(self.problem_N):
            own = self.problem_N == problem
            chosen = best_of_n(scores_N[own], self.correct_N[own], self.n)
            best.append(chosen)
            gains.append(chosen - majority_at_n(self.class_N[own], self.correct_N[own], self.n))
        return bootstrap_mean(best), bootstrap_mean(gains)


def load_samples(path: str | Path) -> RecordedSamples:
    """Read graded rollouts.

    Raises:
        MissingFileError: no such file.
        DataError: a rollout that is not graded, or nothing to choose from.
    """
    problems: dict[str, list[Rollout]] = {}
    for rollout in read_rollouts(path):
        if rollout.outcome is None:
            raise DataError(
                f"the rollout {rollout.key} is not graded",
                path=path,
                remedy="Give the rollouts.jsonl of `prm rollout` on problems with answers",
            )
        problems.setdefault(rollout.problem.unique_id, []).append(rollout)
    n = min((len(rollouts) for rollouts in problems.values()), default=0)
    if n < 2:
        raise DataError(
            "fewer than two samples of a problem",
            path=path,
            remedy="Sample several solutions of each problem (`prm rollout --n 16`)",
        )
    return _samples(list(problems.values()), n)


def _samples(problems: Sequence[Sequence[Rollout]], n: int) -> RecordedSamples:
    rows: list[StepRow] = []
    numbers, correct, classes, places = [], [], [], []
    for number, rollouts in enumerate(problems):
        classes += group_answers([rollout.pred for rollout in rollouts])
        for rollout in rollouts:
            numbers.append(number)
            correct.append(rollout.correct)
            places.append(len(rows) if rollout.steps else -1)
            if rollout.steps:
                rows.append(_row(rollout))
    return RecordedSamples(tuple(rows), np.array(numbers), np.array(correct), np.array(classes), np.array(places), n)


def _row(rollout: Rollout) -> StepRow:
    labels = (None,) * (len(rollout.steps) - 1) + (float(rollout.correct),)
    return StepRow(rollout.problem.problem, rollout.steps, labels, rollout.problem.unique_id, "outcome")
