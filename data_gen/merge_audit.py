"""The audit of merged labels, from their rows: accuracy, shares and intervals are no sums of those of the shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.rollouts import Cost, Rollout

from .agreement import LabelledTwice, agreement_report
from .consensus import REJECTED_FILE
from .label_page import write_label_page
from .label_report import label_report
from .truth import TruthOf

LABEL_REPORT = "label_report.json"


def merged_figures(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the shards' reports tell of completions, votes and searches, which labels no longer show: counts are added
    up, and shares are of all that they are shares of."""
    merged: dict[str, Any] = {}
    completions = [report.get("completions", 0) for report in reports]
    for name in ("truncated_share", "unparsable_share", "timeout_share"):
        if sum(completions):
            merged[name] = _pooled([report.get(name) for report in reports], completions)
    if all("first_error" in report for report in reports):
        merged["first_error"] = _added([report["first_error"] for report in reports])
    if all("judge" in report for report in reports):
        merged["judge"] = _judge([report["judge"] for report in reports])
    if all("consensus" in report for report in reports):
        found = [report["consensus"] for report in reports]
        rejected = _added([one["rejected"] for one in found])
        merged["consensus"] = {"kept": sum(one["kept"] for one in found), "rejected": dict(sorted(rejected.items()))}
    return merged


def _pooled(shares: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """Shares of so many things each, as one: through the counts that they were made of, which are whole numbers."""
    found = sum(round(share * count) for share, count in zip(shares, counts, strict=True) if share is not None)
    return found / sum(counts) if sum(counts) else None


def _added(tables: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for table in tables:
        total.update(table)
    return dict(total)


def _judge(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`JudgeLabeler.summary` of all shards; a solution has `n_votes` votes."""
    solutions = [sum(one["votes"].values()) // one["n_votes"] for one in found]
    unanimous = _pooled([one["unanimous_share"] for one in found], solutions)
    return {**found[0], "votes": _added([one["votes"] for one in found]), "unanimous_share": unanimous}


def merged_audit(path: Path, report_name: str, sums: Mapping[str, Any], truth_of: TruthOf) -> dict[str, Any]:
    """The report that the undivided run would have written on its labels. That on rollouts keeps to what adds up.

    Args:
        path: the merged data file; labels are read into memory, and what a consensus left out from the file beside it.
        sums: what adds up over the shards; where both know a figure, the sum counts.
        truth_of: what the shards were measured against.
    """
    if report_name != LABEL_REPORT:
        return dict(sums)
    read = list(read_jsonl(path))
    rows = [LabelledRollout.from_dict(row, path=path, line=line) for line, row in read]
    rejected = Cost.from_dict(sums["rejected_cost"]) if "rejected_cost" in sums else None
    audit = label_report(rows, {}, str(sums.get("grader", "")), truth_of=truth_of, rejected_cost=rejected)
    if "consensus" in sums:
        audit["agreement"] = _agreement(path, read, sums["shards"][0]["agreement"]["labelers"])
    return {**audit, **sums}


def _agreement(path: Path, kept: Sequence[tuple[int, dict[str, Any]]], names: Sequence[str]) -> dict[str, Any]:
    left_out = path.parent / REJECTED_FILE
    pairs = [_twice(row, [row["verdicts"][name] for name in names], path, line) for line, row in kept]
    pairs += [_twice(row, row["verdicts"], left_out, line) for line, row in read_jsonl(left_out)]
    return agreement_report(pairs, (names[0], names[1]))


def _twice(row: dict[str, Any], verdicts: Sequence[Any], path: Path, line: int) -> LabelledTwice:
    first, second = ([StepLabel.from_dict(label) for label in labels] for labels in verdicts)
    return LabelledTwice(Rollout.from_dict(row, path=path, line=line), first, second)


def write_merged_page(path: Path, report_name: str, report: Mapping[str, Any]) -> None:
    """The page of merged labels beside them; rollouts have none."""
    if report_name == LABEL_REPORT:
        write_label_page(path.parent, report)
