"""The numbers of a run as tables of values, which the terminal and the page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prm.report.formatting import Column, Row
from prm.report.terminal import render_table
from prm.stats.intervals import Estimate

Headers = Sequence[str | Column]
Summary = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """The table of a run, and what has to be said under it."""

    headers: Headers
    rows: list[Row]
    notes: list[str]


def table_of(summary: Summary) -> str:
    """What `prm bench` prints."""
    found = results_of(summary)
    return "\n".join([render_table(found.headers, found.rows), *(f"note: {note}" for note in found.notes)])


def results_of(summary: Summary) -> Results:
    """The main table of a benchmark's run."""
    found = _TABLES[summary["benchmark"]](summary)
    return replace(found, notes=[*found.notes, *summary.get("notes", ())])


def estimate(value: float | None, bar: Sequence[float] | None, n: int) -> Estimate | float | None:
    """A number with its interval, where it has one."""
    return Estimate(value, bar[0], bar[1], n) if value is not None and bar else value


POLICY = {
    "steps_with_separator": "steps of {name} with the verifier's separator in them (read as a space)",
    "blank_steps": "blank steps of {name} (scored like the step before)",
    "too_long": "solutions of {name} too long for the verifier (accepted throughout)",
}
"""What was done with what the verifier cannot read as it is."""


def policy_notes(name: str, found: Mapping[str, Any]) -> list[str]:
    """How much of it there was."""
    return [f"{said.format(name=name)}: {found[what]}" for what, said in POLICY.items() if found[what]]


def _processbench(summary: Summary) -> Results:
    rows: list[Row] = []
    notes = [_threshold(summary)]
    for name, found in summary["subsets"].items():
        bars, n = found["intervals"], found["solutions"]
        keys = ("first_error_accuracy", "all_correct_accuracy", "first_error_f1")
        rows.append([name, n, *(estimate(found[key], bars[key], n) for key in keys)])
        notes += policy_notes(name, found)
    if any(found["first_error_f1"] is None for found in summary["subsets"].values()):
        notes.append("an F1 needs wrong and right solutions, and a fitted threshold both where it is fitted")
    solutions = summary["solutions"]
    mean = estimate(summary["mean_f1"], summary["mean_interval"], solutions)
    rows.append(["mean", solutions, None, None, mean])
    headers: Headers = [
        "subset",
        Column("solutions", "integer"),
        Column("first error found", "percent"),
        Column("right accepted", "percent"),
        Column("F1", "percent"),
    ]
    return Results(headers, rows, notes)


def _threshold(summary: Summary) -> str:
    """How it was chosen; best-of-n has none, and says what is taken."""
    return f"threshold: {summary['threshold_choice']}" if summary["thresholds"] != [] else summary["threshold_choice"]


def _prmbench(summary: Summary) -> Results:
    rows: list[Row] = []
    for name, found in summary["subsets"].items():
        rows.append([name, found["solutions"], estimate(found["headline"], found["interval"], found["solutions"])])
    solutions = summary["solutions"]
    for name, found in summary["dimensions"].items():
        rows.append([name, None, estimate(found["prm_score"], found["interval"], solutions)])
    rows.append(["overall", solutions, estimate(summary["prm_score"], summary["mean_interval"], solutions)])
    headers: Headers = ["category", Column("solutions", "integer"), Column("PRMScore", "percent")]
    notes = [_threshold(summary), *policy_notes("prmbench", summary["counts"])]
    return Results(headers, rows, notes)


def _best_of_n(summary: Summary) -> Results:
    rows: list[Row] = []
    for name, found in summary["subsets"].items():
        keys = ("best_of_n", "majority", "gain_over_majority", "pass_at_n")
        n = found["solutions"]
        rows.append([name.removeprefix("n="), n, *(_triple(found[key], n) for key in keys)])
    headers: Headers = [
        "n",
        Column("problems", "integer"),
        Column("best-of-n", "percent"),
        Column("majority", "percent"),
        Column("gain over majority", "points"),
        Column("pass@n", "percent"),
    ]
    notes = [_threshold(summary)]
    if summary["too_long"]:
        notes.append(
            f"{summary['too_long']} solutions are too long for the verifier, and taken where there is no other"
        )
    return Results(headers, rows, notes)


def _triple(row: Sequence[float], n: int) -> Estimate:
    return Estimate(row[0], row[1], row[2], n)


_TABLES = {"processbench": _processbench, "prmbench": _prmbench, "best_of_n": _best_of_n}
