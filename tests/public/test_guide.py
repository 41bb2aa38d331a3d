"""The guide to published verifiers names every entry, and its example of a new one works as it stands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from prm.public import PUBLIC_FORMATS

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "public-verifiers.md").read_text(encoding="utf-8")


def test_the_guide_lists_every_entry_with_its_head_and_where_it_was_read() -> None:
    table = ["format", *(entry.name for entry in PUBLIC_FORMATS)]
    assert re.findall(r"^\| `([\w.-]+)` \|", GUIDE, re.MULTILINE) == table * 2


def test_the_example_of_a_new_entry_scores(tokenizer: Any, checkpoint: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    head = {"score.weight": torch.randn(1, 16), "score.bias": torch.zeros(1)}
    path = checkpoint(tokenizer, "Qwen2", "Qwen2ForTokenClassification", head)
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL) if "PublicFormat(" in block)
    known: dict[str, Any] = {}
    exec(code.replace('from_pretrained("me/my-prm"', f'from_pretrained("{path}"'), known)
    scores = known["verifier"].score("7+5-3", ["7+5=12", "12-3=9"])
    assert len(scores) == 2 and all(0 < score < 1 for score in scores)
