"""The same global batch, however it is computed: losses, gradient norms and weights agree to 1e-5 in float32.

Every objective and loss meets every way a single process has to compute a batch: accumulated, padding-free, with
shared prompts, with recomputed activations. Several processes are `tests/e2e/test_exact_splits.py`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from prm.errors import ConfigError
from prm.rows.training_rows import StepRow
from prm.train import VerifierModelConfig, write_merged
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer
from prm.verifier import Verifier

SOFT = {"label_view": "soft"}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cross_entropy": SOFT,
    "balanced_one_logit": {"class_weights": ["balanced"], "head_logits": 1},
    "mse": SOFT | {"loss": "mse", "class_weights": ["3", "0.5"]},
    "focal": SOFT | {"loss": "focal"},
    "beta_binomial": SOFT | {"loss": "beta_binomial"},
    "pqm": {"loss": "pqm"},
    "reward_tokens": SOFT | {"objective": "reward_tokens"},
    "orm": {"objective": "orm"},
    "bradley_terry": {"objective": "orm", "loss": "bradley_terry"},
    "implicit_prm": {"objective": "implicit_prm"},
}
FREE = {"padding_free": True, "activation_checkpointing": True}
SHARED = {"share_prompts": 4}


def split(batch: int, accumulated: int) -> dict[str, int]:
    return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}


def make_solutions(count: int, settings: dict[str, Any]) -> list[StepRow]:
    """Two solutions of each problem, with 1 to 5 steps: a batch's micro-batches differ much in their units. Outcomes
    alternate; step labels have counts behind them, and some are unknown."""
    rng = random.Random(0)
    rows = []
    for index in range(count):
        steps = tuple(f"{rng.randint(0, 99)}+{k}={rng.randint(0, 10**k)}" for k in range(rng.randint(1, 5)))
        total = [rng.choice([None, *range(1, 8)]) for _ in steps[1:]] + [8]
        right = [None if n is None else rng.choice([0, rng.randint(0, n), n]) for n in total]
        soft = [None if n is None else k / n for k, n in zip(right, total, strict=True)]
        labels = soft if settings.get("label_view") == "soft" else [k if k is None else float(k >= 0.5) for k in soft]
        counts: dict[str, Any] = {"n_correct": tuple(right), "n_total": tuple(total)}
        if settings.get("objective") in {"orm", "implicit_prm"}:
            labels, counts = [None] * (len(steps) - 1) + [float(index % 2)], {}
        rows.append(StepRow(f"{index // 2}?", steps, tuple(labels), str(index // 2), "test", **counts))
    return rows


def trainer(base: Path, out: Path, rows: list[StepRow], *callbacks: TrainerCallback, **keys: Any) -> Any:
    """Plain gradient descent, for Adam would blow up the noise of gradients that are nearly 0; the norm is clipped."""
    peft_config = keys.pop("peft_config", None)
    settings = {
        "num_train_epochs": 1,
        "learning_rate": 0.05,
        "optim": "sgd",
        "max_grad_norm": 0.5,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    config = VerifierConfig(output_dir=str(out), **(settings | split(8, 1) | keys))
    return VerifierTrainer(str(base), config, train_dataset=rows, peft_config=peft_config, callbacks=list(callbacks))


class Course:
    """What a finished training went through."""

    def __init__(self, trained: Any):
        history = [log for log in trained.state.log_history if "loss" in log]
        self.losses = [log["loss"] for log in history]
        self.norms = [log["grad_norm"] for log in history]
        self.weights = {name: p.detach().clone() for name, p in trained.model.named_parameters() if p.requires_grad}

    def assert_equals(self, other: Course, what: str) -> None:
        assert self.losses == pytest.approx(other.losses, rel=1e-5), what
        assert self.norms == pytest.approx(other.norms, rel=1e-5), what
        assert self.weights.keys() == other.weights.keys()
        for name, weight in other.weights.items():
            torch.testing.assert_close(self.weights[name], weight, rtol=1e-5, atol=1e-5, msg=f"{what}: {name}")


def train(*given: Any, **keys: Any) -> Course:
    trained = trainer(*given, **keys)
    trained.train()
    return Course(trained)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_way_to_compute_a_batch_trains_the_same(
    base_dir: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    settings = OBJECTIVES[name]
    given = (base_dir(), tmp_path, make_solutions(38 if name == "bradley_terry" else 19, settings))
    whole = train(*given, **settings)
    assert (
        len(whole.losses) == 3 and max(whole.norms) > 0.5
    )  # the last global batch is incomplete, and some are clipped
    for what, keys in {
        "one row at a time": split(1, 8),
        "padding-free, recomputed": split(4, 2) | FREE,
        "shared prompts, recomputed": split(4, 2) | SHARED | FREE,
    }.items():
        train(*given, **settings, **keys).assert_equals(whole, what)


@pytest.mark.parametrize("name", ["cross_entropy", "pqm", "bradley_terry", "implicit_prm"])
def test_the_order_of_the_rows_of_a_batch_does_not_matter(
    base_dir: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    settings = OBJECTIVES[name]
    given = (base_dir(), tmp_path, make_solutions(16 if name == "bradley_terry" else 8, settings))
    in_order = train(*given, **settings, num_train_epochs=2)
    by_length = train(*given, **settings, num_train_epochs=2, train_sampling_strategy="group_by_length")
    by_length.assert_equals(in_order, "group_by_length")


@pytest.mark.parametrize("architecture", ["mistral", "gemma2"])
def test_rows_stay_apart_under_sliding_windows(
    base_dir: Callable[..., Path], tmp_path: Path, architecture: str
) -> None:
    """Solutions are several times as long as the window, so that a batch has full and cut-off rows in it."""
    given = (base_dir(architecture), tmp_path, make_solutions(16, SOFT))
    alone = train(*given, **SOFT, **split(1, 8))
    train(*given, **SOFT).assert_equals(alone, "padded")
    train(*given, **SOFT, **FREE).assert_equals(alone, "padding-free")


def test_padding_free_is_refused_where_a_state_would_run_on(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    rows = make_solutions(8, SOFT)
    with pytest.raises(ConfigError, match="carries a state from token to token; set it to false"):
        trainer(base_dir("qwen3_next"), tmp_path, rows, padding_free=True)
    assert trainer(base_dir("qwen3_next"), tmp_path, rows).data_collator.padding_free is False


class Stop(TrainerCallback):
    """Ends the training in its fifth step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == 5:
            raise KeyboardInterrupt


