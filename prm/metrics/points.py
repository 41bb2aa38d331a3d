"""The metrics of one evaluation as a flat dictionary, ready for `transformers.Trainer.compute_metrics`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from prm.metrics.modules import load_metric
from prm.metrics.names import Kind
from prm.metrics.predictions import Array, Predictions
from prm.stats import ranking
from prm.stats.thresholds import (
    FittedThreshold,
    first_errors,
    fit_accuracy_threshold,
    fit_first_error_threshold,
    halves,
)

FITTED_NAME: dict[Kind, str] = {"prm": "first_error_f1_fitted", "orm": "accuracy_fitted"}


def verifier_metrics(
    margins_NS: Array,
    targets_NS: Array,
    hard_NS: Array,
    groups_N: Array,
    sources_N: Array | None = None,
    *,
    kind: Kind,
    threshold: float = 0.5,
    source_names: Sequence[str] = (),
) -> dict[str, float]:
    """What a verifier's evaluation measures, over all rows and again for each label source.

    - `loss`, `brier`, `ece`: against the targets that are trained on, soft or hard. The loss is the cross-entropy,
      whatever the model is trained with.
    - `auroc`, `auroc_within` (a problem), `auprc_of_wrong` beside `base_rate_of_wrong`: against the hard labels.
    - `step_accuracy` (ORM: `accuracy`) beside `base_rate`, and for a PRM ProcessBench's `first_error_f1` with the
      accuracies it is made of: at the given threshold.
    - `first_error_f1_fitted` (ORM: `accuracy_fitted`): at `threshold_fitted`, which is fitted on one half of the
      problems, on the other half.

    Args:
        margins_NS, targets_NS, hard_NS, groups_N, sources_N, source_names: as of `Predictions`.
        kind: `prm` judges every step, `orm` the solution, wherever in a row its one label is.
        threshold: what counts as correct.

    Returns:
        What is defined: a metric that needs both classes is left out where one is missing. With rows of several label
        sources also `<source>/<metric>` (`prm.metrics.names`).

    Raises:
        DataError: a score that is not a number.
    """
    everything = Predictions(margins_NS, targets_NS, hard_NS, groups_N, sources_N, source_names)
    result = metrics_of(everything, kind, threshold)
    for source, part in everything.by_source().items():
        result |= {f"{source}/{name}": value for name, value in metrics_of(part, kind, threshold).items()}
    return result


def metrics_of(predictions: Predictions, kind: Kind, threshold: float) -> dict[str, float]:
    """The metrics of some rows, whatever their sources."""
    scores, labels, groups = predictions.labelled()
    if not len(labels):
        return {}
    found: dict[str, Any] = _against_targets(predictions)
    judged = {"predictions": scores, "references": labels}
    found |= load_metric("step_accuracy").compute(**judged, threshold=threshold)
    if kind == "orm":
        found["accuracy"] = found.pop("step_accuracy")
    found |= load_metric("auroc").compute(**judged, groups=groups)
    found |= load_metric("auprc_of_wrong").compute(**judged)
    if kind == "prm":
        errors = first_errors(predictions.scores_NS, predictions.hard_NS, threshold)
        if errors.usable.any():
            found |= load_metric("first_error_f1").compute(
                predictions=errors.predicted[errors.usable], references=errors.true[errors.usable]
            )
    found |= _at_fitted_threshold(predictions, kind)
    return {name: float(value) for name, value in found.items() if not math.isnan(value)}


def fit_threshold(predictions: Predictions, kind: Kind) -> FittedThreshold | None:
    """The threshold of the best first-error F1 (PRM) or accuracy (ORM); `None` where a class is missing."""
    if kind == "prm":
        return fit_first_error_threshold(predictions.scores_NS, predictions.hard_NS)
    scores, labels, _ = predictions.labelled()
    return fit_accuracy_threshold(scores, labels)


def held_out_half(predictions: Predictions, kind: Kind) -> tuple[float, Predictions] | None:
    """A threshold fitted on one half of the problems, and the rows of the other half."""
    half = halves(predictions.groups_N)
    fitted = fit_threshold(predictions.take(half), kind) if half.any() else None
    return (fitted.value, predictions.take(~half)) if fitted else None


def _against_targets(predictions: Predictions) -> dict[str, float]:
    scores, targets = predictions.targeted()
    if not len(targets):
        return {}
    found = {"loss": float(predictions.losses_NS().sum() / len(targets))}
    for name in ("brier", "ece"):
        found |= load_metric(name).compute(predictions=scores, references=targets)
    return found


def _at_fitted_threshold(predictions: Predictions, kind: Kind) -> dict[str, float]:
    split = held_out_half(predictions, kind)
    if split is None:
        return {}
    threshold, rest = split
    if kind == "prm":
        errors = first_errors(rest.scores_NS, rest.hard_NS, threshold)
        value = ranking.first_error_f1(errors.predicted[errors.usable], errors.true[errors.usable]).f1
    else:
        scores, labels, _ = rest.labelled()
        value = float(((scores >= threshold) == labels).mean()) if len(labels) else math.nan
    return {} if np.isnan(value) else {"threshold_fitted": threshold, FITTED_NAME[kind]: value}
