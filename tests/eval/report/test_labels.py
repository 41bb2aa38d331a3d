"""The step labels' part of the report."""

from __future__ import annotations

from typing import Any

from prm.eval.report.labels import label_section

from prm.report.formatting import as_columns, format_rows

ESTIMATE: dict[str, Any] = {"mean": 0.9, "low": 0.8, "high": 0.95, "n": 40}
REPORT: dict[str, Any] = {
    "rollouts": 4,
    "step_labels": 40,
    "completions": 320,
    "cost": {"generated_tokens": 900},
    "tokens_per_label": 22.5,
    "truncated_share": 0.0,
    "unparsable_share": 0.0,
    "by_position": [{"position": 0, "mean": 0.9, "all_wrong": 0.0, "all_right": 0.5}],
}


def test_accuracy_has_an_interval_where_there_are_problems_to_resample() -> None:
    truth = {
        "step_accuracy": ESTIMATE,
        "wrong_precision": ESTIMATE | {"low": None, "high": None},
        "wrong_recall": None,
    }
    table = label_section(REPORT | {"truth": truth}).tables[-1]
    cells, _ = format_rows(as_columns(table.headers), table.rows)
    assert [str(row[1]).replace("\N{NO-BREAK SPACE}", " ") for row in cells] == ["90.0% [80.0, 95.0]", "90.0%"]
    assert "95% intervals over problems" in table.caption
