"""The report's section on where more samples stop helping: the score of what is chosen against its accuracy, peaks,
the shape of chosen solutions, and what scores follow beside the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from prm.report.formatting import Column, Row
from prm.report.page import Choice, Figure, Section, Table
from prm.report.plots import IntervalRow, Series, clear_of, interval_plot, line_plot

from ..analysis.analysis import Analysis
from ..analysis.bias import Bias
from ..analysis.over_optimisation import Chosen
from ..results import MethodResult, method_title
from .gains import Lines
from .pictures import axes_of

TEXT = (
    "A search for high scores finds, in the end, solutions whose scores are wrong (arXiv 2210.10760; 2408.03314, "
    "section 5.3). Three things tell: accuracy falls after a peak, the score of what is chosen leaves accuracy "
    "behind, and the chosen solutions change their shape: fewer and shorter steps, repeated ones, the same solution "
    "again and again.\n\nScores should follow nothing but the truth. Length: the rank correlation of a solution's "
    "score with its length, among the distinct solutions of one problem that are alike right. Position: of a step's "
    "score with its place within right solutions, whose steps are all right."
)


def over_optimisation_section(analysis: Analysis, lines: Lines) -> Section:
    """Pictures for each verifier, then the tables."""
    figures: list[Figure | Choice] = [*_score_choices(analysis, lines)]
    figures += [*_bias_figures(analysis.biases), *_places(analysis.biases)]
    tables = [_peak_table(analysis), _chosen_table(analysis), _bias_table(analysis), _place_table(analysis)]
    return Section("Where more samples stop helping", TEXT, figures, [table for table in tables if table.rows])


def _score_choices(analysis: Analysis, lines: Lines) -> Iterator[Choice]:
    """Score and accuracy of the best of n, for each verifier, against every axis."""
    for verifier in dict.fromkeys(one.verifier for one in analysis.chosen):
        curve = [one for one in analysis.chosen if one.verifier == verifier and one.method == "best_of_n"]
        options = [
            (axis.name, _score_figure(verifier, curve, xs, axis.name, axis.label))
            for axis in axes_of(analysis)
            if len(xs := [_x(axis.value, one, lines) for one in curve]) > 1 and min(xs) > 0
        ]
        if options:
            yield Choice("Score and accuracy against", options)


def _x(value: Callable[[MethodResult], float], one: Chosen, lines: Lines) -> float:
    line = lines.get(f"{one.method}/{one.verifier}@{one.n}")
    return math.nan if line is None else value(line)


def _score_figure(verifier: str, curve: Sequence[Chosen], xs: Sequence[float], name: str, label: str) -> Figure:
    series = [
        Series.from_estimates(
            "score of the chosen", xs, [one.score for one in curve], color=1, style="dashed", mark=1
        ),
        Series.from_estimates("accuracy of the chosen", xs, [one.accuracy for one in curve], color=0, mark=0),
    ]
    title = f"What best-of-n with {verifier} chooses, against {name}"
    plot = line_plot(series, title=title, x_label=label, y_label="score, and share right", log_x=True)
    caption = "A calibrated verifier has both alike; a score that climbs on where accuracy stays is over-optimised."
    return Figure(plot, caption)


def _bias_figures(biases: Sequence[Bias]) -> list[Figure]:
    rows = [
        IntervalRow(f"{one.verifier}: {what}", found.mean, found.low, found.high)
        for one in biases
        for what, found in (
            ("score and number of steps", one.steps),
            ("score and characters", one.characters),
            ("step score and its place", one.position),
        )
        if found is not None
    ]
    if not rows:
        return []
    plot = interval_plot(rows, title="What scores follow beside the truth", x_label="rank correlation", scale="number")
    return [Figure(plot, f"Among solutions of one problem that are alike right, 95% intervals. {clear_of('zero')}")]


def _places(biases: Sequence[Bias]) -> Iterator[Figure]:
    """Mean score of a step by its place, in right and in wrong solutions."""
    for one in biases:
        if len(one.places) < 2 or one.position is None:
            continue
        series = [
            Series(
                name,
                [float(at.place) for at in one.places if not math.isnan(score(at))],
                [score(at) for at in one.places if not math.isnan(score(at))],
                color=color,
            )
            for name, color, score in (
                ("right solutions", 0, lambda at: at.score_of_right),
                ("wrong solutions", 1, lambda at: at.score_of_wrong),
            )
        ]
        plot = line_plot(
            [one for one in series if one.x],
            title=f"Step scores of {one.verifier} by place",
            x_label="place of the step in its solution",
            y_label="mean score",
            scale="number",
        )
        yield Figure(plot, "Distinct solutions of the shared samples.")


def _peak_table(analysis: Analysis) -> Table:
    headers: list[str | Column] = ["method", "verifier", "measured at n", Column("best n", "integer")]
    headers += ["95% of resamples", Column("fall to the largest n", "points"), "verdict"]
    rows: list[Row] = [
        [
            method_title(one.method),
            one.verifier or None,
            ", ".join(map(str, one.ns)),
            one.n,
            f"{one.low} to {one.high}",
            one.fall,
            "it falls" if one.is_inside else "no fall seen",
        ]
        for one in analysis.peaks
    ]
    caption = f"Where accuracy is largest, and what is lost behind it, held out. {analysis.basis.sentence}"
    return Table(headers, rows, caption, "peaks.csv")


def _chosen_table(analysis: Analysis) -> Table:
    headers: list[str | Column] = ["method", "verifier", Column("n", "integer"), Column("score", "number")]
    headers += [Column("accuracy", "percent"), Column("score − accuracy", "points"), Column("steps", "number")]
    headers += [
        Column("characters a step", "number"),
        Column("repeated steps", "percent"),
        Column("duplicates", "percent"),
    ]
    rows: list[Row] = [
        [
            method_title(one.method),
            one.verifier,
            one.n,
            one.score,
            one.accuracy,
            one.excess,
            one.steps,
            one.step_length,
            one.repeated,
            one.duplicates,
        ]
        for one in analysis.chosen
    ]
    caption = "What the highest score takes among n solutions, on average over subsets of samples, ties and problems."
    return Table(headers, rows, caption, "chosen.csv", folded="The chosen solutions, method by method")


def _bias_table(analysis: Analysis) -> Table:
    headers: list[str | Column] = ["verifier", "score and steps", "score and characters", "step score and place"]
    rows: list[Row] = [[one.verifier, one.steps, one.characters, one.position] for one in analysis.biases]
    return Table(headers, rows, "Rank correlations.", "bias.csv", folded="The same as a table")


def _place_table(analysis: Analysis) -> Table:
    headers: list[str | Column] = ["verifier", Column("place", "integer"), Column("right solutions", "integer")]
    headers += [Column("wrong solutions", "integer"), "mean score in right ones", "mean score in wrong ones"]
    rows: list[Row] = [
        [one.verifier, at.place, at.right, at.wrong, at.score_of_right, at.score_of_wrong]
        for one in analysis.biases
        for at in one.places
    ]
    caption = "Step scores by place, in the distinct solutions of the shared samples."
    return Table(headers, rows, caption, "step_places.csv", folded="Step scores by place")