def test_a_run_can_go_on_under_another_split(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    """Three steps an epoch: the checkpoint is of the first step of the second one."""
    rows = make_solutions(19, SOFT)
    keys: dict[str, Any] = {"num_train_epochs": 3, "train_sampling_strategy": "group_by_length", **SOFT}
    whole = train(base_dir(), tmp_path / "whole", rows, **keys)
    saving = keys | {"save_strategy": "steps", "save_steps": 4}
    with pytest.raises(KeyboardInterrupt):
        trainer(base_dir(), tmp_path / "cut", rows, Stop(), **saving).train()
    resumed = trainer(base_dir(), tmp_path / "cut", rows, **saving, **split(2, 4), **FREE)
    resumed.train(resume_from_checkpoint=True)
    Course(resumed).assert_equals(whole, "gone on in smaller batches")
    assert len(whole.losses) == 9


def test_a_lora_with_recomputed_activations_trains_the_same(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    """A layer that is recomputed the old way (`use_reentrant`) passes no gradient on where its input needs none."""
    given = (base_dir(), tmp_path, make_solutions(19, SOFT))
    plain = train(*given, **SOFT, peft_config=lora("all-linear"))
    for reentrant in (False, True):
        keys = split(2, 4) | FREE | {"activation_checkpointing_kwargs": {"use_reentrant": reentrant}}
        again = train(*given, **SOFT, **keys, peft_config=lora("all-linear"))
        again.assert_equals(plain, f"use_reentrant {reentrant}")
    assert sum("lora_B" in name and bool(weight.any()) for name, weight in plain.weights.items()) == 14


def lora(modules: str | list[str], **others: Any) -> LoraConfig:
    return LoraConfig(r=2, target_modules=modules, **others)


MODULES: dict[str, str | list[str]] = {
    "all_linear": "all-linear",
    "named": ["q_proj", "down_proj"],
    "head_named": ["v_proj", "score"],
    "pattern": r".*\.(q_proj|score)",
    "embeddings": ["q_proj", "embed_tokens"],
    "output": ["q_proj", "lm_head"],  # of a language model, and one tensor with the embeddings
}
HEADED = ("cross_entropy", "balanced_one_logit", "orm", "bradley_terry")


@pytest.mark.parametrize(
    ("name", "modules"),
    [("cross_entropy", modules) for modules in ("all_linear", "named", "head_named", "pattern", "embeddings")]
    + [("balanced_one_logit", "all_linear"), ("orm", "head_named"), ("bradley_terry", "all_linear")]
    + [("reward_tokens", modules) for modules in ("all_linear", "output", "embeddings")]
    + [("implicit_prm", "all_linear"), ("implicit_prm", "output")],
)
def test_a_lora_is_saved_with_its_head_and_merges_into_the_same_scores(
    base_dir: Callable[..., Path], tmp_path: Path, name: str, modules: str
) -> None:
    settings, rows = OBJECTIVES[name], make_solutions(16, OBJECTIVES[name])
    trained = trainer(base_dir(), tmp_path, rows, **settings, peft_config=lora(MODULES[modules]), learning_rate=0.5)
    before = {key: weight.clone() for key, weight in trained.model.named_parameters() if "modules_to_save" in key}
    trained.train()
    trained.save_model()
    for key, weight in before.items():
        assert not torch.equal(dict(trained.model.named_parameters())[key], weight), f"{key} was not trained"
    assert bool(before) == (name in HEADED)
    # As it trained: the margins of the trainer's own forward pass.
    margins = torch.tensor(trained.predict(rows).predictions)
    saved = Verifier.from_pretrained(tmp_path, device="cpu")
    merged = Verifier.from_pretrained(
        write_merged(tmp_path, trained.args, VerifierModelConfig(str(base_dir()))), device="cpu"
    )
    assert not hasattr(merged.model, "peft_config")
    for index, row in enumerate(rows):
        scores = saved.score(row.prompt, row.completions)
        assert scores == pytest.approx(margins[index, : len(scores)].sigmoid().tolist(), abs=1e-6)
        assert merged.score(row.prompt, row.completions) == pytest.approx(scores, abs=1e-5)
