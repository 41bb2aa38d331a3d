"""Verifiers that are read by eye, and rows of ProcessBench for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prm.scoring_spec import ScoringSpec
from prm.verifier import StepScores


@dataclass
class ScriptedVerifier:
    """`judge(problem, steps)` gives one score per step; an ORM keeps the last."""

    judge: Callable[[str, Sequence[str]], Sequence[float]]
    name: str = "scripted"
    spec: ScoringSpec = field(default_factory=lambda: ScoringSpec(kind="prm", head="token_classification"))
    num_parameters: int = 100
    revision: str = "1"
    read: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        self.read += [(problem, tuple(steps)) for problem, steps in items]
        if progress:
            progress(len(items))
        last = 1 if self.spec.kind == "orm" else 0
        return [StepScores(tuple(self.judge(problem, steps)[-last:]), len(steps)) for problem, steps in items]


def solution(steps: Sequence[str], label: int, problem: str = "p") -> dict[str, Any]:
    """A row of ProcessBench."""
    return {"id": "x", "problem": problem, "steps": list(steps), "label": label, "final_answer_correct": label == -1}


@pytest.fixture
def bench(tmp_path: Path) -> SimpleNamespace:
    """`Verifier`, `solution`, the spec of an ORM, and `write(rows, name)`, which returns the file's path."""

    def write(rows: Any, name: str = "subset.json") -> str:
        path = tmp_path / name
        path.write_text(json.dumps(rows))
        return str(path)

    return SimpleNamespace(
        Verifier=ScriptedVerifier,
        solution=solution,
        orm=ScoringSpec(kind="orm", head="sequence_classification"),
        write=write,
    )
