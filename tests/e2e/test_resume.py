"""After `kill -9` the same command goes on to the losses of a run that was not cut."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.runs import Runs

# Twelve steps an epoch; the checkpoint it goes on from is in the middle of the second epoch.
KEYS: dict[str, Any] = {"label_view": "soft", "num_train_epochs": 8, "save_steps": 17, "save_total_limit": 6}
LORA = {"use_peft": True, "lora_r": 2, "lora_dropout": 0.2, "merge_adapter": True}


def test_a_killed_run_goes_on_to_the_same_losses(runs: Runs) -> None:
    keys = KEYS | {"per_device_train_batch_size": 4}
    whole = runs.run("one", "whole", **keys)
    runs.cut("one", "cut", **keys)
    resumed = runs.run("one", "cut", **keys)
    assert resumed.facts["resumed_from"].startswith("checkpoint-")
    assert resumed.losses == whole.losses and len(whole.losses) == 96
    assert resumed.metrics["training"] == whole.metrics["training"]
    assert all((resumed.weights[name] == weight).all() for name, weight in whole.weights.items())


CASES = [("one", "full", "bf16"), ("one", "lora", "no"), ("ddp", "lora", "no")]
CASES += [(how, what, bits) for how in ("zero2", "zero3") for what in ("full", "lora") for bits in ("no", "bf16")]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "what", "precision"), CASES)
def test_every_kind_of_run_goes_on_after_a_kill(runs: Runs, how: str, what: str, precision: str) -> None:
    """A LoRA with dropout also needs the random states of every process."""
    keys = KEYS | {"per_device_train_batch_size": 4 if how == "one" else 2} | (LORA if what == "lora" else {})
    if precision == "bf16":
        keys |= {"bf16": True} | ({"dtype": "bfloat16"} if what == "lora" else {})
    whole = runs.run(how, "whole", precision, **keys)
    runs.cut(how, "cut", precision, **keys)
    resumed = runs.run(how, "cut", precision, **keys)
    assert resumed.facts["resumed_from"].startswith("checkpoint-")
    assert resumed.facts["processes"] == whole.facts["processes"] == (1 if how == "one" else 2)
    assert len(whole.losses) == 96 and whole.losses[-1] < whole.losses[0]
    assert resumed.losses == pytest.approx(whole.losses, rel=1e-5)
    assert resumed.logged("grad_norm") == pytest.approx(whole.logged("grad_norm"), rel=1e-5)
    assert resumed.scores() == pytest.approx(whole.scores(), abs=1e-6)
    if what == "lora":
        assert "base_model.model.score.weight" in resumed.weights  # the head, which the adapter brings
        assert resumed.scores("merged") == pytest.approx(resumed.scores(), abs=1e-5 if precision == "no" else 0.02)
