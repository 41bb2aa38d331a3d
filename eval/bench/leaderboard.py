"""The leaderboard: what was measured, what was published, and the differences of each pair of runs, as a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prm.report.formatting import MISSING, Column, Row, percent, points
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
    """A run.

    Attributes:
        mean: its headline over the files it read.
        subsets: the same of each subset.
        threshold: how it was chosen.
        solutions: how many it read.
        ranked: its headline on the solutions that all runs read; `None` where there are none, or it is undefined.
    """

    name: str
    fingerprint: str | None
    mean: Estimate | None
    subsets: Mapping[str, float | None]
    threshold: str
    solutions: int
    ranked: Estimate | None = None


@dataclass(frozen=True)
class Difference:
    """What `second` has over `first` on the solutions that both runs have."""

    first: str
    second: str
    mean: Estimate
    solutions: int


@dataclass(frozen=True)
class Leaderboard:
    """Runs of one benchmark, their differences, and what was published.

    Attributes:
        common: how many solutions all runs read.
        alike: whether they read no others.
    """

    benchmark: str
    runs: tuple[Run, ...]
    differences: tuple[Difference, ...]
    published: tuple[Published, ...]
    common: int
    alike: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is undefined is null."""
        found: dict[str, Any] = _defined(asdict(self))
        return found


def board_table(board: Leaderboard) -> str:
    """What `prm bench --compare` prints."""
    parts = [render_table(*_run_rows(board))] if board.runs else []
    if board.published:
        parts.append(render_table(*_published_rows(board)))
    if board.differences:
        parts.append(render_table(*_difference_rows(board)))
    return "\n\n".join([*parts, "\n".join([_lead(board), *(f"note: {note}" for note in _notes(board))])])


def render(board: Leaderboard) -> str:
    """`leaderboard.html`."""
    title = TITLES[board.benchmark]
    measured = "Measured here: 95% intervals over problems."
    published = "Published: the authors' numbers, each with its source."
    tables = [Table(*_run_rows(board), measured, "leaderboard.csv")] if board.runs else []
    if board.published:
        tables.append(Table(*_published_rows(board), published, "published.csv"))
    return render_report(
        f"{title}: leaderboard",
        f"{len(board.runs)} runs beside {len(board.published)} published",
        _lead(board),
        [Section("Leaderboard", "\n\n".join(_notes(board)), tables=tables), *_difference_section(board)],
        {"benchmark": title, "runs": len(board.runs)},
        footer="Run again with the same configuration to get the same numbers.",
    )


def _run_rows(board: Leaderboard) -> tuple[Sequence[str | Column], list[Row]]:
    """The runs in their order."""
    subsets = _subsets(board)
    headline = BENCHMARK_OF[board.benchmark].headline
    headers: list[str | Column] = [MEASURED, Column("solutions", "integer")]
    headers += [Column(name, "percent") for name in subsets]
    headers += [Column(headline if board.alike else f"{headline} of all it read", "percent")]
    headers += [] if board.alike else [Column(f"of the {board.common} that all read", "percent")]
    rows: list[Row] = []
    for run in _in_order(board):
        shared = [] if board.alike else [run.ranked]
        parts = [run.subsets.get(name) for name in subsets]
        rows.append([run.name, run.solutions, *parts, run.mean, *shared, run.threshold])
    return [*headers, "threshold"], rows


def _published_rows(board: Leaderboard) -> tuple[Sequence[str | Column], list[Row]]:
    """What was published, the highest first, with the board's subsets that something is published of."""
    subsets = [name for name in _subsets(board) if any(one.of(name) is not None for one in board.published)]
    headers: list[str | Column] = [PUBLISHED, *(Column(name, "percent") for name in subsets)]
    headers += [Column(BENCHMARK_OF[board.benchmark].headline, "percent"), "source"]
    ordered = sorted(board.published, key=lambda one: -one.mean)
    return headers, [[one.name, *map(one.of, subsets), one.mean / 100, one.source] for one in ordered]


def _subsets(board: Leaderboard) -> list[str]:
    return list(dict.fromkeys(name for run in board.runs for name in run.subsets))


def _in_order(board: Leaderboard) -> list[Run]:
    """The highest first; as they were given where nothing ranks them."""
    return sorted(board.runs, key=lambda run: -run.ranked.mean if run.ranked else 1.0)


def _notes(board: Leaderboard) -> list[str]:
    """What the order of the rows means, and what it does not."""
    notes = []
    if len(board.runs) > 1 and not board.alike:
        ranked = (
            f"they are ranked by the {board.common} that all of them read" if board.common else "nothing ranks them"
        )
        notes.append(f"The runs read different solutions: {ranked}. Means over all that each read do not compare.")
    if board.published:
        notes.append(
            "Published numbers are over the whole benchmark, measured by others with their thresholds, and have no "
            "interval here. They compare with a run that read the same files."
        )
    return notes


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
    """Who leads, if the paired intervals say that someone does."""
    ranked = [run for run in _in_order(board) if run.ranked]
    if not board.runs:
        return "No run to compare: published numbers alone."
    if not ranked:
        return "No run leads: there is no number that all runs have."
    best, others = ranked[0], [run for run in board.runs if run is not ranked[0]]
    value = f"{BENCHMARK_OF[board.benchmark].headline} {_said(best.ranked, percent)}"
    where = "" if board.alike else f" on the {board.common} solutions that all read"
    if not others:
        return f"{best.name}: {value}."
    doubt = [(run, ahead) for run in others if not ((ahead := _ahead(board, best, run)) and ahead.low > 0)]
    if not doubt:
        return f"{best.name} leads: {value}{where}; its paired differences to all other runs are clear of zero."
    run, ahead = doubt[0]
    paired = f"is {_said(ahead, points)} points on the {_shared(board, best, run)} that both read"
    return (
        f"No run leads: {best.name} has the highest {value}{where}, but its paired difference to {run.name} "
        f"{paired if ahead else 'is not known'}."
    )


def _ahead(board: Leaderboard, best: Run, other: Run) -> Estimate | None:
    """What one run has over another, paired; `None` where that is not known."""
    one = _pair(board, best, other)
    if one is None or math.isnan(one.mean.mean):
        return None
    mean = one.mean
    return mean if one.second == best.name else Estimate(-mean.mean, -mean.high, -mean.low, mean.n)


def _shared(board: Leaderboard, best: Run, other: Run) -> int:
    one = _pair(board, best, other)
    return one.solutions if one else 0


def _pair(board: Leaderboard, a: Run, b: Run) -> Difference | None:
    return next((one for one in board.differences if {one.first, one.second} == {a.name, b.name}), None)


def _said(found: Estimate | None, write: Callable[[float], str]) -> str:
    return f"{write(found.mean)} [{write(found.low)}, {write(found.high)}]" if found else MISSING


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _defined(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
