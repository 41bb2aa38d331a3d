"""Tiny causal language models with the arithmetic world's tokenizer, built on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


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
