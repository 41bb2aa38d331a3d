"""What a label costs: tokens per label, and per distinct prefix that has one.

Rollouts of a problem share their first steps, and a shared prefix has a label in each of them: in a tree, hundreds of
rows repeat the same few. So tokens are divided by the known labels, and by the distinct (problem, prefix) pairs that
have one, which is what two labelers are compared by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prm.labels import LabelledRollout

from .omega_tree import prefix_texts


def distinct_labels(rows: Sequence[LabelledRollout]) -> int:
    """How many distinct (problem, prefix) pairs have a known label, however many rollouts pass them."""
    return len(
        {
            (row.rollout.problem.problem, row.rollout.problem.answer, text)
            for row in rows
            for text, label in zip(prefix_texts(row.rollout.steps, row.rollout.gaps), row.labels, strict=True)
            if label.hard is not None
        }
    )


def cost_words(report: Mapping[str, Any]) -> str:
    """`60 step labels at 7.5 generated tokens each; they are of 20 distinct prefixes, 22.5 each`; of a report of any
    age."""
    text = f"{report['step_labels']:,} step labels"
    if report.get("unknown_labels") and "known_labels" in report:  # reports without it divided by the unknown, too
        text += f", {report['known_labels']:,} of them known"
    if report.get("tokens_per_label") is not None:
        text += f" at {report['tokens_per_label']:.1f} generated tokens each"
    if report.get("tokens_per_distinct_label") is None:
        return text
    distinct = f"{report['distinct_labels']:,} distinct prefixes, {report['tokens_per_distinct_label']:.1f} each"
    return f"{text}; they are of {distinct}"


def completion_words(report: Mapping[str, Any]) -> str:
    """`80 completions of 20 prefixes (4 shared, 6 decided by the rollout)`; where none was asked for, only what is."""
    decided = f"{report['decided_by_rollout']:,} decided by the rollout"
    if not report["distinct_prefixes"]:
        return "no prefix completed" + (f", {decided}" if report["decided_by_rollout"] else "")
    completed = f"{report['completions']:,} completions of {report['distinct_prefixes']:,} prefixes"
    return f"{completed} ({report['shared_prefixes']:,} shared, {decided})"
