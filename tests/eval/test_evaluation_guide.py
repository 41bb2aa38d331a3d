"""`docs/evaluation.md` says what is true: its commands run, one after the other, and leave what it lists."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prm.jsonl import read_jsonl
from tests.guides import ROOT, Page, run, run_all

GUIDE = Page("docs/evaluation.md")
ROLLOUTS = "prm rollout --config recipes/arithmetic/rollout.yaml --num_problems 4 --output_dir runs/rollouts"
EVAL, FOLLOW, LARGE = (
    f"recipes/arithmetic/{name}.yaml" for name in ("eval", "compute_optimal/follow", "compute_optimal/large")
)


@pytest.fixture
def folder(tiny_verifier_dir: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the guide begins: rollouts, and a PRM and an ORM with random weights."""
    monkeypatch.chdir(tmp_path)
    Path("recipes").symlink_to(ROOT / "recipes")
    Path("runs").mkdir()
    Path("runs/prm").symlink_to(tiny_verifier_dir())
    Path("runs/orm").symlink_to(tiny_verifier_dir("orm", "sequence_classification"))
    run(ROLLOUTS.split())
    return tmp_path


def test_its_commands_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = "--report false"  # pictures are slow to draw: the smallest run has them
    few = f"--num_problems 4 --n 4 --beam_width 2 --num_iterations 3 {plain}"
    run_all(
        GUIDE.commands(),
        {
            EVAL: f"{EVAL} {few}",
            FOLLOW: f"{FOLLOW} {few} --skip_problems 4 --num_workers 1",
            f"{LARGE} --model_name_or_path embedded:base --num_problems 400": (
                f"{LARGE} --model_name_or_path embedded:base --num_problems 4 --n 4 {plain}"
            ),
            "--report_n 3 12": "--report_n 3",
            "worst:5": "worst:2",
            "--difficulty scores": "--difficulty_samples 2 --difficulty_bins 2 --difficulty scores",
        },
    )
    runs = folder / "runs"
    listed = {name for row in GUIDE.rows("file") for name in re.findall(r"`([\w.-]+)/?`", row[0])}
    there = {path.name for name in ("eval", "offline") for path in (runs / name).iterdir()}
    assert listed <= there, listed - there
    assert (
        len(set(re.findall(r"^problem: runs/eval/problems/(.*)\.html$", capsys.readouterr().out, re.MULTILINE))) == 2
    )
    lines = [row for _, row in read_jsonl(runs / "eval" / "results.jsonl")]
    assert {"rebase", "adaptive_consistency", "compute_optimal_scores"} <= {line["method"] for line in lines}
    assert {"prm", "prm:prod", "orm", "both", "zero_shot"} <= {line["verifier"] for line in lines if line["verifier"]}
    assert 3 in {line["n"] for line in lines}
    assert json.loads((runs / "seeds" / "config.json").read_text())["config"]["seeds"] == [0, 1]
    assert all((runs / name / "results.json").is_file() for name in ("follow", "offline", "large"))
