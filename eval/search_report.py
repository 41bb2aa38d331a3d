"""What people see of a run: the table in the terminal and `report.html`. Page, plots and tables are `prm.report`'s."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prm.report.formatting import Column
from prm.report.page import Figure, Section, Table, render_report
from prm.report.page import write_report as write_page
from prm.report.plots import IntervalRow, Series, clear_of, interval_plot, line_plot
from prm.report.series import LineStyle
from prm.report.svg import NEUTRAL, standalone_svg
from prm.report.terminal import render_table
from prm.stats.intervals import Estimate

from .label_section import label_section, read_label_report
from .quality_section import quality_section
from .results import MethodResult, method_title
from .run import EvalResult

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

HEADERS = (
    Column("method"),
    Column("verifier"),
    Column("n", "integer"),
    Column("accuracy", "percent"),
    Column("gain", "points"),
    Column("FLOPs", "si"),
    Column("generated", "si"),
    Column("verifier tokens", "si"),
    Column("seconds", "number"),
)
LOOKS: dict[str, tuple[LineStyle, int]] = {  # line style and marker of each method
    "best_of_n": ("solid", 0),
    "weighted_best_of_n": ("dashed", 1),
    "beam_search": ("dotted", 2),
    "dvts": ("dashdot", 3),
    "majority": ("solid", 4),
    "pass_at_n": ("dotted", 5),
    "greedy": ("solid", 6),
    "no_skill": ("dashed", 4),
}


HOW_TO_READ = "A colour is a verifier, grey is none; line and marker tell the method."


def terminal_table(config: EvalConfig, result: EvalResult) -> str:
    """The lines at n = 1 and at the largest n, with what they mean."""
    lines = [line for line in result.methods if line.n in (1, max(result.ns)) and not _is_plain_sampling(line)]
    facts = f"{len(result.problems)} problems, seed {config.seed}; intervals 95%, bootstrap over problems; "
    facts += f"gain over {method_title(config.baseline)} at the same n, paired; costs are means per problem"
    parts = [render_table(HEADERS, [_row(line) for line in lines]), facts]
    if result.best:
        parts.append(_best_sentence(config, result))
    return "\n".join([*parts, *(f"note: {note}" for note in result.notes)])


def write_report(config: EvalConfig, result: EvalResult, path: Path, picture: str) -> Path:
    """Write `report.html`, and its first picture as a file of the given name beside it."""
    by_n = _accuracy_figure(result, f"Accuracy against the number of generated solutions. {HOW_TO_READ}", by="n")
    for figure in by_n:
        path.with_name(picture).write_text(standalone_svg(figure.svg), encoding="utf-8")
    sections = [_accuracy_section(config, result, by_n)]
    if result.controls:
        sections.append(_controls_section(result))
    if result.quality:
        controls = {name for name, facts in result.verifiers.items() if facts["control"]}
        sections.append(quality_section(result.quality, controls))
    if config.label_report:
        sections.append(label_section(read_label_report(config.label_report)))
    sections.append(_cost_section(result))
    page = render_report(
        "What the verifier is worth",
        f"Test-time search on {len(result.problems)} problems",
        _lead(config, result),
        sections,
        _facts(config, result),
        footer=f"Run again with the same configuration to get the same numbers: seed {config.seed}.",
    )
    return write_page(path, page)


def _is_plain_sampling(line: MethodResult) -> bool:
    """At n = 1 every method on samples is the same: plain sampling, shown once as pass@1."""
    return line.n == 1 and (line.method == "majority" or bool(line.verifier))


def _labels(result: EvalResult) -> dict[str, str]:
    """How a reader knows the lines that the files know by their keys."""
    return {line.key: line.label for line in result.methods}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _row(line: MethodResult) -> list[str | int | float | Estimate | None]:
    bill = line.bill
    return [
        method_title(line.method),
        line.verifier + (" (control)" if line.control else "") if line.verifier else None,
        line.n,
        line.accuracy,
        line.gain,
        *(_known(value) for value in (bill.flops, bill.generated_tokens, bill.verifier_tokens, bill.seconds)),
    ]


def _known(value: float) -> float | None:
    """A cost, or `None` where it is unknown (nan) or nothing was spent."""
    return None if math.isnan(value) or not value else value


def _best_sentence(config: EvalConfig, result: EvalResult) -> str:
    assert result.best is not None
    gain, held_out = result.best.gain, result.best.held_out_gain
    return (
        f"best PRM method: {result.best.label}, {_points(gain)} points over {method_title(config.baseline)}; "
        f"with the method chosen on the other half of the problems {_points(held_out)}"
    )


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.mean:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _lead(config: EvalConfig, result: EvalResult) -> str:
    n = max(result.ns)
    base = result.find(config.baseline, n)
    oracle = result.find("pass_at_n", n)
    text = (
        f"{_capital(method_title(config.baseline))} over {n} solutions is right on {base.accuracy.mean:.1%} of the "
        f"problems; a perfect verifier would reach {oracle.accuracy.mean:.1%}."
    )
    if result.best is None:
        return text
    gain = result.best.gain
    verdict = "clear of zero" if gain.clear_of() else "not clear of zero"
    best = next(line for line in result.methods if line.key == result.best.key)
    return (
        f"{text} {_capital(best.label)} reaches {best.accuracy.mean:.1%}: {100 * gain.mean:+.1f} points, 95% "
        f"interval {100 * gain.low:+.1f} to {100 * gain.high:+.1f}, {verdict}."
    )


def _facts(config: EvalConfig, result: EvalResult) -> dict[str, str | int | float]:
    facts: dict[str, str | int | float] = {"Problems": len(result.problems), "Seed": config.seed}
    if result.generator:
        facts["Generator"] = f"{result.generator['name']} ({result.generator['revision'][:12]})"
        facts["Generator parameters"] = result.generator["num_parameters"]
        facts["Sampling"] = f"temperature {config.temperature:g}, top_p {config.top_p:g}"
    for name, verifier in result.verifiers.items():
        facts[f"Verifier {name}"] = (
            f"{verifier['kind'].upper()}, {verifier['num_parameters']:,} parameters, "
            f"aggregation {verifier['aggregation']}{', a control' if verifier['control'] else ''}"
        )
    facts["Samples"] = result.counts["samples"]
    facts["Truncated samples"] = result.counts["truncated"]
    facts["Samples without an answer"] = result.counts["no_answer"]
    return facts


def _accuracy_section(config: EvalConfig, result: EvalResult, by_n: list[Figure]) -> Section:
    n = max(result.ns)
    baseline = method_title(config.baseline)
    figures = []
    if len(result.ns) > 1:
        figures = [
            *by_n,
            *_accuracy_figure(
                result, f"Accuracy against FLOPs per problem, both models included. {HOW_TO_READ}", by="flops"
            ),
        ]
    methods = [line for line in result.methods if line.n == n and not line.oracle and not line.control]
    gains = [line for line in methods if line.gain is not None]
    if gains:
        rows = [IntervalRow(g.label, g.gain.mean, g.gain.low, g.gain.high) for g in gains if g.gain]
        title = f"Gain over {baseline} at n = {n}, percentage points"
        plot = interval_plot(rows, title=title, x_label="points", reference_label=baseline)
        figures.append(Figure(plot, f"Paired by problem, 95% intervals. {clear_of('zero')}"))
    best = [i for i, line in enumerate(result.methods) if result.best and line.key == result.best.key]
    text = (
        "Selectors among samples (majority, best-of-n, weighted best-of-n, pass@n) are averages over all subsets of n "
        "of the samples of each problem; greedy decoding and the tree searches are one run. Unfinished solutions do "
        "not vote and cannot be chosen. Bands, bars and brackets are 95% intervals, bootstrapped over problems; gains "
        "are paired by problem at equal n."
    )
    if result.best:
        text += f"\n\n{_capital(_best_sentence(config, result))}."
    if config.panel:
        text = (
            "The samples of a problem come from different systems, one each: the vote and the oracle are those of the "
            "whole panel, and no estimate over subsets is given. Intervals are bootstrapped over problems."
        )
    caption = "Every method. Gains in percentage points; tokens, FLOPs and seconds are means per problem."
    table = Table(HEADERS, [_row(line) for line in result.methods], caption, "methods.csv", best)
    return Section("Accuracy", text, figures, [table])


def _accuracy_figure(result: EvalResult, caption: str, *, by: str) -> list[Figure]:
    """The picture of all methods, or nothing where none of them has a place on the axis."""
    series, chance = _accuracy_series(result, by=by)
    if not series:
        return []
    plot = line_plot(
        series,
        title=f"Accuracy against {'n' if by == 'n' else 'FLOPs'}",
        x_label="generated solutions per problem" if by == "n" else "FLOPs per problem",
        y_label="accuracy",
        log_x=True,
        chance=chance,
    )
    return [Figure(plot, caption)]


def _accuracy_series(result: EvalResult, *, by: str) -> tuple[list[Series], list[tuple[float, str]]]:
    """All methods in one picture: each verifier has a colour, each method a line style and a marker."""
    series, chance = [], []
    colours = {name: index for index, name in enumerate(result.verifiers)}
    for lines in _curves([line for line in result.methods if _in_picture(line)]):
        first = lines[0]
        if first.method == "greedy" and by == "n":
            chance.append((first.accuracy.mean, "greedy"))
            continue
        xs = [float(line.n) if by == "n" else line.bill.flops for line in lines]
        if not min(xs) > 0:  # free of cost, or of unknown cost (nan)
            continue
        style, mark = LOOKS.get(first.method, ("solid", 7))
        color = colours.get(first.verifier, NEUTRAL)
        estimates = [line.accuracy for line in lines]
        series.append(Series.from_estimates(first.label, xs, estimates, style=style, color=color, mark=mark))
    return series, chance


def _in_picture(line: MethodResult) -> bool:
    """Controls have a section of their own, and a search is drawn with its default final choice only."""
    return not line.control and not (line.method.endswith("_weighted") or line.method.startswith("alone"))


def _curves(methods: Sequence[MethodResult]) -> list[list[MethodResult]]:
    """The lines of each method and verifier, in order of cost."""
    curves: dict[tuple[str, str], list[MethodResult]] = {}
    for line in methods:
        curves.setdefault((line.method, line.verifier), []).append(line)
    return [sorted(lines, key=lambda line: line.n) for lines in curves.values()]


def _controls_section(result: EvalResult) -> Section:
    labels = _labels(result)
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


def _cost_section(result: EvalResult) -> Section:
    headers: list[str | Column] = [
        "method",
        "verifier",
        *(
            Column(name, "si")
            for name in ("generated", "prefilled", "cached", "verifier tokens", "generator FLOPs", "verifier FLOPs")
        ),
        Column("seconds", "number"),
    ]
    rows = []
    for lines in _curves(result.methods):
        line, bill = lines[-1], lines[-1].bill
        if not bill.generated_tokens and not bill.verifier_tokens:
            continue
        rows.append(
            [
                f"{method_title(line.method)} @ {line.n}",
                line.verifier or None,
                bill.generated_tokens,
                bill.prefilled_tokens,
                bill.cached_tokens,
                bill.verifier_tokens,
                None if math.isnan(bill.generator_flops) else bill.generator_flops,
                bill.verifier_flops,
                bill.seconds,
            ]
        )
    text = (
        "FLOPs are 2 per parameter and token (arXiv 2408.03314): generated and prefilled tokens through the "
        "generator, verifier tokens through the verifier; cached tokens cost nothing. n of M samples cost n/M of all "
        "of them; the verifier reads equal samples of a problem once. Seconds are wall time of the batched run, "
        "divided by the number of problems. Recorded samples cost what their file says; a dash: it does not say."
    )
    return Section("The bill", text, tables=[Table(headers, rows, "Means per problem.", "cost.csv")])
