"""From a trainer that is done to the page's data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prm.training.data import encoded_rows
from prm.training.page.examples import Example, held_out_examples
from prm.training.page.page import TrainReport
from prm.training.page.rows import RowFacts
from prm.training.page.sections import Calibration
from prm.training.settling import scaled_by

if TYPE_CHECKING:
    from prm.metrics.predictions import Predictions
    from prm.training.trainer import VerifierTrainer


def report_of_run(
    trainer: VerifierTrainer,
    metrics: Mapping[str, Any],
    held_out: Predictions | None = None,
    *,
    rows: RowFacts | None = None,
    planned_steps: int | None = None,
    versions: Mapping[str, str] | None = None,
    hashes: Mapping[str, str] | None = None,
) -> TrainReport:
    """Gather what the page shows; the trainer is settled, unless its run is not over.

    Args:
        metrics: the content of `train_metrics.json`.
        held_out: `trainer.held_out()` from before it was settled, rows in the order of its evaluation set.
        rows: the training rows; read from the trainer if not given.
        planned_steps: of a run that is not over.
        versions, hashes: of libraries, data and base model, by name.
    """
    trained: Any = trainer.train_dataset
    args: Any = trainer.args
    return TrainReport(
        metrics,
        trainer.state.log_history,
        RowFacts.of(encoded_rows(trained), max_length=args.max_length) if rows is None else rows,
        calibration=None if held_out is None else _calibration(trainer, held_out),
        examples=[] if held_out is None else _examples(trainer, held_out),
        examined=0 if held_out is None else len(held_out),
        threshold=trainer.settled.threshold,
        versions=versions or {},
        hashes=hashes or {},
        planned_steps=planned_steps,
    )


def _calibration(trainer: VerifierTrainer, held_out: Predictions) -> Calibration | None:
    """Scores against targets, as they came out and as they go out; `None` where nothing has a target."""
    settled = trainer.settled
    scores, targets = held_out.targeted()
    if not len(targets):
        return None
    calibrated = None
    if settled.temperature != 1.0:
        calibrated = scaled_by(held_out, settled.temperature).targeted()[0].tolist()
    fitted = settled.calibration.to_dict() if settled.calibration is not None else {}
    return Calibration(targets.tolist(), scores.tolist(), calibrated, fitted)


def _examples(trainer: VerifierTrainer, held_out: Predictions) -> list[Example]:
    """By the scores that the verifier gives, calibration included."""
    return held_out_examples(
        trainer.eval_dataset,
        scaled_by(held_out, trainer.settled.temperature).scores_NS,
        trainer.processing_class,
        separator=trainer.step_format.step_separator,
        threshold=trainer.settled.threshold,
    )
