"""How good step labels are where the truth is known: accuracy, precision, recall, first errors, calibration.

A step is truly right while every step so far is right; "wrong" is the positive class. Intervals are over problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from prm.errors import DataError
from prm.labels import ASSUMED_RULE, LabelledRollout, StepLabel, first_wrong
from prm.rows.training_rows import OUTCOME_SOURCE
from prm.sampling_rules import FIXED_RULE
from prm.stats.calibration import expected_calibration_error, reliability_table
from prm.stats.intervals import bootstrap_statistic

from .estimates import over_problems
from .grading import FINISHED
from .truth import Truth, TruthOf, arithmetic_truth, first_error_in

_ECE_RESAMPLES = 500


def truth_report(rows: Sequence[LabelledRollout], truth_of: TruthOf = arithmetic_truth) -> dict[str, Any]:
    """Hard labels against the truth; unknown labels and steps are left out, and so are rollouts without a truth. Each
    entry is `None` where there is nothing to measure it on."""
    judged = [(row, truth) for row in rows if (truth := truth_of(row.rollout)) is not None]
    steps = [
        (row.rollout.problem.unique_id, right, label.hard == 1)
        for row, truth in judged
        for right, label in zip(truth, row.labels, strict=True)
        if label.hard is not None and right is not None
    ]
    return {
        "step_accuracy": over_problems((problem, right == said) for problem, right, said in steps),
        "wrong_precision": over_problems((problem, not right) for problem, right, said in steps if not said),
        "wrong_recall": over_problems((problem, not said) for problem, right, said in steps if not right),
        "wrong_base_rate": over_problems((problem, not right) for problem, right, _ in steps),
        "first_error_accuracy": over_problems(
            (row.rollout.problem.unique_id, found)
            for row, truth in judged
            if (found := _found(row, truth)) is not None
        ),
    }


def _found(row: LabelledRollout, truth: Truth) -> bool | None:
    """Whether the first step labelled wrong is the first wrong step, or there is none of either; `None` where an
    unknown label or step comes before it."""
    said, first = first_wrong(row.labels), first_error_in(truth)
    return None if said is None or first is None else said == first


def calibration_report(
    rows: Sequence[LabelledRollout], truth_of: TruthOf = arithmetic_truth, *, bins: int = 10
) -> dict[str, Any] | None:
    """Soft values against the truth: bins of equal mass, ECE and Brier score with intervals over problems; `None`
    where no label has an unbiased soft value or no truth is known.

    A Monte Carlo value is the chance to still reach the answer, not the chance that the step is right: a generator
    that slips after a right step has values below the share of right steps, however many completions there are.
    """
    steps = [
        (row.rollout.problem.unique_id, value, float(right))
        for row in rows
        if (truth := truth_of(row.rollout)) is not None
        for place, (label, right) in enumerate(zip(row.labels, truth, strict=True), start=1)
        if right is not None and not _given(row, label, place) and (value := soft_value(label)) is not None
    ]
    if not steps:
        return None
    problems, values, rights = (np.array(column) for column in zip(*steps, strict=True))
    ece = bootstrap_statistic(
        lambda drawn: expected_calibration_error(values[drawn], rights[drawn], bins=bins),
        len(steps),
        clusters=problems,
        resamples=_ECE_RESAMPLES,
    )
    alone = len(set(problems)) == 1
    return {
        "ece": vars(ece) | {"n": len(steps)} | ({"low": None, "high": None} if alone else {}),
        "brier": over_problems(zip(problems.tolist(), ((values - rights) ** 2).tolist(), strict=True)),
        "reliability": [vars(row) for row in reliability_table(values, rights, bins=bins)],
    }


def _given(row: LabelledRollout, label: StepLabel, place: int) -> bool:
    """Whether a label only repeats the rollout's outcome: nothing was estimated that could be calibrated. On the last
    step of a finished rollout a count is that of the outcome itself; a judge's value comes without counts, and is as
    much of an estimate there as on any other step."""
    if label.rule == ASSUMED_RULE or label.source == OUTCOME_SOURCE:
        return True
    counted = label.n_total > 0 and label.rule == FIXED_RULE
    return counted and place == len(row.labels) and row.rollout.stop_reason in FINISHED


def soft_value(label: StepLabel) -> float | None:
    """The unbiased soft value, `None` where the label is unknown or the sampling's rule leaves none."""
    try:
        return label.soft
    except DataError:
        return None
