"""The part of the report that says how good the step labels were: read from the report `prm label` wrote, shown with
the figures and tables of `prm.report.label_parts`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from prm.errors import DataError, MissingFileError
from prm.report.label_parts import counts_table, position_lines, truth_table, value_text
from prm.report.page import Section


def read_label_report(path: str | Path) -> dict[str, Any]:
    """Read a `label_report.json`.

    Raises:
        MissingFileError, DataError: no such file, or not such a report.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="`prm label` writes it beside labels.jsonl")
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        report["step_labels"], report["by_position"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"not a label report ({error})", path=path, remedy="Run `prm label` again") from None
    return report


def label_section(report: dict[str, Any]) -> Section:
    """Counts and cost, values by step position, and, where the truth is known, accuracy."""
    truth = truth_table(report)
    tables = [
        replace(table, caption=f"{table.caption} Over the problems that were labelled.")
        for table in (counts_table(report), truth)
        if table
    ]
    return Section("The step labels", value_text(report), [position_lines(report)], tables)
