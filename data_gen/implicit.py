"""No step labels at all: the outcome, on the last step. For ORMs, and for implicit PRMs (arXiv 2412.01981), whose step
scores come from an outcome-trained model's likelihood ratios."""

from __future__ import annotations

from collections.abc import Sequence

from prm.grading import Grader
from prm.labels import LabelledRollout, StepLabel
from prm.rollouts import Outcome, Rollout
from prm.rows.training_rows import OUTCOME_SOURCE

from .prefixes import rollout_outcomes

_VALUES = {Outcome.CORRECT: 1.0, Outcome.WRONG: 0.0}


class ImplicitLabeler:
    """A `Labeler` that passes outcomes through; of truncated and unparsable rollouts nothing is known."""

    def __init__(self, grader: Grader):
        self.grader = grader

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order; all but the last label are unknown."""
        outcomes = rollout_outcomes(rollouts, self.grader)
        return [
            LabelledRollout(rollout, self._labels(rollout, outcome))
            for rollout, outcome in zip(rollouts, outcomes, strict=True)
        ]

    def _labels(self, rollout: Rollout, outcome: Outcome | None) -> tuple[StepLabel, ...]:
        if not rollout.steps:
            return ()
        unknown = StepLabel(OUTCOME_SOURCE)
        last = StepLabel(OUTCOME_SOURCE, value=_VALUES.get(outcome)) if outcome else unknown
        return (*[unknown] * (len(rollout.steps) - 1), last)
