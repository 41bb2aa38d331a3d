"""`torch_compile` by flag: the same losses, from a graph that holds the model and its head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.rows.training_rows import StepRow
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["prm", "reward_tokens"])
def test_a_compiled_model_learns_as_one_that_is_not(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path, objective: str
) -> None:
    """Captured and differentiated as `inductor` would, and run without a C++ compiler."""

    def run(**keys: Any) -> Any:
        torch.manual_seed(0)
        config = VerifierConfig(
            str(tmp_path), objective=objective, use_cpu=True, disable_tqdm=True, report_to="none", max_steps=3,
            learning_rate=0.05, optim="sgd", logging_steps=1, save_strategy="no", **keys,
        )  # fmt: skip
        trainer: Any = VerifierTrainer(str(base_dir()), config, train_dataset=make_rows(16))
        trainer.train()
        return trainer

    torch._dynamo.reset()
    plain, compiled = run(), run(torch_compile=True, torch_compile_backend="aot_eager")
    losses = [[log["loss"] for log in one.state.log_history if "loss" in log] for one in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and len(losses[0]) == 3
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0  # something was compiled
    rows = make_rows(4, seed=5)
    expected, found = (torch.tensor(one.predict(rows).predictions) for one in (plain, compiled))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    compiled.save_model()
    assert not any("_orig_mod" in name for name in _names(tmp_path))


def _names(directory: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "pt") as weights:
        return list(weights.keys())
