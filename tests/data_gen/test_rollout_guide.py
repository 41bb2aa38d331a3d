"""`docs/rollouts.md` says what is true: its commands run, on its own files and on servers, and leave what it lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.rollouts import read_rollouts
from tests.guides import ROOT, Page, run_all

GUIDE = Page("docs/rollouts.md")
RECIPE = "recipes/arithmetic/rollout.yaml"


def test_its_commands_run(
    scripted_server: Callable[..., Any], tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").symlink_to(ROOT / "recipes")
    problems, solutions = GUIDE.blocks("json")
    Path("problems.jsonl").write_text(problems)
    Path("solutions.jsonl").write_text(solutions)
    servers = [scripted_server(), scripted_server()]
    run_all(
        GUIDE.commands(),
        {
            RECIPE: f"{RECIPE} --num_problems 6 --n 2",
            "--served_model_name my-model": f"--served_model_name scripted --tokenizer_name_or_path {tokenizer_dir}",
            "http://localhost:8000/v1": servers[0].url,
            "http://localhost:8001/v1": servers[1].url,
        },
    )
    whole = Path("runs/rollouts/rollouts.jsonl")
    assert Path("runs/merged/rollouts.jsonl").read_bytes() == whole.read_bytes()
    written = {row[0].strip("`") for row in GUIDE.rows("file")}
    assert written == {path.name for path in whole.parent.iterdir()}
    assert [len(list(read_rollouts(f"runs/{name}/rollouts.jsonl"))) for name in ("own", "recorded", "served")] == [
        8,
        2,
        12,
    ]
    assert [rollout.correct for rollout in read_rollouts("runs/recorded/rollouts.jsonl")] == [True, False]
    assert {rollout.problem.answer for rollout in read_rollouts("runs/own/rollouts.jsonl")} == {"9", "18"}
    assert all(server.log.answered for server in servers)
