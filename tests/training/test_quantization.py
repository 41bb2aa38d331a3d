"""QLoRA: the base is quantised, the head is not; what is saved is a plain adapter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.config import parse_config
from prm.errors import ConfigError
from prm.heads import HEADS, add_lora, build_model
from prm.train import TrainScriptArguments, VerifierModelConfig, run_train
from prm.training.config import VerifierConfig
from prm.training.quantization import check_quantization, quantization_config
from prm.verifier import Verifier


@pytest.mark.parametrize("objective", ["prm", "orm"])
def test_the_base_is_quantised_and_the_head_is_not(
    base_dir: Callable[..., Path], tokenizer: Any, objective: str
) -> None:
    from bitsandbytes.nn import Linear4bit
    from peft import LoraConfig

    config = VerifierModelConfig(model_name_or_path=str(base_dir()), use_peft=True, load_in_4bit=True, dtype="float32")
    head = HEADS[objective]()
    model: Any = build_model(str(base_dir()), head, tokenizer, quantization_config=quantization_config(config))
    assert isinstance(model.model.layers[0].self_attn.q_proj, Linear4bit)
    assert type(model.score) is torch.nn.Linear
    wrapped = add_lora(model, LoraConfig(r=2, target_modules="all-linear"), head)
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert any("score.modules_to_save" in name for name in trained) and any("lora_A" in name for name in trained)
    assert {wrapped.get_parameter(name).dtype for name in trained} == {torch.float32}


def test_an_adapter_of_a_quantised_base_is_trained_saved_merged_and_loaded(
    base_dir: Callable[..., Path], rows_file: Callable[..., Path], tmp_path: Path
) -> None:
    settings = {
        "model_name_or_path": base_dir(), "dataset_name": rows_file(24), "output_dir": tmp_path / "out",
        "use_cpu": True, "use_peft": True, "load_in_4bit": True, "dtype": "float32", "learning_rate": 0.05,
        "merge_adapter": True, "disable_tqdm": True, "max_steps": 12, "logging_steps": 1, "lora_r": 4,
    }  # fmt: skip
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    result = run_train(*parse_config([TrainScriptArguments, VerifierConfig, VerifierModelConfig], arguments))
    losses = [log["loss"] for log in result.metrics["training"]["loss_history"]]
    assert min(losses[-3:]) < losses[0]
    steps = ["12+1=13", "13+2=16"]
    adapter, merged = (
        Verifier.from_pretrained(path, device="cpu", dtype="float32")
        for path in (tmp_path / "out", tmp_path / "out/merged")
    )
    assert merged.score("12", steps) == pytest.approx(adapter.score("12", steps), abs=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"load_in_4bit": True}, "set use_peft to true"),
        ({"load_in_4bit": True, "load_in_8bit": True, "use_peft": True}, "exclude each other"),
    ],
)
def test_a_quantised_base_that_nothing_could_be_trained_on_is_refused(keys: dict[str, bool], message: str) -> None:
    config = VerifierModelConfig(model_name_or_path="x")
    for name, value in keys.items():
        setattr(config, name, value)
    with pytest.raises(ConfigError, match=message):
        check_quantization(config)


def test_without_bitsandbytes_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'prm-toolkit\[qlora\]'"):
        check_quantization(VerifierModelConfig(model_name_or_path="x", use_peft=True, load_in_4bit=True))
