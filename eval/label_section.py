"""The part of the report that says how good the step labels were: read from the report `prm label` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prm.errors import DataError, MissingFileError
from prm.report.formatting import Column
from prm.report.page import Figure, Section, Table
from prm.report.plots import Series, line_plot
from prm.stats.intervals import Estimate

_TRUTH = {
    "step_accuracy": "steps labelled as the truth has it",
    "wrong_precision": "of the steps called wrong, truly wrong",
    "wrong_recall": "of the truly wrong steps, called wrong",
    "wrong_base_rate": "share of truly wrong steps",
    "first_error_accuracy": "rollouts whose first wrong step was found, or rightly not found",
}


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
    counts = [
        ["rollouts", report["rollouts"]],
        ["step labels", report["step_labels"]],
        ["completions", report["completions"]],
        ["generated tokens", report["cost"].get("generated_tokens")],
        ["tokens per label", report["tokens_per_label"]],
        ["completions cut off", report["truncated_share"]],
        ["completions without an answer", report["unparsable_share"]],
    ]
    tables = [Table(["labelling", Column("count", "number")], counts, "What was labelled and spent.", "labels.csv")]
    found = report.get("truth", {})
    truth = [[what, _estimate(found[key])] for key, what in _TRUTH.items() if found.get(key)]
    if truth:
        caption = "Hard labels against the recomputed truth; 95% intervals, bootstrapped over problems."
        tables.append(Table(["against the truth", Column("share", "percent")], truth, caption, "truth.csv"))
    text = (
        "A step's value is the share of right answers among the completions of the prefix that ends with it. A "
        "completion that was cut off or holds no answer is counted apart, never as a wrong one."
    )
    return Section("The step labels", text, [Figure(_by_position(report))], tables)


def _estimate(found: dict[str, Any]) -> Estimate | float:
    """The share with its interval, or alone where a single problem was labelled."""
    return float(found["mean"]) if found["low"] is None else Estimate(**found)


def _by_position(report: dict[str, Any]) -> str:
    rows = [row for row in report["by_position"] if row["mean"] is not None]
    positions = [row["position"] + 1 for row in rows]
    series = [
        Series(name, positions, [row[key] for row in rows])
        for name, key in (("mean value", "mean"), ("no completion right", "all_wrong"), ("all right", "all_right"))
    ]
    return line_plot(series, title="Values by step", x_label="step", y_label="share", log_x=False)
