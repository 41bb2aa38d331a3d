"""One process or two, any ZeRO stage, one batch or several, padded or not, checkpointed or not: the same losses,
gradients and weights, through the real command line.

Not the full product: every objective and loss runs under at least one launcher, and every launcher meets accumulation,
padding-free batches, recomputed activations and a LoRA. What a process alone can show is in
`tests/training/test_exactness.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.runs import Run, Runs

# Plain gradient descent: Adam divides by the gradient's size, and would make the noise of what is nearly 0 as large as
# anything else. The norm is clipped to what most steps exceed, so that weights agree only where norms do.
EXACT = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_grad_norm": 0.5}
SOFT = {"objective": "prm", "label_view": "soft"}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "cross_entropy": SOFT,
    "balanced": {"objective": "prm", "class_weights": ["balanced"], "head_logits": 1, "head_init_tokens": ["-", "+"]},
    "mse": SOFT | {"loss": "mse", "class_weights": ["3", "0.5"]},
    "focal": SOFT | {"loss": "focal", "head_logits": 1},
    "beta_binomial": SOFT | {"loss": "beta_binomial"},
    "pqm": {"objective": "prm", "loss": "pqm"},
    "reward_tokens": {"objective": "reward_tokens", "label_view": "soft"},
    "orm": {"objective": "orm"},
    "bradley_terry": {"objective": "orm", "loss": "bradley_terry"},
    "implicit_prm": {"objective": "implicit_prm", "implicit_beta": 0.5},
}
ALL_LINEAR = {"use_peft": True, "lora_r": 2, "merge_adapter": True}
NAMED = {"use_peft": True, "lora_r": 2, "lora_target_modules": ["q_proj", "down_proj"]}
FREE, AGAIN = {"padding_free": True}, {"activation_checkpointing": True}
# Held-out rows choose the checkpoint, calibrate its head and settle its threshold.
HELD_OUT = {"eval_fraction": 0.25, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}
HELD_OUT |= {"load_best_model_at_end": True, "metric_for_best_model": "loss", "per_device_eval_batch_size": 3}


def split(batch: int, accumulated: int) -> dict[str, Any]:
    return {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}


CASES = [
    ("ddp", "cross_entropy", split(2, 2), HELD_OUT | {"head_learning_rate": 0.3}),
    ("ddp", "bradley_terry", split(2, 2) | FREE, {}),
    ("ddp", "reward_tokens", split(1, 4) | AGAIN, {}),
    ("ddp", "implicit_prm", split(4, 1) | FREE | AGAIN, {}),
    ("ddp", "balanced", split(2, 2) | AGAIN, ALL_LINEAR),
    ("zero1", "pqm", split(1, 4), {}),
    ("zero1", "mse", split(2, 2) | FREE | AGAIN, {}),
    ("zero1", "orm", split(4, 1), NAMED),
    ("zero2", "focal", split(1, 4) | FREE, {}),
    ("zero2", "beta_binomial", split(4, 1) | AGAIN, {}),
    ("zero2", "reward_tokens", split(2, 2) | FREE, ALL_LINEAR | HELD_OUT),
    ("zero3", "balanced", split(2, 2) | FREE, HELD_OUT | {"head_learning_rate": 0.3}),
    ("zero3", "reward_tokens", split(4, 1) | AGAIN, {}),
    ("zero3", "implicit_prm", split(2, 2) | FREE | AGAIN, {}),
    ("zero3", "bradley_terry", split(1, 4) | AGAIN, ALL_LINEAR),
    ("zero3", "cross_entropy", split(2, 2), NAMED | HELD_OUT),
]


@pytest.fixture(scope="module")
def one(make_runs: Callable[[], Runs]) -> Callable[..., tuple[Runs, Run]]:
    """The run of one process and one padded batch a step, each once."""
    runs, done = make_runs(), {}

    def reference(name: str, keys: dict[str, Any]) -> tuple[Runs, Run]:
        if (key := repr((name, keys))) not in done:
            done[key] = runs.run("one", f"one_{len(done)}", **EXACT, **OBJECTIVES[name], **keys)
        return runs, done[key]

    return reference


@pytest.mark.slow
@pytest.mark.parametrize(("how", "name", "how_split", "keys"), CASES)
def test_every_launcher_and_split_equals_one_batch_of_one_process(
    one: Callable[..., tuple[Runs, Run]], how: str, name: str, how_split: dict[str, Any], keys: dict[str, Any]
) -> None:
    runs, alone = one(name, keys)
    two = runs.run(how, f"{how}_{name}", **(EXACT | OBJECTIVES[name] | keys | how_split))
    assert_same(two, alone)
    if "merge_adapter" in keys:
        assert two.scores("merged") == pytest.approx(two.scores(), abs=1e-5)
    if "eval_strategy" in keys:
        assert_measured_the_same(two, alone)


def assert_measured_the_same(two: Run, one: Run) -> None:
    assert two.best_step == one.best_step
    assert two.logged("eval_loss") == pytest.approx(one.logged("eval_loss"), rel=1e-5)
    for name, found in one.metrics["eval"].items():
        assert two.metrics["eval"][name]["value"] == pytest.approx(found["value"], rel=1e-4), name
    settled, alone = two.metrics["settled"], one.metrics["settled"]
    assert settled["aggregation"] == alone["aggregation"]
    for name in ("temperature", "threshold"):
        assert settled[name] == pytest.approx(alone[name], rel=1e-4), name


def assert_same(two: Run, one: Run) -> None:
    """Losses and gradient norms of every step to 1e-5, weights and the saved verifier's scores to the last digits
    that float32 keeps."""
    assert two.facts["processes"] == 2 and one.facts["processes"] == 1
    assert len(one.losses) >= 8 and len(set(one.losses)) == len(one.losses)
    assert max(one.logged("grad_norm")) > 0.5
    assert two.losses == pytest.approx(one.losses, rel=1e-5)
    assert two.logged("grad_norm") == pytest.approx(one.logged("grad_norm"), rel=1e-5)
    assert two.weights.keys() == one.weights.keys()
    for name, weight in one.weights.items():
        assert (two.weights[name] - weight).abs().max() <= 1e-5 * max(1.0, weight.abs().max()), name
    assert two.scores() == pytest.approx(one.scores(), abs=1e-5)
