"""What held-out rows decide once the weights are trained: the temperature, the threshold, and the fold of step scores.

All three travel with the weights: the temperature inside the head (or the scoring spec, where the head is a language
model's own), the threshold and the fold in the scoring spec. What is reported of them is measured on rows that they
were not fitted on: temperature and threshold are fitted once more without each fold of the problems, and every fold is
scored and judged with those of the others (`cross_fitted`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.aggregation import Aggregation
from prm.calibration import Temperature, fit_temperature
from prm.metrics.points import fit_threshold
from prm.metrics.predictions import Array, Predictions
from prm.stats.thresholds import FittedThreshold, problem_folds
from prm.training.aggregation_choice import AggregationChoice, default_aggregation, select_aggregation

if TYPE_CHECKING:
    from prm.training.config import VerifierConfig

AUTO, HELD_OUT = "auto", "held_out"
MIDDLE = 0.5


@dataclass(frozen=True)
class Settled:
    """What a verifier goes out with.

    Attributes:
        temperature: margins are divided by it; 1 where nothing was to be calibrated, calibration did not help, or the
            temperature is at the end of its range.
        threshold: a step counts as correct from this score up.
        aggregation: the default fold of step scores.
        calibration, fitted_threshold, choice: how each was found; `None` where it was given or there was nothing to
            find it on.
        threshold_of_folds: for each fold of the problems the threshold that the other folds give; empty where there
            are fewer than two, or none was fitted.
    """

    temperature: float
    threshold: float
    aggregation: Aggregation
    calibration: Temperature | None = None
    fitted_threshold: FittedThreshold | None = None
    choice: AggregationChoice | None = None
    threshold_of_folds: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        found: dict[str, Any] = {
            "temperature": self.temperature,
            "threshold": self.threshold,
            "aggregation": self.aggregation,
        }
        if self.calibration is not None:
            found["calibration"] = self.calibration.to_dict()
        if self.threshold_of_folds:
            found["threshold_of_folds"] = list(self.threshold_of_folds)
        if self.choice is not None and self.choice.measure:
            found["aggregation_choice"] = self.choice.to_dict()
        return found


def before_training(config: VerifierConfig, label_source: str) -> Settled:
    """What is known without held-out rows: what was asked for, and what the label source suggests."""
    threshold = MIDDLE if config.threshold is None else config.threshold
    return Settled(1.0, threshold, _asked_fold(config) or default_aggregation(label_source))


def after_training(config: VerifierConfig, label_source: str, held_out: Predictions) -> Settled:
    """What held-out rows say, where the configuration leaves it to them.

    Args:
        held_out: margins of the trained weights, and what they are held against.
    """
    plain = before_training(config, label_source)
    calibration = fit_temperature(held_out.margins_NS, held_out.targets_NS, held_out.groups_N)
    # One at the end of its range was not found but bounded: scores that say nothing would all become .5.
    found = calibration.helps and not calibration.reason
    temperature = calibration.value if config.calibrate and found else 1.0
    scaled = scaled_by(held_out, temperature)
    fitted = fit_threshold(scaled, config.rows_kind) if config.threshold is None else None
    choice = None
    if config.aggregation == HELD_OUT:
        choice = select_aggregation(scaled.scores_NS, scaled.hard_NS, scaled.groups_N, label_source=label_source)
    return Settled(
        temperature,
        fitted.value if fitted else plain.threshold,
        choice.chosen if choice else plain.aggregation,
        calibration if config.calibrate else None,
        fitted,
        choice,
        _thresholds(config, held_out, calibration.of_folds if temperature != 1.0 else ()) if fitted else (),
    )


def cross_fitted(settled: Settled, held_out: Predictions) -> tuple[Predictions, Array] | None:
    """The rows as they are scored and judged by what the other folds of the problems settled.

    Args:
        held_out: what `after_training` was given.

    Returns:
        The rows with calibrated margins, and (N,) the threshold of each; `None` where something was fitted and there
        is but one problem, so that nothing is known of it on others.
    """
    fold_N = problem_folds(held_out.groups_N)
    temperature_N, threshold_N = (np.full(len(held_out), value) for value in (settled.temperature, settled.threshold))
    if settled.calibration is not None and settled.temperature != 1.0:
        temperature_N = np.array(settled.calibration.of_folds)[fold_N]
    if settled.fitted_threshold is not None:
        if not settled.threshold_of_folds:
            return None
        threshold_N = np.array(settled.threshold_of_folds)[fold_N]
    return scaled_by(held_out, temperature_N[:, None]), threshold_N


def _thresholds(config: VerifierConfig, held_out: Predictions, temperatures: Sequence[float]) -> tuple[float, ...]:
    """For each fold of the problems the threshold that the others give at their own temperature."""
    fold_N = problem_folds(held_out.groups_N)
    found = []
    for number in range(int(fold_N.max(initial=0)) + 1):
        rest = held_out.take(fold_N != number)
        fitted = fit_threshold(scaled_by(rest, temperatures[number] if temperatures else 1.0), config.rows_kind)
        found.append(fitted.value if fitted else MIDDLE)
    return tuple(found) if len(found) > 1 else ()


def scaled_by(predictions: Predictions, temperature: float | Array) -> Predictions:
    """The same rows with calibrated margins; of one temperature, or (N, 1) of each row's own."""
    return Predictions(
        np.asarray(predictions.margins_NS) / temperature,
        predictions.targets_NS,
        predictions.hard_NS,
        predictions.groups_N,
        predictions.sources_N,
        predictions.source_names,
    )


def _asked_fold(config: VerifierConfig) -> Aggregation | None:
    return None if config.aggregation in (AUTO, HELD_OUT) else config.aggregation  # type: ignore[return-value]
