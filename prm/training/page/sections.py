"""How a verifier learned and what its scores are worth: curves, held-out metrics, calibration. Parts of
`prm.training.page.page`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prm.metrics.names import greater_is_better
from prm.report.curves import MOST_POINTS, Unit, curve_plot
from prm.report.formatting import Column, Row
from prm.report.page import Figure, Section, Table
from prm.report.plots import reliability_plot
from prm.report.series import Series
from prm.stats.calibration import brier_score, expected_calibration_error, reliability_table
from prm.stats.intervals import Estimate

Logs = Sequence[Mapping[str, Any]]

_METRICS = {  # title and what it is
    "loss": ("Loss", "Cross-entropy, in nats"),
    "step_accuracy": ("Step accuracy", "Steps on the right side of the threshold"),
    "accuracy": ("Accuracy", "Solutions on the right side of the threshold"),
    "auroc": ("AUROC", "Chance that a right one scores above a wrong one"),
    "auroc_within": ("AUROC within a problem", "The same, in one problem"),
    "auprc_of_wrong": ("AUPRC of what is wrong", "Area under precision against recall"),
    "first_error_f1": ("First-error F1", "Of finding the first wrong step, as ProcessBench counts it"),
    "first_error_f1_fitted": ("First-error F1, fitted", "At a threshold fitted on other problems"),
    "first_error_accuracy": ("First errors found", "Share of the solutions with an error"),
    "all_correct_accuracy": ("Right solutions accepted", "Share of the solutions without an error"),
    "accuracy_fitted": ("Accuracy, fitted", "At a threshold fitted on other problems"),
    "ece": ("Expected calibration error", "Mean distance of score and truth, in bins"),
    "brier": ("Brier score", "Mean squared distance of score and truth"),
}
_NOT_DRAWN = ("base_rate", "base_rate_of_wrong", "threshold_fitted", "runtime", "loss")
_COURSE: tuple[tuple[str, str, str, Unit], ...] = (
    ("learning_rate", "Learning rate", "", "number"),
    ("grad_norm", "Gradient norm", "Before it is clipped", "number"),
    ("labels_per_second", "Labels per second", "Evaluation and saving do not count", "si"),
    ("tokens_per_second", "Tokens per second", "Without padding", "si"),
    ("padding_share", "Padding", "Share of the tokens that are run over", "percent"),
    ("mfu", "Model FLOPs utilisation", "Of the machine's own rate in matrix products", "percent"),
)


@dataclass(frozen=True)
class Calibration:
    """Held-out scores against what they should be.

    Attributes:
        targets: 0 to 1, for each labelled step.
        scores: before calibration.
        calibrated: after it; `None` where there was none.
        fitted: `prm.calibration.Temperature.to_dict()`.
    """

    targets: Sequence[float]
    scores: Sequence[float]
    calibrated: Sequence[float] | None = None
    fitted: Mapping[str, Any] = field(default_factory=dict)


def curve_of(logs: Logs, name: str, label: str = "") -> Series:
    """A logged value over the optimiser steps."""
    points = [(log["step"], log[name]) for log in logs if name in log and log[name] is not None]
    return Series(label or name, [float(x) for x, _ in points], [float(y) for _, y in points])


def course_section(logs: Logs) -> Section:
    """Losses, learning rate, gradient norm and throughput.

    Raises:
        DataError: no loss was logged.
    """
    losses = [curve_of(logs, "loss", "training"), curve_of(logs, "eval_loss", "held out")]
    figures = [Figure(curve_plot(losses, title="Loss", y_label="Mean over labels, in nats", narrow=False))]
    for name, title, what, unit in _COURSE:
        if (one := curve_of(logs, name)).x:
            figures.append(Figure(curve_plot([one], title=title, y_label=what, unit=unit), narrow=True))
    most = max(len(one.x) for one in losses)
    text = f"Each point is the mean of {-(-most // MOST_POINTS)} logs in a row." if most > MOST_POINTS else ""
    return Section("The course of training", text, figures)


def held_out_section(
    metrics: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]] | None = None
) -> Section:
    """Metrics on held-out problems at the end of the training, and by label source.

    Args:
        metrics: of the verifier that the run wrote; where `before` is not given, of its weights before calibration.
        before: of its weights before calibration, at the threshold they were trained with.
    """
    plain = "Of the trained weights before calibration; 95% intervals over problems."
    if not before:
        tables = [_measured(metrics, plain, "held_out.csv"), *_by_source(metrics)]
    else:
        caption = (
            "Of the verifier as it was saved; 95% intervals over problems. Where the temperature or the threshold was "
            "fitted on these rows, each problem is scored and judged with one that was fitted on other problems."
        )
        plain += " The threshold is the one it was trained with, 0.5 unless it was set."
        tables = [_measured(metrics, caption, "held_out.csv"), *_by_source(metrics)]
        tables.append(_measured(before, plain, "held_out_before_calibration.csv"))
    return Section("On held-out problems", "Measured on the rows that were held out from training.", [], tables)


def _measured(metrics: Mapping[str, Mapping[str, float]], caption: str, file: str) -> Table:
    rows: list[Row] = []
    for name, found in sorted(metrics.items(), key=lambda item: _place(item[0])):
        if "/" not in name:
            value = Estimate(found["value"], found["low"], found["high"], int(found["n"]))
            better = None if name not in _METRICS else "more" if greater_is_better(name) else "less"
            rows.append([_title(name), value, better, int(found["n"])])
    columns = [Column("metric"), Column("value", "number"), Column("better"), Column("problems", "integer")]
    return Table(columns, rows, caption, file)


def progress_section(logs: Logs) -> Section | None:
    """Held-out metrics over the steps; `None` where there was one evaluation at most."""
    figures = []
    for name in sorted({name for log in logs for name in log if name.startswith("eval_")}, key=_place):
        bare, one = name.removeprefix("eval_"), curve_of(logs, name)
        if len(one.x) > 1 and "/" not in bare and bare not in _NOT_DRAWN and not bare.endswith("_per_second"):
            what = _METRICS.get(bare, ("", ""))[1]
            figures.append(Figure(curve_plot([one], title=_title(bare), y_label=what), narrow=True))
    return Section("Held-out metrics over the steps", "", figures) if figures else None


def calibration_section(found: Calibration) -> Section:
    """Reliability before and after calibration, and what the temperature does on rows it was not fitted on."""
    parts = {"Reliability": found.scores}
    if found.calibrated is not None:
        parts = {"Before calibration": found.scores, "After calibration": found.calibrated}
    figures: list[Figure] = []
    rows: list[Row] = []
    for title, scores in parts.items():
        figures.append(Figure(reliability_plot(reliability_table(scores, found.targets), title=title), narrow=True))
        error, brier = (measure(scores, found.targets) for measure in (expected_calibration_error, brier_score))
        rows.append([title.lower(), _cross_entropy(scores, found.targets), error, brier, len(scores)])
    told, caption = found.fitted, "Held-out scores; the calibration error in ten bins of equal mass."
    if told:
        rows.append(["after calibration, cross-fitted", told.get("nll_after"), told.get("ece_after"), None, told["n"]])
        caption += _what_became_of(told, used=found.calibrated is not None)
    names = ("loss", "calibration error", "Brier score")
    columns = [Column("scores"), *(Column(name, "number") for name in names), Column("labels", "integer")]
    text = "Whether a score of .8 is right eight times in ten. Points below the diagonal are scores that say too much."
    return Section("Calibration", text, figures, [Table(columns, rows, caption, "calibration.csv")])


def _what_became_of(told: Mapping[str, Any], *, used: bool) -> str:
    """A sentence on the temperature that was fitted."""
    value = f"{told['value']:.3g}"
    if used:
        return f" All margins are divided by the temperature, {value}; the order of the scores stays."
    why = told.get("reason") or "it does not lower the loss on problems it was not fitted on"
    return f" The temperature that fits them, {value}, is not used: {why}."


def _cross_entropy(scores: Sequence[float], targets: Sequence[float]) -> float:
    """In nats, of scores that may be 0 or 1 to the last bit."""
    p, y = np.clip(np.asarray(scores, dtype=float), 1e-12, 1 - 1e-12), np.asarray(targets, dtype=float)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log1p(-p)))


def _by_source(metrics: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """One line for each label source, one column for each metric."""
    values: dict[tuple[str, str], float] = {}
    for name, found in metrics.items():
        source, parted, bare = name.rpartition("/")
        if parted:
            values[source, bare] = found["value"]
    if not values:
        return []
    names = sorted({name for _, name in values}, key=_place)
    sources = list(dict.fromkeys(source for source, _ in values))
    columns = [Column("label source"), *(Column(_title(name), "number") for name in names)]
    rows: list[Row] = [[source, *(values.get((source, name)) for name in names)] for source in sources]
    return [Table(columns, rows, "The same by what made the labels.", "held_out_by_source.csv")]


def _title(name: str) -> str:
    source, _, bare = name.rpartition("/")
    words = _METRICS[bare][0] if bare in _METRICS else bare.replace("_", " ").capitalize()
    return f"{words} ({source})" if source else words


def _place(name: str) -> tuple[int, str]:
    """Known metrics first, in the order of `_METRICS`."""
    bare = name.removeprefix("eval_").split("/")[-1]
    return (list(_METRICS).index(bare) if bare in _METRICS else len(_METRICS), name)
