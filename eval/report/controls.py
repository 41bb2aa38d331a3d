"""The report's section that holds the trained verifiers against their controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prm.report.formatting import Column
from prm.report.page import Figure, Section, Table
from prm.report.plots import IntervalRow, clear_of, interval_plot
from prm.stats.intervals import Estimate

if TYPE_CHECKING:
    from ..run import EvalResult


def controls_section(result: EvalResult) -> Section:
    """The same search with the verifier and with the control, paired by problem."""
    labels = {line.key: line.label for line in result.methods}
    rows = [
        IntervalRow(
            f"{labels[row['method']]} − {labels[row['control']].rpartition(', ')[2]}",
            *(row["difference"][k] for k in ("mean", "low", "high")),
        )
        for row in result.controls
    ]
    plot = interval_plot(rows, title="Trained verifier minus control, percentage points", x_label="points")
    table = Table(
        ["method", "control", Column("difference", "points")],
        [[labels[row["method"]], labels[row["control"]], Estimate(**row["difference"])] for row in result.controls],
        "The same search with the verifier and with the control, paired by problem.",
        "controls.csv",
    )
    return Section("Against the controls", figures=[Figure(plot, clear_of("zero"))], tables=[table])
