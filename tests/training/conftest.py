"""Tiny base models and rows to train on, built on the spot."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.rows.training_rows import StepRow

CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
# What transformers' classes begin with, and what a tiny model needs besides.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("Qwen2", {}),
    "llama": ("Llama", {}),
    "mistral": ("Mistral", {"sliding_window": 8}),
    "gemma2": ("Gemma2", {"sliding_window": 8, "head_dim": 8}),  # in every other layer
    "qwen3_next": (
        "Qwen3Next",
        {"head_dim": 8, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
        | {
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
        },
    ),
}


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[..., Path]:
    """Save a tiny random causal language model with its tokenizer: `base_dir("llama", chat=True)`."""
    import copy

    import torch
    import transformers

    built: dict[tuple[Any, ...], Path] = {}

    def build(architecture: str = "qwen2", *, tied: bool = True, chat: bool = False) -> Path:
        key = (architecture, tied, chat)
        if key not in built:
            torch.manual_seed(0)
            prefix, special = ARCHITECTURES[architecture]
            config = getattr(transformers, f"{prefix}Config")(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                max_position_embeddings=4096,
                tie_word_embeddings=tied,
                initializer_range=0.3,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                **special,
            )
            built[key] = tmp_path_factory.mktemp("base")
            getattr(transformers, f"{prefix}ForCausalLM")(config).save_pretrained(built[key])
            own = copy.deepcopy(tokenizer)
            own.chat_template = CHATML if chat else None
            own.save_pretrained(built[key])
        return built[key]

    return build


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[StepRow]]:
    """Sums with mistakes in them: `make_rows(20, per_problem=2)`."""

    def make(count: int, *, per_problem: int = 1, seed: int = 0) -> list[StepRow]:
        rng = random.Random(seed)
        rows = []
        for index in range(count):
            value = 10 + index // per_problem
            problem, steps, labels, right = str(value), [], [], True
            for _ in range(rng.randint(1, 4)):
                operand = rng.randint(1, 9)
                result = value + operand if rng.random() < 0.7 else rng.randint(0, 99)
                right = right and result == value + operand
                steps.append(f"{value}+{operand}={result}")
                labels.append(float(right))
                value = result
            rows.append(StepRow(problem, tuple(steps), tuple(labels), group=problem, source="truth"))
        return rows

    return make


@pytest.fixture
def rows_file(tmp_path: Path, make_rows: Callable[..., list[StepRow]]) -> Callable[..., Path]:
    """Write such rows in TRL's stepwise format: `rows_file(20)`."""

    def write(count: int = 20, **others: Any) -> Path:
        path = tmp_path / "rows.jsonl"
        rows = make_rows(count, **others)
        lines = [
            json.dumps({"prompt": r.prompt, "completions": r.completions, "labels": r.labels, "unique_id": r.group})
            for r in rows
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
