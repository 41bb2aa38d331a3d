"""The leaderboard: what was measured, what was published, and the differences of each pair of runs, as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prm.report.formatting import Column, Row, percent
from prm.report.page import Figure, Section, Table, render_report
from prm.report.plots import IntervalRow, clear_of, interval_plot
from prm.report.terminal import render_table
from prm.stats.intervals import Estimate

from .benchmark import BENCHMARK_OF
from .page import TITLES
from .published import Published

MEASURED, PUBLISHED = "measured here", "published"


@dataclass(frozen=True)
class Run:
    """A run: its headline with the interval, the same of each subset, and how its threshold was chosen."""

    name: str
    fingerprint: str | None
    mean: Estimate | None
    subsets: Mapping[str, float | None]
    threshold: str
    solutions: int


@dataclass(frozen=True)
class Difference:
    """What `second` has over `first` on the solutions that both runs have."""

    first: str
    second: str
    mean: Estimate
    solutions: int


@dataclass(frozen=True)
class Leaderboard:
    """Runs of one benchmark, the best first in every table, their differences, and what was published."""

    benchmark: str
    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    published: tuple[Published, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is null."""
        found: dict[str, Any] = _defined(asdict(self))
        return found


def board_table(board: Leaderboard) -> str:
    """What `prm bench --compare` prints."""
    parts = [render_table(*_rows(board))]
    if board.differences:
        parts.append(render_table(*_difference_rows(board)))
    return "\n\n".join(parts)


def render(board: Leaderboard) -> str:
    """`leaderboard.html`."""
    headers, rows = _rows(board)
    title = TITLES[board.benchmark]
    measured = [index for index, row in enumerate(rows) if row[1] == MEASURED]
    caption = "Measured here with 95% intervals over problems; published numbers are their authors', as published."
    text = (
        "Published numbers were measured by others, with their thresholds, and have no interval here. A run's "
        "headline is over the files it read, a published one over the whole benchmark: compare them where the run "
        "read the same."
    )
    table = Table(headers, rows, caption, "leaderboard.csv", best=measured)
    return render_report(
        f"{title}: leaderboard",
        f"{len(board.runs)} runs beside {len(board.published)} published",
        _lead(board),
        [Section("Leaderboard", text, tables=[table]), *_difference_section(board)],
        {"benchmark": title, "runs": len(board.runs)},
        footer="Run again with the same configuration to get the same numbers.",
    )


def _rows(board: Leaderboard) -> tuple[Sequence[str | Column], list[Row]]:
    subsets = list(dict.fromkeys(name for run in board.runs for name in run.subsets))
    headline = BENCHMARK_OF[board.benchmark].headline
    headers: list[str | Column] = ["verifier", "numbers", *(Column(name, "percent") for name in subsets)]
    headers += [Column(headline, "percent"), "threshold or source"]
    found: list[tuple[float, Row]] = []
    for run in board.runs:
        values = [run.subsets.get(name) for name in subsets]
        found.append((run.mean.mean if run.mean else -1.0, [run.name, MEASURED, *values, run.mean, run.threshold]))
    for one in board.published:
        values = [one.of(name) for name in subsets]
        found.append((one.mean / 100, [one.name, PUBLISHED, *values, one.mean / 100, one.source]))
    return headers, [row for _, row in sorted(found, key=lambda pair: -pair[0])]


def _difference_rows(board: Leaderboard) -> tuple[Sequence[str | Column], list[Row]]:
    headers: list[str | Column] = ["difference", Column("solutions of both", "integer"), Column("points", "points")]
    rows: list[Row] = [[f"{one.second} - {one.first}", one.solutions, one.mean] for one in board.differences]
    return headers, rows


def _difference_section(board: Leaderboard) -> list[Section]:
    drawn = [one for one in board.differences if not math.isnan(one.mean.mean)]
    if not drawn:
        return []
    headline = BENCHMARK_OF[board.benchmark].headline
    bars = [IntervalRow(f"{one.second} - {one.first}", one.mean.mean, one.mean.low, one.mean.high) for one in drawn]
    plot = interval_plot(bars, title=f"Paired differences of the {headline}", x_label="percentage points")
    headers, rows = _difference_rows(board)
    caption = "Paired: the same problems are drawn for both, each run at the thresholds it chose."
    return [
        Section(
            "Paired differences",
            "On the solutions that both runs have.",
            [Figure(plot, clear_of("0"))],
            [Table(headers, rows, caption, "differences.csv")],
        )
    ]


def _lead(board: Leaderboard) -> str:
    ranked = sorted((run for run in board.runs if run.mean), key=lambda run: -run.mean.mean if run.mean else 0.0)
    if not ranked or ranked[0].mean is None:
        return "No run to compare: published numbers alone."
    best, headline = ranked[0], BENCHMARK_OF[board.benchmark].headline
    bar = ranked[0].mean
    return f"{best.name} leads the runs: {headline} {percent(bar.mean)} [{percent(bar.low)}, {percent(bar.high)}]."


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _defined(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
