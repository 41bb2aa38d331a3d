"""Heads are plain transformers classes without dropout; LoRA never leaves them behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from peft import LoraConfig, TaskType

from prm.errors import ConfigError, ModelError
from prm.heads import HEADS, add_lora, attends_causally, build_model, load_tokenizer
from prm.step_format import StepFormat

KINDS: list[Literal["prm", "orm"]] = ["prm", "orm"]


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_causal_checkpoint_gets_a_plain_head(
    base_dir: Callable[..., Path], tokenizer: Any, architecture: str, kind: Literal["prm", "orm"]
) -> None:
    model = build_model(str(base_dir(architecture)), HEADS[kind](), tokenizer)
    config = model.config
    HEADS[kind]().check(model)
    assert config.id2label == ({0: "wrong", 1: "correct"} if kind == "prm" else {0: "correct"})
    assert config.num_labels == len(config.id2label)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert config.problem_type == (None if kind == "prm" else "multi_label_classification")
    assert attends_causally(model)
    assert all(module.p == 0 for module in model.children() if isinstance(module, torch.nn.Dropout))


def test_scores_in_training_mode_equal_those_in_inference_mode(base_dir: Callable[..., Path], tokenizer: Any) -> None:
    """transformers would put a dropout of 0.1 on the head."""
    model = build_model(str(base_dir()), HEADS["prm"](), tokenizer)
    ids = torch.tensor([tokenizer.encode("1+1=2\n")])
    torch.testing.assert_close(model.train()(ids).logits, model.eval()(ids).logits, rtol=0, atol=0)


def test_an_outcome_model_keeps_its_sigmoid_after_a_forward_with_labels(
    base_dir: Callable[..., Path], tokenizer: Any
) -> None:
    model = build_model(str(base_dir()), HEADS["orm"](), tokenizer)
    model(torch.tensor([tokenizer.encode("1+1=2\n")]), labels=torch.tensor([[1.0]]))
    assert model.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_from_two_tokens_gives_the_language_models_own_odds(
    base_dir: Callable[..., Path], tokenizer: Any, tied: bool
) -> None:
    from transformers import AutoModelForCausalLM

    path = str(base_dir(tied=tied))
    encoded = StepFormat().encode("1+1", ["1+1=2", "A: 2"], tokenizer)
    ids = torch.tensor([encoded.input_ids])
    bad, good = tokenizer.convert_tokens_to_ids(["-", "+"])
    next_token = AutoModelForCausalLM.from_pretrained(path).eval()(ids).logits[0, encoded.score_positions]
    expected = next_token[:, [bad, good]].softmax(-1)[:, 1]
    prm = build_model(path, HEADS["prm"](), tokenizer, head_init_tokens=["-", "+"]).eval()
    torch.testing.assert_close(prm(ids).logits[0, encoded.score_positions].softmax(-1)[:, 1], expected)
    orm = build_model(path, HEADS["orm"](), tokenizer, head_init_tokens=["-", "+"]).eval()
    torch.testing.assert_close(orm(ids).logits.sigmoid()[0], expected[-1:])


def test_head_tokens_must_be_two_single_tokens(base_dir: Callable[..., Path], tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="'no' is 2 tokens"):
        build_model(str(base_dir()), HEADS["prm"](), tokenizer, head_init_tokens=["no", "+"])
    with pytest.raises(ConfigError, match="two tokens, bad and good"):
        build_model(str(base_dir()), HEADS["prm"](), tokenizer, head_init_tokens=["+"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM", "of the head"])
def test_lora_trains_and_keeps_the_head_whatever_the_task_type_said(
    base_dir: Callable[..., Path], tokenizer: Any, kind: Literal["prm", "orm"], task_type: str | None
) -> None:
    wanted = "TOKEN_CLS" if kind == "prm" else "SEQ_CLS"
    given = wanted if task_type == "of the head" else task_type
    config = LoraConfig(r=2, target_modules="all-linear", task_type=given)
    model = add_lora(build_model(str(base_dir()), HEADS[kind](), tokenizer), config, HEADS[kind]())
    assert model.peft_config["default"].task_type == TaskType[wanted]
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert any("score.modules_to_save" in name for name in trained)
    assert any("q_proj.lora_A" in name for name in trained)
    assert not any("score" in name and "lora" in name for name in trained)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_and_head_of_a_bfloat16_base_are_float32(
    base_dir: Callable[..., Path], tokenizer: Any, kind: Literal["prm", "orm"]
) -> None:
    model = build_model(str(base_dir()), HEADS[kind](), tokenizer, dtype="bfloat16")
    wrapped = add_lora(model, LoraConfig(r=2, target_modules="all-linear"), HEADS[kind]())
    dtypes = {(p.requires_grad, p.dtype) for name, p in wrapped.named_parameters() if "original_module" not in name}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    ids = torch.tensor([tokenizer.encode("1+1=2\n")])
    assert wrapped(ids).logits.dtype == torch.float32  # without autocast too


def test_under_zero3_lora_keeps_the_models_dtype(
    base_dir: Callable[..., Path], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.integrations.is_deepspeed_zero3_enabled", lambda: True)
    model = build_model(str(base_dir()), HEADS["prm"](), tokenizer, dtype="bfloat16")
    wrapped = add_lora(model, LoraConfig(r=2, target_modules="all-linear"), HEADS["prm"]())
    assert {parameter.dtype for parameter in wrapped.parameters()} == {torch.bfloat16}


def test_another_task_type_is_refused(base_dir: Callable[..., Path], tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="objective 'prm' has the LoRA task type TOKEN_CLS"):
        add_lora(
            build_model(str(base_dir()), HEADS["prm"](), tokenizer), LoraConfig(task_type="SEQ_CLS"), HEADS["prm"]()
        )


def test_models_and_checkpoints_that_do_not_fit_are_refused(
    base_dir: Callable[..., Path], tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="ForSequenceClassification with num_labels=1"):
        HEADS["orm"]().check(build_model(str(base_dir()), HEADS["prm"](), tokenizer))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot be loaded with a token_classification head"):
        build_model(str(tmp_path), HEADS["prm"](), tokenizer)
    cut = tmp_path / "cut"
    shutil.copytree(base_dir(), cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded with a token_classification head"):
        build_model(str(cut), HEADS["prm"](), tokenizer)
    with pytest.raises(ConfigError, match="dtype must be one of"):
        build_model(str(base_dir()), HEADS["prm"](), tokenizer, dtype="float33")
    with pytest.raises(ModelError, match="no tokenizer could be loaded"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_padding_pads_with_its_end_of_text(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(base_dir()))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token == tokenizer.eos_token
