"""The page of a run that is not over: its data before a step is taken, and how far it is at each evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prm.training.data import encoded_rows
from prm.training.page.page import write_train_page
from prm.training.page.rows import RowFacts
from prm.training.page.run import report_of_run

if TYPE_CHECKING:
    from prm.training.trainer import VerifierTrainer


class PageCallback(TrainerCallback):
    """Writes the page when the training begins and at every evaluation, so that a run that takes days, diverges or is
    killed has one too. The page of the finished run takes its place.

    Args:
        metrics: the content of `train_metrics.json` as far as it is known before a step is taken.
        versions, hashes: see `report_of_run`.
    """

    def __init__(
        self,
        trainer: VerifierTrainer,
        directory: Path,
        metrics: Mapping[str, Any],
        *,
        versions: Mapping[str, str],
        hashes: Mapping[str, str],
    ) -> None:
        self._trainer, self._directory, self._metrics = trainer, directory, metrics
        self._made_with: dict[str, Any] = {"versions": versions, "hashes": hashes}
        dataset: Any = trainer.train_dataset
        config: Any = trainer.args
        self._rows = RowFacts.of(encoded_rows(dataset), max_length=config.max_length)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._write(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._write(state)

    def _write(self, state: TrainerState) -> None:
        metrics = {**self._metrics, "training": {"steps": state.global_step, "epochs": state.epoch}}
        planned = state.max_steps
        report = report_of_run(self._trainer, metrics, rows=self._rows, planned_steps=planned, **self._made_with)
        write_train_page(self._directory, report)
