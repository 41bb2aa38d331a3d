"""Fixtures for every test: where the real data lies, and tiny models built on the spot."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prm.scoring_spec import Head, Kind

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is not there."""
    folder = Path(os.environ.get("PRM_DATA_DIR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data is needed: set PRM_DATA_DIR (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The arithmetic world's byte-level tokenizer."""
    from prm.worlds.pretrain import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def tiny_verifier_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[..., Path]:
    """Build a tiny random verifier directory: `tiny_verifier_dir(kind="prm", head="token_classification")`."""
    import torch
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2ForSequenceClassification,
        Qwen2ForTokenClassification,
    )

    from prm.scoring_spec import ScoringSpec

    models: dict[str, Any] = {
        "token_classification": Qwen2ForTokenClassification,
        "sequence_classification": Qwen2ForSequenceClassification,
        "reward_tokens": Qwen2ForCausalLM,
        "implicit": Qwen2ForCausalLM,
    }

    def build(kind: Kind = "prm", head: Head = "token_classification", seed: int = 0, **spec: Any) -> Path:
        torch.manual_seed(seed)
        settings: dict[str, Any] = {
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "initializer_range": 0.5,
            "num_labels": 1 if kind == "orm" else 2,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "classifier_dropout": 0.0,
        }
        directory = tmp_path_factory.mktemp("verifier")
        models[head](Qwen2Config(**settings)).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        if head == "reward_tokens":
            spec.setdefault("reward_tokens", ("-", "+"))
        if head == "implicit":
            torch.manual_seed(seed + 1)
            reference = tmp_path_factory.mktemp("reference")
            models[head](Qwen2Config(**settings)).save_pretrained(reference)
            spec = {"beta": 0.1, "reference_model": str(reference)} | spec
        ScoringSpec(kind=kind, head=head, **spec).save(directory)
        return directory

    return build


@pytest.fixture(scope="session")
def generator_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Qwen2 generator with flat but uneven next-token distributions."""
    import torch

    from prm.worlds.pretrain import PretrainConfig, build_model, build_tokenizer

    directory = tmp_path_factory.mktemp("generator")
    tokenizer = build_tokenizer()
    config = PretrainConfig(output_dir="unused", hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(12)  # an untrained model is all but uniform, which would hide mistakes
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def generator(generator_dir: Path) -> Any:
    from prm.generation.hf import HFGenerator
    from prm.step_format import PromptFormat

    return HFGenerator.from_pretrained(str(generator_dir), PromptFormat(), device="cpu")


@pytest.fixture(scope="session")
def scripted() -> Any:
    """The module `tests/scripted_server.py`: a model server that answers like the real API, faults included."""
    spec = importlib.util.spec_from_file_location("scripted_server", ROOT / "tests" / "scripted_server.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def scripted_server(scripted: Any, tokenizer: Any) -> Iterator[Callable[..., Any]]:
    """Start servers: `scripted_server(slip=0.1, fault_share=0.3)`, with the fields of `Script`; they end with the
    test. Their model is called `scripted`, and has the arithmetic world's tokenizer."""
    servers: list[Any] = []

    def start(**script: Any) -> Any:
        servers.append(scripted.ScriptedServer(tokenizer, scripted.Script(**script)).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """The arithmetic world's tokenizer, alone in a directory."""
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(directory)
    return directory
