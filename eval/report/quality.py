"""The part of the report that says what the verifiers' scores are worth by themselves: ranking and calibration."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from prm.report.formatting import Column, Row
from prm.report.page import Figure, Section, Table
from prm.report.plots import IntervalRow, clear_of, interval_plot, reliability_plot

from ..quality import Calibration, VerifierQuality

CHANCE = 0.5


def quality_section(qualities: Mapping[str, VerifierQuality], controls: Collection[str]) -> Section:
    """AUROC, first-error F1 and calibration of each verifier; `controls` are drawn in no picture of their own."""
    rows, table = [], []
    for name, quality in qualities.items():
        measures = {
            "solutions, all": quality.solution_auroc,
            "solutions, within a problem": quality.solution_auroc_within,
            "steps, all": quality.step_auroc,
            "steps, within a problem": quality.step_auroc_within,
        }
        rows += [IntervalRow(f"{name}: {what}", e.mean, e.low, e.high) for what, e in measures.items() if e]
        f1 = (quality.first_error or {}).get("f1")
        table.append([name, quality.n_solutions, *measures.values(), f1])
    figures = []
    if rows:
        plot = interval_plot(
            rows,
            title="AUROC of the scores",
            x_label="AUROC",
            reference=CHANCE,
            reference_label="chance",
            scale="number",
        )
        figures = [Figure(plot, f"The line at 0.5 is a verifier without skill. {clear_of('0.5')}")]
    figures += _reliability(qualities, controls)
    headers: Sequence[str | Column] = [
        "verifier",
        Column("distinct solutions", "integer"),
        "AUROC solutions",
        "AUROC solutions within a problem",
        "AUROC steps",
        "AUROC steps within a problem",
        "first-error F1",
    ]
    text = (
        "Choosing among the samples of one problem needs skill within that problem. The AUROC over everything also "
        "rewards knowing which problems are hard, which selects nothing. Equal solutions count once. Steps are judged "
        "up to the first wrong one, where the truth about each step is known; the first-error F1 is as ProcessBench "
        "defines it.\n\nCalibration reads a score "
        "as the chance to be right. ECE and Brier score are 0 at best; the AUPRC of finding what is wrong is worth "
        "what it has over the share of wrong items."
    )
    caption = "Scores against the truth, intervals over problems."
    tables = [Table(headers, table, caption, "quality.csv"), _calibration_table(qualities), _bin_table(qualities)]
    return Section("Verifier quality", text, figures, tables)


def _calibrations(qualities: Mapping[str, VerifierQuality]) -> list[tuple[str, str, Calibration]]:
    """Verifier, what was scored, and how well: first solutions, then steps."""
    return [
        (name, unit, found)
        for name, quality in qualities.items()
        for unit, found in (("solutions", quality.solution_calibration), ("steps", quality.step_calibration))
        if found
    ]


def _reliability(qualities: Mapping[str, VerifierQuality], controls: Collection[str]) -> list[Figure]:
    """One small picture for each verifier that is no control: of its steps, or of its solutions."""
    found = {name: (unit, item) for name, unit, item in _calibrations(qualities) if name not in controls}
    return [
        Figure(reliability_plot(item.bins, title=f"Reliability, {name}", unit=unit), narrow=True)
        for name, (unit, item) in found.items()
    ]


def _calibration_table(qualities: Mapping[str, VerifierQuality]) -> Table:
    headers: list[str | Column] = ["verifier", "scored", Column("items", "integer"), "ECE", "Brier score"]
    headers += ["AUPRC of wrong", Column("share wrong", "number")]
    rows = [
        [name, unit, found.n, found.ece, found.brier, found.auprc_of_wrong, found.wrong]
        for name, unit, found in _calibrations(qualities)
    ]
    return Table(headers, rows, "Scores as chances to be right; equal solutions count once.", "calibration.csv")


def _bin_table(qualities: Mapping[str, VerifierQuality]) -> Table:
    headers: list[str | Column] = ["verifier", "scored", Column("from", "number"), Column("to", "number")]
    headers += [Column("mean score", "number"), Column("right", "percent"), Column("items", "integer")]
    rows: list[Row] = [
        [name, unit, bin_.low, bin_.high, bin_.predicted, bin_.observed, bin_.count]
        for name, unit, found in _calibrations(qualities)
        for bin_ in found.bins
    ]
    caption = "The points of the reliability pictures: bins of about equally many items."
    return Table(headers, rows, caption, "reliability.csv", folded="Reliability, bin by bin")
