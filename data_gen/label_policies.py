"""What becomes of neutral ratings, and of the labels behind the first wrong step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from prm.labels import StepLabel
from prm.row_views import end_of_first_error

from .formats.base import Record, hard_value, is_neutral

AfterFirstError = Literal["keep", "drop", "wrong"]
Neutral = Literal["keep", "right", "wrong", "drop"]

AFTER_FIRST_ERROR = "after_first_error"  # the source of labels that were set by the policy, not found
_NEUTRAL_VALUES = {"right": 1.0, "wrong": 0.0, "drop": None}


def apply_policies(record: Record, neutral: Neutral, after_first_error: AfterFirstError) -> Record:
    """The record under both policies: neutral ratings first, for one that counts as wrong is a first error.

    Args:
        neutral: `keep` leaves the value 0.5 (which is right as a hard label), `right` and `wrong` say so, `drop`
            forgets it.
        after_first_error: `drop` forgets what is known behind the first wrong step, as the trainer's option of that
            name does (the same rule, `prm.row_views.end_of_first_error`); `wrong` calls all of it wrong.
    """
    labels = record.labels
    if neutral != "keep":
        value = _NEUTRAL_VALUES[neutral]
        labels = tuple(replace(label, value=value) if is_neutral(label) else label for label in labels)
    if after_first_error != "keep":
        labels = _cut(labels, None if after_first_error == "drop" else 0.0)
    if labels == record.labels:
        return record
    return replace(record, labelled=replace(record.labelled, labels=labels))


def _cut(labels: Sequence[StepLabel], value: float | None) -> tuple[StepLabel, ...]:
    """The labels with those behind the first wrong one set to a value that nobody counted."""
    end = end_of_first_error([hard_value(label) for label in labels])
    if value is None:
        rest = [StepLabel(label.source) for label in labels[end:]]
    else:
        rest = [StepLabel(AFTER_FIRST_ERROR, value=value) for _ in labels[end:]]
    return (*labels[:end], *rest)
