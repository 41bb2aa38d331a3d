"""The metrics of one evaluation with 95% bootstrap intervals over problems, for a report or a card."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from prm.metrics.names import AT_THRESHOLD, LOWER_IS_BETTER, Kind
from prm.metrics.points import FITTED_NAME, held_out_half, metrics_of
from prm.metrics.predictions import Array, Predictions
from prm.stats import ranking
from prm.stats.calibration import Scored
from prm.stats.intervals import Estimate, bootstrap_mean, bootstrap_statistic, reflected
from prm.stats.thresholds import first_errors

Statistic = Callable[[Any], float]


def metric_intervals(
    margins_NS: Array,
    targets_NS: Array,
    hard_NS: Array,
    groups_N: Array,
    sources_N: Array | None = None,
    *,
    kind: Kind,
    threshold: float = 0.5,
    source_names: Sequence[str] = (),
    resamples: int = 500,
) -> dict[str, dict[str, float]]:
    """The metrics of `verifier_metrics` with their intervals; a fitted threshold is held fixed, for it was fitted on
    other problems.

    Returns:
        For each metric that is defined and measures something `{"value", "low", "high", "n"}`, `n` being the number of
        problems it rests on.

    Raises:
        DataError: a score that is not a number.
    """
    everything = Predictions(margins_NS, targets_NS, hard_NS, groups_N, sources_N, source_names)
    bars = _bars(everything, kind, threshold, resamples)
    for source, part in everything.by_source().items():
        bars |= {f"{source}/{name}": bar for name, bar in _bars(part, kind, threshold, resamples).items()}
    return bars


def cross_fitted_intervals(
    predictions: Predictions, threshold_N: Array, *, kind: Kind, resamples: int = 500
) -> dict[str, dict[str, float]]:
    """Of `metric_intervals` what temperature and threshold decide: `loss`, `brier` and `ece`, and what is right at the
    threshold, over all rows and for each label source. What was fitted is held fixed, for it was fitted on other
    problems.

    Args:
        predictions: margins with each row's own temperature.
        threshold_N: each solution's own threshold.
    """
    bars = _at_own_thresholds(predictions, threshold_N, kind, resamples)
    for source, rows in predictions.source_rows().items():
        part = _at_own_thresholds(predictions.take(rows), threshold_N[rows], kind, resamples)
        bars |= {f"{source}/{name}": bar for name, bar in part.items()}
    return bars


def _at_own_thresholds(
    predictions: Predictions, threshold_N: Array, kind: Kind, resamples: int
) -> dict[str, dict[str, float]]:
    every = _statistics(predictions, threshold_N)
    wanted = {name: every[name] for name in (*LOWER_IS_BETTER, *AT_THRESHOLD[kind])}
    bars = _bootstrapped(predictions, wanted, resamples)
    bars["ece"] = reflected(bars["ece"])
    return {
        name: {"value": bar.mean, "low": bar.low, "high": bar.high, "n": bar.n}
        for name, bar in bars.items()
        if not math.isnan(bar.low) and not math.isnan(bar.mean)
    }


def _bars(predictions: Predictions, kind: Kind, threshold: float, resamples: int) -> dict[str, dict[str, float]]:
    point = metrics_of(predictions, kind, threshold)
    every = _statistics(predictions, threshold)
    bars = _bootstrapped(predictions, {name: every[name] for name in every if name in point}, resamples)
    if "ece" in bars:
        bars["ece"] = reflected(bars["ece"])
    if "auroc_within" in point:
        bars["auroc_within"] = bootstrap_mean(ranking.aurocs_per_group(*predictions.labelled()))
    if FITTED_NAME[kind] in point and (split := held_out_half(predictions, kind)):
        name = FITTED_NAME[kind]
        at_fitted = _statistics(split[1], split[0])[name.removesuffix("_fitted")]
        bars |= _bootstrapped(split[1], {name: at_fitted}, resamples)
    return {
        name: {"value": point[name], "low": bars[name].low, "high": bars[name].high, "n": bars[name].n}
        for name in point
        if name in bars and not math.isnan(bars[name].low)
    }


def _bootstrapped(predictions: Predictions, statistics: dict[str, Statistic], resamples: int) -> dict[str, Estimate]:
    return {
        name: bootstrap_statistic(statistic, len(predictions), clusters=predictions.groups_N, resamples=resamples)
        for name, statistic in statistics.items()
    }


def _statistics(predictions: Predictions, threshold: float | Array) -> dict[str, Statistic]:
    """Each metric as a function of the solutions that were drawn; the threshold is one, or each solution's own."""
    scores_NS, hard_NS, targets_NS = predictions.scores_NS, predictions.hard_NS, predictions.targets_NS
    known_NS, targeted_NS = hard_NS >= 0, targets_NS >= 0
    squares_NS = np.where(targeted_NS, (scores_NS - targets_NS) ** 2, 0)
    accuracy = _mean_over(((scores_NS >= np.reshape(threshold, (-1, 1))) == (hard_NS == 1)) & known_NS, known_NS)
    errors = first_errors(scores_NS, hard_NS, threshold)

    ranked, labelled_rows = ranking.Ranked.of(scores_NS[known_NS], hard_NS[known_NS]), np.nonzero(known_NS)[0]
    scored, targeted_rows = _scored(predictions), np.nonzero(targeted_NS)[0]

    def times(rows: Any, of_rows: Array) -> Array:
        """How often each flat item was drawn with its solution."""
        drawn: Array = np.bincount(rows, minlength=len(predictions))[of_rows]
        return drawn

    def calibration_error(rows: Any) -> float:
        weights = times(rows, targeted_rows)
        return scored.calibration_error(weights=weights) if scored and weights.any() else math.nan

    def first_error(rows: Any) -> float:
        usable = rows[errors.usable[rows]]
        return ranking.first_error_f1(errors.predicted[usable], errors.true[usable]).f1

    return {
        "loss": _mean_over(predictions.losses_NS(), targeted_NS),
        "brier": _mean_over(squares_NS, targeted_NS),
        "ece": calibration_error,
        "step_accuracy": accuracy,
        "accuracy": accuracy,
        "auroc": lambda rows: ranked.auroc(times(rows, labelled_rows)),
        "auprc_of_wrong": lambda rows: ranked.auprc_of_wrong(times(rows, labelled_rows)).value,
        "base_rate_of_wrong": _mean_over(known_NS & (hard_NS == 0), known_NS),
        "first_error_f1": first_error,
    }


def _scored(predictions: Predictions) -> Scored | None:
    scores, targets = predictions.targeted()
    return Scored.of(scores, targets) if len(targets) else None


def _mean_over(values_NS: Array, counted_NS: Array) -> Statistic:
    """The mean of the values that count; the others are 0."""
    sums, counts = values_NS.sum(axis=1), counted_NS.sum(axis=1)

    def mean(rows: Any) -> float:
        count = counts[rows].sum()
        return float(sums[rows].sum() / count) if count else math.nan

    return mean
