"""The report's section on gains: over plain sampling, the majority vote and the ORM, at equal n and at equal FLOPs,
and how much of what the samples hold each method brings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prm.report.formatting import Column
from prm.report.page import MOST_OPTIONS, Choice, Figure, Section, Table
from prm.report.plots import IntervalRow, clear_of, interval_plot

from ..analysis.analysis import Analysis
from ..analysis.gains import PLAIN, Gain
from ..analysis.worth import Worth
from ..results import MethodResult, method_title

Lines = Mapping[str, MethodResult]
"""The lines of a run by their keys."""

TEXT = (
    "At equal n a verifier gets its own reading for nothing. At equal FLOPs it has to earn it: the reference spends "
    "as much on more samples, its accuracy interpolated in the logarithm of FLOPs between the numbers of samples it "
    "was measured at.\n\nRegret is what a perfect choice among as many samples would add (pass@n minus the method). "
    "Efficiency is the gain over plain sampling as a share of the possible gain; a search draws solutions of its own, "
    "so that it may exceed 100%."
)
UNMATCHED = "* The reference was not measured at so many or so few FLOPs and stands at the end of its curve."
EQUAL = {"n": "equal n", "flops": "equal FLOPs"}


def gains_section(analysis: Analysis, lines: Lines, n: int) -> Section:
    """Pictures at the run's n, and tables of every line."""
    figures: list[Figure | Choice] = []
    options = _options(analysis.gains, lines, n)
    if options:
        figures.append(Choice("Gain over", options))
    efficiency = _efficiency(analysis.worths, lines, n)
    tables = [_gain_table(analysis.gains, lines), _worth_table(analysis.worths, lines)]
    basis = f" {analysis.basis.sentence}"
    return Section(
        "What it gains, and over what",
        TEXT,
        [*figures, *efficiency],
        [_with_basis(table, basis) for table in tables if table.rows],
    )


def reference_title(name: str) -> str:
    """A reference as people read it: `pass@1`, `majority`, `best-of-n, orm`."""
    method, _, verifier = name.partition("/")
    title = name if name == PLAIN else method_title(method)
    return f"{title}, {verifier}" if verifier else title


def _options(gains: Sequence[Gain], lines: Lines, n: int) -> list[tuple[str, Figure]]:
    """A picture for each reference and what is equal; over plain sampling, a flat curve, both are the same."""
    groups: dict[tuple[str, str], list[Gain]] = {}
    for gain in gains:
        line = lines[gain.key]
        if line.n in (1, n) and not line.control and (gain.reference, gain.equal) != (PLAIN, "flops"):
            groups.setdefault((gain.reference, gain.equal), []).append(gain)
    order = {PLAIN: 1, "majority": 0}
    chosen = sorted(groups, key=lambda group: (order.get(group[0], 2), group[1] != "n"))
    return [(_name(*group), _picture(*group, groups[group], lines)) for group in chosen][:MOST_OPTIONS]


def _name(reference: str, equal: str) -> str:
    title = reference_title(reference)
    return title if reference == PLAIN else f"{title}, {EQUAL[equal]}"


def _picture(reference: str, equal: str, gains: Sequence[Gain], lines: Lines) -> Figure:
    rows = [
        IntervalRow(
            f"{lines[gain.key].label}{'' if gain.matched else ' *'}",
            gain.difference.mean,
            gain.difference.low,
            gain.difference.high,
        )
        for gain in gains
    ]
    title = f"Gain over {_name(reference, equal)}, percentage points"
    plot = interval_plot(rows, title=title, x_label="points", reference_label=reference_title(reference))
    caption = f"Paired by problem, 95% intervals. {clear_of('zero')}"
    return Figure(plot, caption if all(gain.matched for gain in gains) else f"{caption} {UNMATCHED}")


def _efficiency(worths: Sequence[Worth], lines: Lines, n: int) -> list[Figure]:
    rows = [
        IntervalRow(lines[one.key].label, one.efficiency.mean, one.efficiency.low, one.efficiency.high)
        for one in worths
        if one.efficiency is not None and lines[one.key].n == n and not lines[one.key].control
    ]
    if not rows:
        return []
    plot = interval_plot(
        rows, title=f"Efficiency at n = {n}", x_label="share of the possible gain", scale="percent",
        reference_label="plain sampling",
    )  # fmt: skip
    return [Figure(plot, f"(method − pass@1) / (pass@n − pass@1), 95% intervals over problems. {clear_of('zero')}")]


def _gain_table(gains: Sequence[Gain], lines: Lines) -> Table:
    headers: list[str | Column] = ["method", Column("n", "integer"), "over", "at equal", Column("gain", "points")]
    headers += [Column("n of the reference", "number"), Column("its FLOPs over the method's", "number")]
    rows = [
        [
            lines[gain.key].label,
            lines[gain.key].n,
            reference_title(gain.reference),
            "FLOPs" if gain.equal == "flops" else "n",
            gain.difference,
            gain.reference_n,
            gain.flops_ratio,
        ]
        for gain in gains
    ]
    caption = "Every line over every reference, paired by problem, in percentage points."
    return Table(headers, rows, caption, "gains.csv", folded=f"All {len(rows)} gains")


def _worth_table(worths: Sequence[Worth], lines: Lines) -> Table:
    headers: list[str | Column] = ["method", Column("n", "integer"), Column("regret", "points")]
    headers.append(Column("efficiency", "percent"))
    rows = [[lines[one.key].label, lines[one.key].n, one.regret, one.efficiency] for one in worths]
    caption = "Regret in percentage points, paired by problem; efficiency as a share of what the samples hold."
    return Table(headers, rows, caption, "efficiency.csv", folded="Regret and efficiency of every line")


def _with_basis(table: Table, basis: str) -> Table:
    return Table(table.headers, table.rows, table.caption + basis, table.csv_name, table.best, table.folded)
