"""What a model directory may lack, and the name of its weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from prm.errors import ConfigError, MissingFileError, ModelError
from prm.generation.checkpoint import load_causal_lm, model_name, model_revision


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere: no such model directory.*train the model first"):
        model_revision(str(tmp_path / "nowhere"))


def test_a_directory_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        load_causal_lm(str(tmp_path), device="cpu")


def test_damaged_weights_are_one_message(generator_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(generator_dir, copy)
    (copy / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="damaged: cannot be loaded as a causal language model"):
        load_causal_lm(str(copy), device="cpu")


def test_missing_weights_are_one_message(generator_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "empty"
    shutil.copytree(generator_dir, copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="empty: cannot be loaded as a causal language model"):
        load_causal_lm(str(copy), device="cpu")


def test_a_verifier_cannot_generate(tmp_path: Path, generator_dir: Path) -> None:
    from transformers import AutoConfig, Qwen2ForTokenClassification

    config = AutoConfig.from_pretrained(generator_dir)
    config.tie_word_embeddings = False
    Qwen2ForTokenClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"no weights for 'lm_head\.weight'"):
        load_causal_lm(str(tmp_path), device="cpu")


def test_an_unknown_dtype_is_refused(generator_dir: Path) -> None:
    with pytest.raises(ConfigError, match="dtype must be one of auto, float32"):
        load_causal_lm(str(generator_dir), device="cpu", dtype="float8")


def test_the_revision_is_the_contents(generator_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(generator_dir, copy)
    before = model_revision(str(generator_dir))
    assert model_revision(str(copy)) == before
    (copy / "run.json").write_text("{}", encoding="utf-8")
    assert model_revision(str(copy)) == before
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert model_revision(str(copy)) != before
    assert model_name(f"{copy}/") == "copy"
