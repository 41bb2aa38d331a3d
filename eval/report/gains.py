"""The report's section on gains: over plain sampling, the majority vote and the ORM, at equal n and at equal FLOPs,
and how much of what the samples hold each method brings out."""

from __future__ import annotations

from collections.abc import Sequence

from prm.report.formatting import Column
from prm.report.page import MOST_OPTIONS, Choice, Figure, Section, Table
from prm.report.plots import IntervalRow, clear_of, interval_plot

from ..analysis.analysis import Analysis
from ..analysis.gains import PLAIN, Gain
from ..analysis.worth import Worth
from ..results import method_title
from .equal_flops import Lines, closest, equal_name, how_to_read, row_label
from .wording import capital, known

TEXT = (
    "At equal n a verifier gets its own reading for nothing. At equal FLOPs it has to earn it: the reference spends "
    "as much on more samples, its accuracy interpolated in the logarithm of FLOPs between the numbers of samples it "
    "was measured at.{needed}\n\nRegret is what a perfect choice among as many samples would add (pass@n minus the "
    "method). Efficiency is the gain over plain sampling as a share of the possible gain; a search draws solutions of "
    "its own, so that it may exceed 100%."
)


def gains_section(analysis: Analysis, lines: Lines, n: int, needed: str = "") -> Section:
    """Pictures at the run's n, at equal FLOPs at the largest n that can be matched, and tables of every line.

    Args:
        needed: how many samples would match every method (`equal_flops.needed_sentence`).
    """
    figures: list[Figure | Choice] = []
    options = _options(analysis.gains, lines, n)
    if options:
        figures.append(Choice("Gain over", options))
    efficiency = _efficiency(analysis.worths, lines, n)
    tables = [_gain_table(analysis.gains, lines), _worth_table(analysis.worths, lines)]
    basis = f" {analysis.basis.sentence}"
    return Section(
        "What it gains, and over what",
        TEXT.format(needed=f" {capital(needed)}." if needed else ""),
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
        at_n = gain.equal == "flops" or line.n in (1, n)
        if at_n and not line.control and (gain.reference, gain.equal) != (PLAIN, "flops"):
            groups.setdefault((gain.reference, gain.equal), []).append(gain)
    order = {PLAIN: 1, "majority": 0}
    chosen = sorted(groups, key=lambda group: (order.get(group[0], 2), group[1] != "n"))
    return [_picture(group[0], group[1], groups[group], lines) for group in chosen][:MOST_OPTIONS]


def _picture(reference: str, equal: str, gains: Sequence[Gain], lines: Lines) -> tuple[str, Figure]:
    """The picture and the name of its tab."""
    shown, what = (gains, "equal n") if equal == "n" else (closest(gains, lines), equal_name(closest(gains, lines)))
    over = reference_title(reference)
    name = over if reference == PLAIN else f"{over}, {what}"
    rows = [
        IntervalRow(
            lines[gain.key].label if equal == "n" else row_label(gain, lines),
            gain.difference.mean,
            gain.difference.low,
            gain.difference.high,
        )
        for gain in shown
    ]
    plot = interval_plot(rows, title=f"Gain over {name}, percentage points", x_label="points", reference_label=over)
    read = f"Paired by problem, 95% intervals. {clear_of('zero')}"
    return name, Figure(plot, read if equal == "n" else f"{how_to_read(shown)} {read}")


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
    headers += [Column("n of the reference", "number"), Column("its FLOPs over the method's", "percent")]
    headers.append(Column("n at equal FLOPs", "number"))
    rows = [
        [
            lines[gain.key].label,
            lines[gain.key].n,
            reference_title(gain.reference),
            "n" if gain.equal == "n" else "FLOPs" if gain.matched else "FLOPs (not reached)",
            gain.difference,
            gain.reference_n,
            gain.flops_ratio,
            known(gain.needed_n),
        ]
        for gain in gains
    ]
    caption = (
        "Every line over every reference, paired by problem, in percentage points. Not reached: the reference was not "
        "measured at the method's FLOPs and stands at the end of its curve, with this share of them; the last column "
        "says how many samples it would take."
    )
    return Table(headers, rows, caption, "gains.csv", folded=f"All {len(rows)} gains")


def _worth_table(worths: Sequence[Worth], lines: Lines) -> Table:
    headers: list[str | Column] = ["method", Column("n", "integer"), Column("regret", "points")]
    headers.append(Column("efficiency", "percent"))
    rows = [[lines[one.key].label, lines[one.key].n, one.regret, one.efficiency] for one in worths]
    caption = "Regret in percentage points, paired by problem; efficiency as a share of what the samples hold."
    return Table(headers, rows, caption, "efficiency.csv", folded="Regret and efficiency of every line")


def _with_basis(table: Table, basis: str) -> Table:
    return Table(table.headers, table.rows, table.caption + basis, table.csv_name, table.best, table.folded)
