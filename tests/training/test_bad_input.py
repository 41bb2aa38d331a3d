"""A mistake ends `prm train` with one message, the remedy in it, and exit code 2, before or instead of training."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from prm.cli import main

GOOD = [
    {"prompt": str(n), "completions": [f"{n}+1={n + 1}", f"{n}+2={n + 2 + n % 2}"], "labels": [True, n % 2 == 0]}
    for n in range(8)
]


@pytest.fixture
def said(
    tmp_path: Path, base_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What `prm train` prints to standard error on rows and keys before it exits with 2."""

    def run(rows: Sequence[dict[str, Any]] = GOOD, **keys: Any) -> str:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {
            **{
                "dataset_name": tmp_path / "rows.jsonl",
                "model_name_or_path": base_dir(),
                "output_dir": tmp_path / "out",
            },
            **{"use_cpu": True, "max_steps": 4, "disable_tqdm": True},
        } | keys
        arguments = [text for key, value in settings.items() for text in (f"--{key}", *map(str, _listed(value)))]
        monkeypatch.setattr(sys, "argv", ["prm", "train", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        found = capfd.readouterr().err
        assert stopped.value.code == 2, found
        assert "Traceback" not in found
        assert not (tmp_path / "out" / "train_metrics.json").exists()
        return found.split("error: ", 1)[1]

    return run


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [True]}, "rows.jsonl, line 9: 1 labels for 2 steps. Every step needs one label, or null"),
        ({"labels": [True, 1.5]}, "rows.jsonl, line 9: the label 1.5. A label is true, false, null, or from 0"),
        ({"labels": [True, -1]}, "rows.jsonl, line 9: the label -1. A label is true, false, null, or from 0"),
        ({"completions": ["1\n2", "3"]}, "contains the separator '\\n'; choose another step_separator"),
        ({"completions": [" ", "3"]}, "a step is blank; drop it"),
        ({"rating": 1}, "rows.jsonl, line 9: the unknown column 'rating'. Rename or remove it"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(said: Callable[..., str], change: dict[str, Any], message: str) -> None:
    assert message in said([*GOOD, GOOD[0] | change])


def test_rows_of_one_class_come_with_their_counts(said: Callable[..., str]) -> None:
    found = said([row | {"labels": [True, True]} for row in GOOD])
    assert "every label is 1, so there is nothing to learn (rows: 0 wrong, 16 correct)" in found.replace(".jsonl", "")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"learnign_rate": 1}, "unknown key 'learnign_rate'; did you mean 'learning_rate'"),
        (
            {"objective": "orm", "loss": "pqm"},
            "loss 'pqm' does not fit objective 'orm': it ranks the steps of a solution",
        ),
        ({"step_separator": "<pad>"}, "ends in the tokenizer's padding token; choose another step_separator"),
        ({"max_length": 1}, "rows.jsonl, line 1: the prompt alone has 2 tokens and max_length is 1"),
        (
            {"metric_for_best_model": "aurok", "load_best_model_at_end": True, "eval_strategy": "steps"}
            | {"eval_fraction": 0.5, "eval_steps": 2, "save_steps": 2},
            "metric_for_best_model: evaluation does not compute 'aurok' of the kind prm. Did you mean auroc?",
        ),
        (
            {"metric_for_best_model": "judge/auroc", "load_best_model_at_end": True, "eval_strategy": "steps"}
            | {"eval_fraction": 0.5, "eval_steps": 2, "save_steps": 2},
            "are of labels; give 'auroc'",
        ),
        ({"learning_rate": -1}, "learning_rate must be a number from 0 up; it is -1"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps must be at least 1; it is 0"),
        ({"max_steps": -1, "num_train_epochs": 0}, "num_train_epochs must be above 0"),
        ({"load_best_model_at_end": True, "save_strategy": "no"}, "among evaluations, and eval_strategy is no"),
        ({"use_peft": True, "lora_r": 0}, "lora_r must be at least 1; it is 0"),
        ({"use_peft": True, "lora_target_modules": "nope"}, "(lora_target_modules: nope) on a Qwen2ForTokenClass"),
        ({"merge_adapter": True}, "merge_adapter merges a LoRA, and none is trained: set use_peft to true"),
    ],
)
def test_a_bad_setting_says_what_would_do(said: Callable[..., str], keys: dict[str, Any], message: str) -> None:
    assert message in said(**keys)


def test_a_context_too_small_says_which_rows_keep_no_label(said: Callable[..., str]) -> None:
    rows = [*GOOD, {"prompt": "1", "completions": ["1+1=2+0+0+0+0+0+0+0+0+0+0+0", "2"], "labels": [True, False]}]
    found = said(rows, max_length=16)
    assert "line 9: only 0 of 2 steps fit into max_length=16, and no label is left; raise max_length" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pad_token": None, "eos_token": None},
            "the tokenizer has neither a padding nor an end-of-text token; add one",
        ),
        ({}, "padding token '<|endoftext|>' has the id"),  # Qwen2's own default, which is none of the model's
    ],
)
def test_a_tokenizer_that_cannot_pad_is_refused(
    said: Callable[..., str], base_dir: Callable[..., Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    base = tmp_path / "base"
    shutil.copytree(base_dir(), base)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    kept = {name: value for name, value in settings.items() if name not in {"pad_token", "eos_token"}}
    (base / "tokenizer_config.json").write_text(json.dumps(kept | change))
    assert message in said(model_name_or_path=base)


def test_a_loss_that_is_no_number_stops_with_its_rows_and_leaves_a_page(
    said: Callable[..., str], tmp_path: Path
) -> None:
    found = said(learning_rate=1e30, max_grad_norm=0, per_device_train_batch_size=4)
    page = (tmp_path / "out" / "train_report.html").read_text(encoding="utf-8")
    assert "0 of 4 steps so far: not over yet" in page and 'aria-label="Lengths' in page
    assert "the loss is not a number at step" in found
    assert "its rows: " in found and "rows.jsonl, line " in found
    assert "Lower learning_rate" in found


def test_a_checkpoint_of_another_objective_is_refused(
    said: Callable[..., str], tiny_verifier_dir: Callable[..., Path]
) -> None:
    orm = tiny_verifier_dir(kind="orm", head="sequence_classification")
    found = said(model_name_or_path=orm)
    assert "a verifier with a sequence_classification head, and objective 'prm' trains a token_classification" in found
    assert "choose the objective of the checkpoint, or start from its base" in found
    (orm / "scoring_spec.json").unlink()  # as any other trainer leaves it
    found = said(model_name_or_path=orm)
    assert "Qwen2ForSequenceClassification" in found and "objective 'prm'" in found


def test_an_adapter_on_the_wrong_base_is_refused(
    said: Callable[..., str], base_dir: Callable[..., Path], tmp_path: Path
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    base, adapter, other = base_dir(), tmp_path / "adapter", tmp_path / "other"
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(adapter)
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    Qwen2ForCausalLM(Qwen2Config(**{**model.config.to_dict(), "hidden_size": 32})).save_pretrained(other)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(other)}))
    found = said(model_name_or_path=adapter)
    assert "the adapter does not fit" in found and "restore the base it was trained on" in found


def test_kernels_that_are_not_installed_are_named_before_anything_is_loaded(
    said: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    without = lambda name, *others: None if name == "liger_kernel" else found(name, *others)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", without)
    assert "use_liger_kernel needs the package liger-kernel: pip install liger-kernel" in said(use_liger_kernel=True)
