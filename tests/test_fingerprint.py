"""A checkpoint's fingerprint is of what it computes with, and of nothing that lies beside that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.fingerprint import fingerprint, weights_fingerprint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "scoring_spec.json"])
def test_it_changes_with_what_is_computed(tiny_verifier_dir: Callable[..., Path], name: str) -> None:
    directory = tiny_verifier_dir()
    before = fingerprint(directory)
    (directory / name).write_bytes((directory / name).read_bytes() + b" ")
    assert fingerprint(directory) != before


def test_records_of_a_run_are_no_part_of_it(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    before = fingerprint(directory)
    for name in ("train_run.json", "train_metrics.json", "trainer_state.json", "training_args.bin", "README.md"):
        (directory / name).write_text("{}")
    assert fingerprint(directory) == before


def test_an_adapter_has_the_fingerprint_of_its_base_in_it(tmp_path: Path) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    for folder in (base, adapter):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = fingerprint(adapter)
    assert before.endswith(f"+{fingerprint(base)}")
    (base / "model.safetensors").write_bytes(b"trained")
    assert fingerprint(adapter) != before
    assert fingerprint("user/model") == "user/model"


def test_a_model_in_memory_is_known_by_its_weights(tiny_verifier_dir: Callable[..., Path]) -> None:
    from transformers import AutoModelForTokenClassification

    def load(seed: int) -> Any:
        return AutoModelForTokenClassification.from_pretrained(tiny_verifier_dir(seed=seed))

    assert weights_fingerprint(load(0)) == weights_fingerprint(load(0)) != weights_fingerprint(load(1))
