"""`docs/benchmarks.md` says what is true: its commands run, on real data and tiny verifiers, with every choice of the
threshold that it names, and leave what it lists."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.generation.base import GenerationRequest, SamplingParams
from prm.jsonl import write_jsonl
from prm.rollouts import Outcome, Rollout
from prm.splitting import split_steps
from prm.worlds.arithmetic import make_problems
from prm.worlds.solver import ChainSolver
from tests.guides import ROOT, Page, run

GUIDE = Page("docs/benchmarks.md")
SMALL = ["--device", "cpu"]  # of an option that is given twice the last one holds


def halves(path: Path, n: int) -> list[dict[str, Any]]:
    """As many right as wrong solutions of a subset, n in all."""
    rows = json.loads(path.read_text())
    return [row for kind in (True, False) for row in [row for row in rows if (row["label"] < 0) is kind][: n // 2]]


@pytest.fixture
def folder(tmp_path: Path, tiny_verifier_dir: Callable[..., Path], data_dir: Path) -> Path:
    """A folder with what the page's commands read: two verifiers, a part of ProcessBench, the same solutions in
    PRMBench's columns, and rollouts of the arithmetic world."""
    for name, seed in (("prm", 0), ("other", 1)):
        shutil.copytree(tiny_verifier_dir(seed=seed), tmp_path / "runs" / name)
    subsets = {name: halves(data_dir / "processbench" / f"{name}.json", 6) for name in ("gsm8k", "math")}
    for name, rows in subsets.items():
        (tmp_path / "processbench").mkdir(exist_ok=True)
        (tmp_path / "processbench" / f"{name}.json").write_text(json.dumps(rows))
    later = json.loads((data_dir / "processbench" / "gsm8k.json").read_text())[-6:]
    (tmp_path / "other.json").write_text(json.dumps(later))
    write_jsonl(
        tmp_path / "prmbench.jsonl",
        (
            {"modified_question": row["problem"], "modified_process": row["steps"], "idx": row["id"]}
            | {"error_steps": [row["label"] + 1], "classification": "confidence"}
            for row in subsets["gsm8k"]
            if row["label"] >= 0
        ),
    )
    rollouts = []
    for problem in make_problems(4, seed=1, split="train", min_operations=3, max_operations=3):
        for index in range(3):
            request = GenerationRequest(tuple(ChainSolver(slip=0.3).prompt_ids(problem.problem)), index)
            [done] = ChainSolver(slip=0.3).generate([request], SamplingParams())
            split = split_steps(done.text, "line")
            outcome = Outcome.CORRECT if split.steps[-1] == f"A: {problem.answer}" else Outcome.WRONG
            rollouts.append(
                Rollout(problem, split.steps, split.gaps, index, done.stop_reason, "s", outcome=outcome).to_dict()
            )
    write_jsonl(tmp_path / "runs" / "rollouts" / "rollouts.jsonl", rollouts)
    return tmp_path


def test_every_command_runs_and_leaves_what_the_page_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    commands = GUIDE.commands()
    assert [command[:2] for command in commands] == [["prm", "bench"]] * 5
    for command in commands:
        run(command + SMALL)
    for name, directory in (("processbench", "bench"), ("prmbench", "prmbench"), ("best_of_n", "bon")):
        there = {path.name for path in (folder / "runs" / directory).iterdir()}
        assert {f"{name}.json", f"{name}.jsonl", "report.html", "run.json", "scores"} <= there
    listed = [row[0].strip("`") for row in GUIDE.rows("`--benchmark`")]
    assert listed == ["processbench", "prmbench", "best_of_n"]
    board = json.loads((folder / "runs" / "leaderboard" / "leaderboard.json").read_text())
    assert [one["name"] for one in board["runs"]] == ["bench", "other_bench"] and len(board["differences"]) == 1
    assert "Qwen/Qwen2.5-Math-PRM-7B" in {one["name"] for one in board["published"]}

    scores = next((folder / "runs" / "bench" / "scores").glob("scores-*.jsonl"))
    before = scores.read_text()
    choices = set()
    for number, (option, _) in enumerate(GUIDE.rows("option")):
        again = ["--output_dir", f"runs/again{number}", "--score_cache", "runs/bench/scores", *SMALL]
        run([*commands[0], *(shlex.split(option.strip("`")) if option != "none" else []), *again])
        choices.add(json.loads(Path(f"runs/again{number}/processbench.json").read_text())["threshold_choice"])
    assert len(choices) == len(GUIDE.rows("option")) == 4
    assert scores.read_text().startswith(before)  # another threshold scores nothing again


def test_the_metrics_load_by_path_and_give_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    monkeypatch.chdir(ROOT)
    (code,) = GUIDE.blocks("python")
    call, said = code.strip().splitlines()[-1].split("  # ")
    known: dict[str, Any] = {}
    exec(code.replace(call, f"found = {call}"), known)
    expected = json.loads(said.replace("'", '"'))
    assert {name: known["found"][name] for name in expected} == expected
    listed = re.findall(r"`(\w+)`", GUIDE.text.split("that load by path, offline:")[1].split("```")[0])
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "eval" / "metrics").glob("*/*.py"))
    for name in listed:
        assert evaluate.load(f"eval/metrics/{name}").name
