"""The report on step labels: shares, values by step position, cost, and, on the arithmetic world, accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from prm.labels import LabelledRollout, StepLabel, first_wrong
from prm.rollouts import Cost, Outcome
from prm.run_record import library_versions
from prm.sampling_rules import FIRST_SUCCESS_RULE
from prm.worlds.arithmetic import first_error, step_truth

from .estimates import over_problems, shown
from .prefixes import Prefix, PrefixResult, open_prefixes


def label_report(
    rows: Sequence[LabelledRollout], results: Mapping[Prefix, PrefixResult], grader_version: str
) -> dict[str, Any]:
    """Everything worth knowing about step labels, ready for JSON. `results` are what completing prefixes showed; they
    are empty where no labeler did."""
    labels = [label for row in rows for label in row.labels]
    outcomes = [outcome for result in results.values() for outcome in result.outcomes]
    prefixes = [prefix for row in rows for prefix in open_prefixes(row.rollout)]
    cost = sum((row.cost for row in rows), Cost())
    report: dict[str, Any] = {
        "rollouts": len(rows),
        "step_labels": len(labels),
        "distinct_prefixes": len(results),
        "shared_prefixes": len(prefixes) - len(set(prefixes)),
        "decided_by_rollout": len(labels) - len(prefixes),
        "completions": len(outcomes),
        "truncated_share": _share(outcomes.count(None), len(outcomes)),
        "unparsable_share": _share(outcomes.count(Outcome.UNPARSABLE), len(outcomes)),
        "timeout_share": _share(outcomes.count(Outcome.TIMEOUT), len(outcomes)),
        "unknown_labels": sum(label.hard is None for label in labels),
        "hard_correct_share": _share([label.hard for label in labels].count(1), len(labels)),
        "tokens_per_label": cost.generated_tokens / max(1, len(labels)),
        "cost": cost.to_dict(),
        "by_position": _by_position(rows),
        "grader": grader_version,
        "versions": library_versions(),
    }
    truth = [row for row in rows if row.rollout.problem.subject == "arithmetic"]
    return report | ({"truth": truth_report(truth)} if truth else {})


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def _by_position(rows: Sequence[LabelledRollout]) -> list[dict[str, Any]]:
    """How values fall along the solution: one entry per step position."""
    table = []
    for position in range(max(len(row.labels) for row in rows)):
        labels = [row.labels[position] for row in rows if position < len(row.labels)]
        values = [value for label in labels if (value := _value(label)) is not None]
        table.append(
            {
                "position": position,
                "labels": len(labels),
                "mean": math.fsum(values) / len(values) if values else None,
                "all_wrong": _share(values.count(0.0), len(values)),
                "mixed": _share(sum(0 < value < 1 for value in values), len(values)),
                "all_right": _share(values.count(1.0), len(values)),
            }
        )
    return table


def _value(label: StepLabel) -> float | None:
    """The soft value, or the hard label where the sampling's rule leaves no unbiased one."""
    return label.hard if label.rule == FIRST_SUCCESS_RULE else label.soft


def truth_report(rows: Sequence[LabelledRollout]) -> dict[str, Any]:
    """Hard labels against the truth of the arithmetic world, with intervals over problems, unknown labels left out.

    A step is truly right while every step so far is the one the problem asks for; "wrong" is the positive class.
    """
    steps = [
        (row.rollout.problem.unique_id, right, label.hard == 1)
        for row in rows
        for right, label in zip(step_truth(row.rollout.problem.problem, row.rollout.steps), row.labels, strict=True)
        if label.hard is not None
    ]
    known = [row for row in rows if all(label.hard is not None for label in row.labels)]
    return {
        "step_accuracy": over_problems((problem, right == said) for problem, right, said in steps),
        "wrong_precision": over_problems((problem, not right) for problem, right, said in steps if not said),
        "wrong_recall": over_problems((problem, not said) for problem, right, said in steps if not right),
        "wrong_base_rate": over_problems((problem, not right) for problem, right, _ in steps),
        "first_error_accuracy": over_problems((row.rollout.problem.unique_id, _found(row)) for row in known),
    }


def _found(row: LabelledRollout) -> bool:
    """Whether the first step labelled wrong is the first wrong step, or there is none of either."""
    return first_error(row.rollout.problem.problem, row.rollout.steps) == first_wrong(row.labels)


def label_table(report: Mapping[str, Any]) -> str:
    """The report's main lines, for the terminal."""
    cost = report["cost"]
    lines = [
        f"{report['step_labels']} step labels of {report['rollouts']} rollouts, {report['completions']:,} completions "
        f"of {report['distinct_prefixes']:,} prefixes ({report['shared_prefixes']:,} shared, "
        f"{report['decided_by_rollout']:,} decided by the rollout)",
        f"right: {report['hard_correct_share']:.1%} of the labels; unknown: {report['unknown_labels']}",
        f"cost: {report['tokens_per_label']:.1f} tokens per label, {cost['generated_tokens']:,} generated, "
        f"{cost['prefilled_tokens']:,} prefilled, {cost['cached_tokens']:,} cached, "
        + (f"{cost['flops']:.3g} FLOPs" if cost["flops"] else "no FLOPs counted"),
    ]
    for name in ("truncated_share", "unparsable_share", "timeout_share"):
        if report[name]:
            lines.append(f"{name.removesuffix('_share')} completions: {report[name]:.1%}, not counted as wrong")
    for name, estimate in report.get("truth", {}).items():
        if estimate:
            lines.append(f"  against the truth, {name.replace('_', ' ')}: {shown(estimate)}")
    return "\n".join(lines)
