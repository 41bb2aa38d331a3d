"""The report's section on how sure its numbers are: what choosing the best of several adds, how many problems a claim
needs, and how much is the seed's."""

from __future__ import annotations

import math

from prm.report.formatting import Column, Row
from prm.report.page import Figure, Section, Table
from prm.report.plots import IntervalRow, clear_of, interval_plot

from ..analysis.analysis import Analysis
from ..analysis.sample_sizes import DIFFERENCES
from .gains import Lines

TEXT = (
    "The best of several methods looks better than it is on the problems that it was chosen on. Held out, each "
    "problem is measured with what is best on resamples without it. How many problems show a difference of a given "
    "size follows from how much two methods differ from problem to problem (arXiv 2411.00640; power 80%, "
    "confidence 95%)."
)
AMONG = {"n": "at the run's n", "all": "at any n"}


def certainty_section(analysis: Analysis, lines: Lines) -> Section:
    """Choices, numbers of problems and seeds, each where the run has them."""
    tables = [_selection_table(analysis, lines), _size_table(analysis, lines), _seed_table(analysis, lines)]
    return Section("How sure this is", TEXT, _selection_figure(analysis, lines), [one for one in tables if one.rows])


def _selection_figure(analysis: Analysis, lines: Lines) -> list[Figure]:
    rows = [
        IntervalRow(f"{name} {AMONG[one.among]}, {how}", gain.mean, gain.low, gain.high)
        for one in analysis.selections
        for name, how, gain in (
            ("Best", "as chosen", one.apparent),
            ("Best", "held out", one.honest),
        )
    ]
    if not rows:
        return []
    baseline = lines[analysis.basis.baseline].label
    title = f"Gain of the chosen method over {baseline}, percentage points"
    plot = interval_plot(rows, title=title, x_label="points", reference_label=baseline)
    return [Figure(plot, f"The choice is among all methods that a PRM guides. {clear_of('zero')}")]


def _selection_table(analysis: Analysis, lines: Lines) -> Table:
    headers: list[str | Column] = ["chosen among", Column("methods", "integer"), "best", Column("n", "integer")]
    headers += [
        Column("gain as chosen", "points"),
        Column("gain held out", "points"),
        Column("chosen as best", "percent"),
    ]
    rows: list[Row] = [
        [
            f"methods {AMONG[one.among]}",
            len(one.keys),
            lines[one.best].label,
            lines[one.best].n,
            one.apparent,
            one.honest,
            one.shares[one.keys.index(one.best)],
        ]
        for one in analysis.selections
    ]
    caption = f"The last column: in how many resamples this method was the best. {analysis.basis.sentence}"
    return Table(headers, rows, caption, "selection.csv")


def _size_table(analysis: Analysis, lines: Lines) -> Table:
    headers: list[str | Column] = ["method", "over", Column("paired deviation", "number")]
    headers.append(Column(f"difference seen with {analysis.basis.problems} problems", "points"))
    headers += [
        Column(f"problems for {100 * size:g} point{'s' if size > 0.01 else ''}", "integer") for size in DIFFERENCES
    ]
    rows = [
        [lines[one.key].label, lines[one.reference].label, one.deviation, one.seen, *one.needed]
        for one in analysis.sample_sizes
    ]
    caption = (
        "How many problems it takes to see a difference, and which difference these problems show; the deviation is "
        "that of the paired difference over problems."
    )
    return Table(headers, rows, caption, "sample_sizes.csv")


def _seed_table(analysis: Analysis, lines: Lines) -> Table:
    seeds = analysis.basis.seeds
    headers: list[str | Column] = [
        "method",
        Column("n", "integer"),
        *(Column(f"seed {seed}", "percent") for seed in seeds),
    ]
    headers += [Column("mean", "percent"), Column("deviation between seeds", "points")]
    rows = [
        [
            lines[one.key].label,
            lines[one.key].n,
            *one.accuracies,
            one.mean,
            None if math.isnan(one.deviation) else one.deviation,
        ]
        for one in analysis.seeds
    ]
    caption = (
        "Accuracy of whole runs with each seed, for those who ran once. The intervals of all other tables hold the "
        "means over seeds, and are over problems."
    )
    return Table(headers, rows, caption, "seeds.csv", folded="Seed by seed")
