"""The lines above the progress bar: each loss once, rates in words, no clocks of an evaluation."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from prm.training.progress import BarCallback, log_line


def test_a_log_is_one_line_with_rates_and_shares_in_short() -> None:
    logs = {
        "loss": 0.684123,
        "grad_norm": 10.76,
        "learning_rate": 2.25e-5,
        "labels_per_second": 312.4,
        "tokens_per_second": 41234.0,
        "padding_share": 0.0312,
        "mfu": 0.412,
        "epoch": 1.6,
    }
    assert log_line(32, logs) == (
        "step 32  loss 0.6841  grad_norm 10.76  learning_rate 2.25e-05  labels/s 312  tokens/s 41.2k  padding 3.1%  "
        "mfu 41.2%  epoch 1.6"
    )


def test_an_evaluation_is_said_to_be_one_and_its_clocks_are_left_out() -> None:
    logs = {"eval_loss": 0.5, "eval_auroc": 0.75, "eval_runtime": 0.2, "eval_samples_per_second": 177.4, "epoch": 1.0}
    assert log_line(20, logs) == "step 20  held out  loss 0.5  auroc 0.75  epoch 1"


@pytest.mark.parametrize("logs", [{}, {"total_flos": 1e9}, {"train_runtime": 1.6, "train_loss": 0.77, "epoch": 2.0}])
def test_nothing_is_said_where_there_is_no_news(logs: dict[str, Any]) -> None:
    assert log_line(40, logs) == ""


def test_the_last_loss_of_a_run_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    bar, state, control = BarCallback(), TrainerState(max_steps=2), TrainerControl()
    arguments = TrainingArguments(output_dir="unused", use_cpu=True, report_to="none")
    bar.on_train_begin(arguments, state, control)
    for step, logs in ((1, {"loss": 0.9}), (2, {"loss": 0.7}), (2, {"train_runtime": 1.0, "train_loss": 0.8})):
        state.global_step = step
        bar.on_log(arguments, state, control, logs=logs)
    bar.on_train_end(arguments, state, control)
    written = capsys.readouterr().err
    assert written.count("loss") == 2 and "step 1  loss 0.9" in written and "step 2  loss 0.7" in written
