"""A tiny base model and rows for training runs through the command line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.runs import Runs


@pytest.fixture(scope="session")
def make_runs(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[], Runs]:
    """A fresh folder with a tiny base model and 45 rows, for runs."""

    def make() -> Runs:
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        folder = tmp_path_factory.mktemp("runs")
        torch.manual_seed(0)
        size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
        ids: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = Qwen2Config(vocab_size=len(tokenizer), initializer_range=0.1, **size, **heads, **ids)
        Qwen2ForCausalLM(config).save_pretrained(folder / "base")
        tokenizer.save_pretrained(folder / "base")
        lines = [json.dumps(row) for row in _rows()]
        (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
        return Runs(folder)

    return make


@pytest.fixture
def runs(make_runs: Callable[[], Runs]) -> Runs:
    return make_runs()


def _rows() -> Iterator[dict[str, Any]]:
    """Solutions of 15 problems, three each, with counts behind their labels. Every objective can learn from them: some
    steps are unlabelled, and the last step's label is the outcome."""
    rng = random.Random(0)
    for index in range(45):
        steps = [f"{index}+{k}={rng.randint(0, 10 ** rng.randint(1, 3))}" for k in range(rng.randint(1, 5))]
        total = [rng.randint(1, 8) for _ in steps]
        right = [rng.choice([0, rng.randint(0, count), count]) for count in total]
        right[-1] = total[-1] * (index % 3 % 2)
        known = [k == len(steps) - 1 or rng.random() < 0.8 for k in range(len(steps))]
        yield {
            "prompt": f"{index // 3}+{index // 3}",
            "completions": steps,
            "labels": [r / n if k else None for r, n, k in zip(right, total, known, strict=True)],
            "n_correct": [r if k else None for r, k in zip(right, known, strict=True)],
            "n_total": [n if k else None for n, k in zip(total, known, strict=True)],
        }
