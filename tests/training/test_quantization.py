"""QLoRA: the base is quantised, the head is not; what is saved is a plain adapter."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.config import parse_config
from prm.errors import ConfigError
from prm.heads import HEADS, add_lora, build_model
from prm.rows.training_rows import StepRow
from prm.scoring_spec import ScoringSpec
from prm.train import TrainScriptArguments, VerifierModelConfig, run_train
from prm.training.config import VerifierConfig
from prm.training.quantization import check_quantization, quantization_config
from prm.training.report import summary
from prm.training.trainer import VerifierTrainer
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
    assert result.metrics["quantized_base"] == "4-bit" and not ScoringSpec.load(tmp_path / "out").quantized_base
    assert "trained on the base in 4-bit weights; figures" in summary(tmp_path / "out", result.metrics)
    losses = [log["loss"] for log in result.metrics["training"]["loss_history"]]
    assert min(losses[-3:]) < losses[0]
    steps = ["12+1=13", "13+2=16"]
    adapter, merged = (
        Verifier.from_pretrained(path, device="cpu", dtype="float32")
        for path in (tmp_path / "out", tmp_path / "out/merged")
    )
    assert merged.score("12", steps) == pytest.approx(adapter.score("12", steps), abs=1e-5)


@pytest.mark.parametrize("objective", ["prm", "orm"])
def test_what_is_loaded_scores_as_it_trained_but_for_the_rounding_of_the_base(
    base_dir: Callable[..., Path],
    make_rows: Callable[..., list[StepRow]],
    tokenizer: Any,
    tmp_path: Path,
    objective: str,
) -> None:
    """The adapter is loaded on the base as it is, and was trained on the base in 4 bits: not the same scores, and the
    scoring spec says so."""
    from peft import LoraConfig

    keys = VerifierModelConfig(model_name_or_path=str(base_dir()), use_peft=True, load_in_4bit=True, dtype="float32")
    config = VerifierConfig(
        str(tmp_path), objective=objective, use_cpu=True, disable_tqdm=True, max_steps=6, learning_rate=0.05,
        save_strategy="no",
    )  # fmt: skip
    model = build_model(str(base_dir()), HEADS[objective](), tokenizer, quantization_config=quantization_config(keys))
    rows = make_rows(16)
    trainer: Any = VerifierTrainer(
        model, config, train_dataset=rows, processing_class=tokenizer,
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )  # fmt: skip
    trainer.train()
    trainer.save_model()
    trained = torch.tensor(trainer.predict(rows).predictions).sigmoid()
    loaded = Verifier.from_pretrained(tmp_path, device="cpu", dtype="float32")
    assert loaded.spec.quantized_base == "4-bit"
    off = []
    for row, scores in zip(rows, trained, strict=True):
        found = loaded.score(row.prompt, row.completions)
        off += [abs(a - b) for a, b in zip(found, scores[: len(found)].tolist(), strict=True)]
    assert 1e-6 < max(off) < 0.5 and sum(off) / len(off) < 0.1  # blocks of 64 weights, and rows of 16 here


def test_what_is_reported_of_a_quantised_run_is_of_what_will_be_loaded(
    base_dir: Callable[..., Path],
    rows_file: Callable[..., Path],
    make_rows: Callable[..., list[StepRow]],
    tmp_path: Path,
) -> None:
    held_out = make_rows(20, seed=3)
    lines = [{"prompt": r.prompt, "completions": r.completions, "labels": r.labels} for r in held_out]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {
        "model_name_or_path": base_dir(), "dataset_name": rows_file(24), "output_dir": tmp_path / "out",
        "eval_dataset_name": tmp_path / "held_out.jsonl", "use_cpu": True, "use_peft": True, "load_in_4bit": True,
        "dtype": "float32", "learning_rate": 0.05, "calibrate": False, "disable_tqdm": True, "max_steps": 6,
    }  # fmt: skip
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    result = run_train(*parse_config([TrainScriptArguments, VerifierConfig, VerifierModelConfig], arguments))
    verifier = Verifier.from_pretrained(tmp_path / "out", device="cpu", dtype="float32")
    scores = [score for row in held_out for score in verifier.score(row.prompt, row.completions)]
    targets = [label for row in held_out for label in row.labels]
    squares = [(score - float(label or 0)) ** 2 for score, label in zip(scores, targets, strict=True)]
    assert result.metrics["eval"]["brier"]["value"] == pytest.approx(sum(squares) / len(squares), abs=1e-6)


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
