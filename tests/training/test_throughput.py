"""Throughput: what is counted, which time it is divided by, and operations as PyTorch itself counts them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForTokenClassification, TrainerControl, TrainerState, TrainingArguments

from prm.model_shape import ModelShape
from prm.training.throughput import Throughput, measured_matmul_rate


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steps() -> Callable[..., Any]:
    """Run through a training's events: `steps(meter, clock, "epoch_begin", ("step_end", 2.0), ...)`."""
    arguments = TrainingArguments(output_dir="unused", use_cpu=True, report_to="none")

    def play(meter: Throughput, clock: Clock, *events: Any) -> None:
        for event in events:
            name, seconds = event if isinstance(event, tuple) else (event, 0.0)
            clock.now += seconds
            getattr(meter, f"on_{name}")(arguments, TrainerState(), TrainerControl(should_log=True))

    return play


def test_figures_are_sums_over_the_time_of_the_steps(steps: Callable[..., None]) -> None:
    clock = Clock()
    meter = Throughput(clock=clock, rate=lambda: 1000.0)
    steps(meter, clock, "train_begin", ("epoch_begin", 5.0))
    meter.add(units=3, tokens=70, padded_tokens=100, flops=600.0)
    meter.add(units=torch.tensor(5), tokens=torch.tensor(80), padded_tokens=100, flops=400.0)
    steps(meter, clock, ("step_end", 2.0))
    assert meter.read() == pytest.approx(
        {"labels_per_second": 4.0, "tokens_per_second": 75.0, "padding_share": 0.25, "mfu": 0.5}
    )
    assert meter.read() == {}  # all that there was has been read


def test_evaluation_saving_and_what_lies_between_epochs_do_not_count(steps: Callable[..., None]) -> None:
    clock = Clock()
    meter = Throughput(clock=clock)
    steps(meter, clock, "train_begin", "epoch_begin")
    meter.add(units=1, tokens=10, padded_tokens=10)
    steps(meter, clock, ("step_end", 1.0), ("evaluate", 50.0), ("save", 20.0), ("step_end", 3.0))
    # What follows an evaluation and is logged for itself is no training either.
    steps(meter, clock, ("evaluate", 9.0), ("prediction_step", 5.0), ("log", 4.0))
    steps(meter, clock, ("epoch_end", 0.0), ("evaluate", 30.0), ("epoch_begin", 7.0), ("step_end", 1.0))
    assert meter.read() == pytest.approx({"labels_per_second": 0.2, "tokens_per_second": 2.0, "padding_share": 0.0})


def test_processes_are_summed_and_share_their_time(steps: Callable[..., None]) -> None:
    def twice(figures: list[float]) -> Sequence[float]:
        return [2 * figure for figure in figures]

    clock = Clock()
    meter = Throughput(clock=clock, rate=lambda: 50.0, reduce=twice)
    steps(meter, clock, "train_begin", "epoch_begin")
    meter.add(units=4, tokens=40, padded_tokens=50, flops=100.0)
    steps(meter, clock, ("step_end", 4.0))
    assert meter.read() == pytest.approx(
        {"labels_per_second": 2.0, "tokens_per_second": 20.0, "padding_share": 0.2, "mfu": 0.5}
    )


def test_a_device_that_cannot_be_measured_has_no_utilisation(steps: Callable[..., None]) -> None:
    clock = Clock()
    meter = Throughput(clock=clock, rate=lambda: math.nan)
    steps(meter, clock, "train_begin", "epoch_begin")
    meter.add(units=1, tokens=1, padded_tokens=1, flops=1.0)
    steps(meter, clock, ("step_end", 1.0))
    assert "mfu" not in meter.read()
    assert math.isnan(measured_matmul_rate("cpu", torch.int4))


def test_measuring_draws_no_random_number_of_the_run() -> None:
    """How many sizes it tries is a matter of time, and dropout would be another one in each run."""
    before = torch.get_rng_state()
    assert measured_matmul_rate("cpu", torch.float64) > 0  # of a dtype that nothing else here has measured
    assert torch.equal(torch.get_rng_state(), before)


def test_the_matrix_rate_is_measured_once() -> None:
    rate = measured_matmul_rate("cpu", torch.float32)
    assert measured_matmul_rate("cpu", torch.float32) == rate > 1e8


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_operations_are_those_that_pytorch_counts(base_dir: Callable[..., Path], architecture: str) -> None:
    model = AutoModelForTokenClassification.from_pretrained(base_dir(architecture), attn_implementation="eager")
    shape = ModelShape.of(model)
    length, rows = 24, 3
    with FlopCounterMode(display=False) as forward:
        hidden = model.base_model(torch.ones(rows, length, dtype=torch.long)).last_hidden_state
    with FlopCounterMode(display=False) as backward:
        hidden.sum().backward()
    tokens, squared = rows * length, rows * length**2
    rotary = _rotary_flops(model, length)
    assert forward.get_total_flops() - rotary == shape.forward_flops(tokens, squared)
    total = forward.get_total_flops() - rotary + backward.get_total_flops()
    assert total == shape.training_flops(tokens, squared)


def _rotary_flops(model: Any, length: int) -> int:
    """The product that makes the angles of the positions is not the model's."""
    with FlopCounterMode(display=False) as counter:
        model.base_model.rotary_emb(torch.zeros(1, length, 1), torch.arange(length)[None])
    return int(counter.get_total_flops())


def test_an_adapter_saves_the_gradients_of_the_frozen_matrices(base_dir: Callable[..., Path]) -> None:
    from peft import LoraConfig, get_peft_model

    model = AutoModelForTokenClassification.from_pretrained(base_dir())
    full = ModelShape.of(model)
    adapted = ModelShape.of(
        get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["score"]))
    )
    lora = 2 * (full.hidden + full.heads * full.head_dim) * full.layers
    assert (adapted.matmul, adapted.trainable_matmul) == (full.matmul + lora, lora)
    head = 2 * full.hidden + 2
    assert adapted.trainable == lora + head and full.trainable == full.parameters
    assert adapted.training_flops(1, 0) == 4 * (full.matmul + lora) + 2 * lora
    assert full.training_flops(1, 0) == 6 * full.matmul


def test_a_head_that_runs_at_every_token_counts(base_dir: Callable[..., Path]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_dir())
    vocabulary = model.config.vocab_size * model.config.hidden_size
    assert ModelShape.of(model, head_everywhere=True).matmul - ModelShape.of(model).matmul == vocabulary
