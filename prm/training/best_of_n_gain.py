"""Best-of-n as a metric during training: what the verifier would gain over majority voting on recorded samples.

Classifying steps well and choosing solutions well are two things, and published verifiers rank differently by the two
(arXiv 2501.07301). Graded rollouts of held-out problems (`prm rollout`) are encoded once, before a step is trained,
and scored at every evaluation; both sides are the exact means over all subsets of n samples (`prm.stats.estimators`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prm.aggregation import Aggregation
from prm.errors import DataError
from prm.grading.grouping import group_answers
from prm.problems import equality_form
from prm.rollouts import Rollout, read_rollouts
from prm.rows.step_rows import RejectedRow, StepRow
from prm.stats.estimators import best_of_n, majority_at_n
from prm.stats.intervals import Estimate, bootstrap_mean, paired_difference
from prm.training.aggregation_choice import fold_scores

GAIN, ACCURACY = "best_of_n_gain", "best_of_n"

Encode = Callable[[Sequence[StepRow], list[RejectedRow]], Any]  # to an `EncodedDataset`; what it cannot, into the list


@dataclass(frozen=True)
class RecordedSamples:
    """Samples of some problems, each with its outcome and its class of answers.

    Attributes:
        rows: the solutions that can be scored, as rows whose outcome is the last step's label.
        problem_N, correct_N, class_N: of *all* samples; the class of one without an answer is -1, which never votes.
        row_N: which of `rows` a sample is; -1 where it has no steps or cannot be encoded: it is chosen last.
        n: samples of each problem, the fewest that any problem has.
        dataset: `rows` as an `EncodedDataset`, the longest first; `None` until they are encoded.
        refused: why solutions with steps cannot be encoded, one text each.
        trained: problems of the file that were left out, since they are trained on.
    """

    rows: tuple[StepRow, ...]
    problem_N: np.ndarray
    correct_N: np.ndarray
    class_N: np.ndarray
    row_N: np.ndarray
    n: int
    dataset: Any = None
    refused: tuple[str, ...] = ()
    trained: int = 0

    def encoded(self, encode: Encode, path: str | Path) -> RecordedSamples:
        """With `dataset`, and without the rows that cannot be in it: those longer than `max_length`, say.

        Args:
            path: of the samples, for messages.

        Raises:
            DataError: no solution can be encoded.
        """
        rejected: list[RejectedRow] = []
        try:
            dataset = encode(self.rows, rejected)
        except DataError as error:
            raise DataError(
                f"none of its {len(self.rows)} solutions can be scored, the first because: {error.what}",
                path=path,
                line=error.line,
                remedy="Give samples that the step format and max_length of this run can hold",
            ) from None
        unfit = {row.line for row in rejected}
        kept = {row.line: place for place, row in enumerate(row for row in self.rows if row.line not in unfit)}
        return replace(
            self,
            rows=tuple(row for row in self.rows if row.line in kept),
            row_N=np.array([-1 if old < 0 else kept.get(self.rows[old].line, -1) for old in self.row_N]),
            dataset=dataset.sorted_by_length(),
            refused=tuple(row.reason for row in rejected),
        )

    def facts(self) -> dict[str, Any]:
        """For `train_metrics.json`: counts of problems and samples."""
        return {
            "problems": len(np.unique(self.problem_N)),
            "samples": len(self.problem_N),
            "n": self.n,
            "not_scored": int((self.row_N < 0).sum()),
            "trained_problems_left_out": self.trained,
        }

    def gain(self, margins_RS: np.ndarray, steps_RS: np.ndarray, how: Aggregation) -> tuple[Estimate, Estimate]:
        """Accuracy of best-of-n, and its gain over majority@n, paired per problem.

        Args:
            margins_RS: margins of `rows`; steps_RS: where there is a score.
            how: the fold of step scores; an outcome model has one score.
        """
        scores_R = fold_scores(1 / (1 + np.exp(-np.clip(margins_RS.astype(float), -700, 700))), steps_RS, how)
        scores_N = np.where(self.row_N >= 0, scores_R[np.maximum(self.row_N, 0)], -1.0)
        best, votes = [], []
        for problem in np.unique(self.problem_N):
            own = self.problem_N == problem
            best.append(best_of_n(scores_N[own], self.correct_N[own], self.n))
            votes.append(majority_at_n(self.class_N[own], self.correct_N[own], self.n))
        return bootstrap_mean(best), paired_difference(best, votes)


def load_samples(path: str | Path, *, trained: Collection[str] = ()) -> RecordedSamples:
    """Read graded rollouts.

    Args:
        trained: `equality_form` of the problems that are trained on. A verifier may know those by heart, so their
            samples are left out, by the problem's text, whatever id it has.

    Raises:
        MissingFileError: no such file.
        DataError: a rollout that is not graded, nothing to choose from, or no problem that is not trained on.
    """
    problems: dict[str, list[tuple[int, Rollout]]] = {}
    for line, rollout in enumerate(read_rollouts(path), start=1):
        if rollout.outcome is None:
            raise DataError(
                f"the rollout {rollout.key} is not graded",
                path=path,
                remedy="Give the rollouts.jsonl of `prm rollout` on problems with answers",
            )
        problems.setdefault(rollout.problem.unique_id, []).append((line, rollout))
    known = {key for key, rollouts in problems.items() if equality_form(rollouts[0][1].problem.problem) in trained}
    if known and len(known) == len(problems):
        raise DataError(
            f"all of its {len(known)} problems are trained on, and on those best-of-n says nothing of others",
            path=path,
            remedy="Give samples of held-out problems, hold some out with eval_fraction, or drop eval_samples_path",
        )
    problems = {key: rollouts for key, rollouts in problems.items() if key not in known}
    n = min((len(rollouts) for rollouts in problems.values()), default=0)
    if n < 2:
        raise DataError(
            "fewer than two samples of a problem",
            path=path,
            remedy="Sample several solutions of each problem (`prm rollout --n 16`)",
        )
    return replace(_samples(list(problems.values()), n, str(path)), trained=len(known))


def _samples(problems: Sequence[Sequence[tuple[int, Rollout]]], n: int, path: str) -> RecordedSamples:
    rows: list[StepRow] = []
    numbers, correct, classes, places = [], [], [], []
    for number, rollouts in enumerate(problems):
        classes += group_answers([rollout.pred for _, rollout in rollouts])
        for line, rollout in rollouts:
            numbers.append(number)
            correct.append(rollout.correct)
            places.append(len(rows) if rollout.steps else -1)
            if rollout.steps:
                rows.append(_row(rollout, path, line))
    return RecordedSamples(tuple(rows), np.array(numbers), np.array(correct), np.array(classes), np.array(places), n)


def _row(rollout: Rollout, path: str, line: int) -> StepRow:
    labels = (None,) * (len(rollout.steps) - 1) + (float(rollout.correct),)
    problem = rollout.problem
    return StepRow(problem.problem, rollout.steps, labels, problem.unique_id, "outcome", path=path, line=line)
