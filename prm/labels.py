"""Step labels and labelled rollouts, one line each in `labels.jsonl`; how they are made is `data_gen`'s business.

A label keeps what was counted and the rule that ended the sampling (DESIGN.md, decision 4). The hard label and the
soft value are views of it, and a view that the rule would bias is corrected or refused (`prm.sampling_rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.rollouts import Cost, Rollout
from prm.sampling_rules import FIXED_RULE, interval_from_spec

POSTERIOR_RULE = "posterior"  # `value` was inferred from the completions of several prefixes, this one's among them
ASSUMED_RULE = "assumed"  # `value` 1: the rollout's answer is right, and nobody looked at its steps
SHARE_RULE = "share"  # `value` is the share of right completions, of a number that nobody said
IMPLIED_RULE = "implied"  # `value` is the hard label, which other prefixes imply


@dataclass(frozen=True)
class StepLabel:
    """What is known of the prefix that ends with one step.

    Attributes:
        source: what made the label, such as `monte_carlo`, `human` or `judge`.
        n_correct: completions of the prefix that reached the reference answer.
        n_total: completions that were graded correct or wrong; truncated or unparsable ones are not among them.
        n_undecided: completions that were truncated, unparsable or timed out.
        rule: the rule that ended the sampling (`prm.sampling_rules`), `posterior`, `assumed`, `implied` or `share`;
            `share:0.5` is a share that is called right from 0.5 up, in the place of any success.
        value: a value in [0, 1] that came without counts (a person's mark, a published estimate), the posterior, or
            the hard label that other prefixes imply.
    """

    source: str
    n_correct: int = 0
    n_total: int = 0
    n_undecided: int = 0
    rule: str = FIXED_RULE
    value: float | None = None

    @property
    def hard(self) -> int | None:
        """1 if any completion was right (Math-Shepherd, arXiv 2312.08935, eq. 3), 0 if none was, `None` if unknown.

        A share of completions without their number is 1 if it is more than 0, as counts are, unless a threshold was
        set. Any other value without counts, a posterior or an implied one is 1 from 0.5 up.
        """
        if self._counted:
            return int(self.n_correct > 0)
        if self.value is None:
            return None
        kind, _, threshold = self.rule.partition(":")
        if kind == SHARE_RULE and not threshold:
            return int(self.value > 0)
        return int(self.value >= (float(threshold) if kind == SHARE_RULE else 0.5))

    @property
    def soft(self) -> float | None:
        """A target in [0, 1], `None` if unknown. From counts it is an unbiased estimate of the chance that a
        completion is right: the share of right ones after a fixed number (Math-Shepherd, eq. 4), the share corrected
        for the rule after `interval`. A posterior is the chance that no step so far is wrong, a judge's value the
        share of votes that call the step right, a person's the mark: other scales, which one training file should not
        mix. What implies a label does not say how often: it has the share of its own completions, if any.

        Raises:
            DataError: the sampling stopped by a rule that biases the share, and no estimate mends it.
        """
        if self.rule == IMPLIED_RULE and not self.n_total:
            return None
        if not self._counted and self.rule != IMPLIED_RULE:
            return self.value
        if self.rule in (FIXED_RULE, IMPLIED_RULE):
            return self.n_correct / self.n_total
        if interval := interval_from_spec(self.rule):
            return interval.value(self.n_correct, self.n_total)
        raise DataError(
            f"the soft value of a label whose sampling stopped by {self.rule!r} is biased",
            remedy="Use hard labels (--label_view hard), or label again with --rule fixed or --rule interval",
        )

    @property
    def _counted(self) -> bool:
        """Whether the views come from the counts."""
        return self.n_total > 0 and self.rule not in (POSTERIOR_RULE, IMPLIED_RULE)

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "value" or value is not None}

    @classmethod
    def from_dict(cls, row: Any) -> StepLabel:
        """Inverse of `to_dict`.

        Raises:
            ValueError: not a step label, or counts that cannot be.
        """
        if not isinstance(row, dict) or "source" not in row or not row.keys() <= cls.__dataclass_fields__.keys():
            raise ValueError(f"{row!r} is not a step label, which has {', '.join(cls.__dataclass_fields__)}")
        label = cls(**row)
        counts = (label.n_correct, label.n_total, label.n_undecided)
        if not all(type(count) is int and count >= 0 for count in counts) or label.n_correct > label.n_total:
            raise ValueError(
                "n_correct={!r}, n_total={!r}, n_undecided={!r} are not counts of completions".format(*counts)
            )
        if not isinstance(label.source, str) or not isinstance(label.rule, str):
            raise ValueError(f"source={label.source!r}, rule={label.rule!r} are not texts")
        kind, _, threshold = label.rule.partition(":")
        if kind == SHARE_RULE and threshold:
            share_rule(float(threshold))
        if label.value is not None and not (type(label.value) in (int, float) and 0 <= label.value <= 1):
            raise ValueError(f"value={label.value!r} is not between 0 and 1")
        return label


def share_rule(threshold: float = 0.0) -> str:
    """The rule of a share of completions that is called right from a threshold up; 0: if any completion was right.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"the threshold {threshold!r} is not between 0 and 1")
    return f"{SHARE_RULE}:{threshold:g}" if threshold else SHARE_RULE


def first_wrong(labels: Sequence[StepLabel]) -> int | None:
    """The index of the first step labelled wrong, -1 where all are labelled right, `None` where an unknown label comes
    first."""
    for index, label in enumerate(labels):
        if label.hard is None:
            return None
        if label.hard == 0:
            return index
    return -1


@dataclass(frozen=True)
class LabelledRollout:
    """A rollout with one label per step, and what the labelling cost."""

    rollout: Rollout
    labels: tuple[StepLabel, ...]
    cost: Cost = field(default_factory=Cost)

    def to_dict(self) -> dict[str, Any]:
        row = self.rollout.to_dict()
        row["labels"] = [label.to_dict() for label in self.labels]
        row["label_cost"] = {k: v for k, v in self.cost.to_dict().items() if v}
        return row

    @classmethod
    def from_dict(
        cls, row: dict[str, Any], *, path: str | Path | None = None, line: int | None = None
    ) -> LabelledRollout:
        """Inverse of `to_dict`.

        Raises:
            DataError: a missing field, a label or a cost that is none, or another number of labels than steps.
        """
        rollout = Rollout.from_dict(row, path=path, line=line)
        try:
            labels = tuple(StepLabel.from_dict(label) for label in row["labels"])
            cost = Cost.from_dict(row.get("label_cost", {}))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the labels are not those of `prm label` ({error})",
                path=path,
                line=line,
                remedy="Run `prm label`, or give stepwise rows with prompt, completions and labels",
            ) from None
        if len(labels) != len(rollout.steps):
            raise DataError(
                f"{len(labels)} labels for {len(rollout.steps)} steps",
                path=path,
                line=line,
                remedy="Every step needs exactly one label",
            )
        return cls(rollout=rollout, labels=labels, cost=cost)
