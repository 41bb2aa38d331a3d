"""The audit of merged labels, from their rows: accuracy, shares and intervals are no sums of those of the shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout
from prm.rollouts import Cost

from .label_page import write_label_page
from .label_report import label_report

LABEL_REPORT = "label_report.json"


def merged_audit(path: Path, report_name: str, sums: Mapping[str, Any]) -> dict[str, Any]:
    """The report that the undivided run would have written on its labels, but for what its completions alone would
    tell. That on rollouts keeps to what adds up.

    Args:
        path: the merged data file; labels are read into memory.
        sums: what adds up over the shards; where both know a figure, the sum counts.
    """
    if report_name != LABEL_REPORT:
        return dict(sums)
    rows = [LabelledRollout.from_dict(row, path=path, line=line) for line, row in read_jsonl(path)]
    rejected = Cost.from_dict(sums["rejected_cost"]) if "rejected_cost" in sums else None
    return {**label_report(rows, {}, str(sums.get("grader", "")), rejected_cost=rejected), **sums}


def write_merged_page(path: Path, report_name: str, report: Mapping[str, Any]) -> None:
    """The page of merged labels beside them; rollouts have none."""
    if report_name == LABEL_REPORT:
        write_label_page(path.parent, report)
