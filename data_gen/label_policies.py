"""The policies for neutral ratings and labels behind the first wrong step, of `prm.rows.label_policies`, on
records."""

from __future__ import annotations

from dataclasses import replace

from prm.rows.label_policies import AfterFirstError, Neutral, under_policies

from .formats.base import Record


def apply_policies(record: Record, neutral: Neutral, after_first_error: AfterFirstError) -> Record:
    """The record with its labels under both policies, which `prm train` has too."""
    labels = under_policies(record.labels, neutral, after_first_error)
    if labels == record.labels:
        return record
    return replace(record, labelled=replace(record.labelled, labels=labels))
