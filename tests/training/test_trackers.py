"""`report_to`: what a run measures reaches the trackers that transformers knows, TensorBoard here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.rows.training_rows import StepRow
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer


def test_tensorboard_gets_losses_rates_and_held_out_metrics(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path, monkeypatch: Any
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    arguments = VerifierConfig(
        str(tmp_path / "out"),
        use_cpu=True,
        disable_tqdm=True,
        num_train_epochs=2,
        logging_steps=1,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="tensorboard",
    )
    trainer: Any = VerifierTrainer(
        str(base_dir()), arguments, train_dataset=make_rows(16), eval_dataset=make_rows(20, seed=1)
    )
    trainer.train()
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    scalars = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert len(scalars["train/loss"]) == trainer.state.global_step == 4
    logged = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert scalars["train/loss"] == pytest.approx(logged, rel=1e-6)
    assert len(scalars["eval/auroc"]) == len(scalars["eval/ece"]) == 2
    assert {"train/tokens_per_second", "train/padding_share", "train/labels_per_second"} <= scalars.keys()
