"""`prm bench --benchmark best_of_n --panel true`: one sample of each of several systems, against brute force."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prm.data_gen.rollout import main as rollout
from prm.eval.bench import BenchConfig, run_bench

from prm.errors import DataError
from prm.jsonl import read_jsonl, write_jsonl
from prm.problems import Problem
from prm.rollouts import Rollout, StopReason

SYSTEMS = ("small", "large", "old", "new")


def panel(path: Path, n_problems: int = 40) -> dict[str, list[tuple[str, bool, float]]]:
    """Write a panel; returns by problem the answer of each system, whether it is right, and the score it will get."""
    rng = random.Random(0)
    rows, known = [], {}
    for i in range(n_problems):
        problem, answers = Problem(f"What is {i}+1?", str(i + 1), f"p{i}"), []
        for index, system in enumerate(SYSTEMS):
            answer = rng.choice([str(i + 1), str(i + 1), "777", "999"])
            score = rng.choice([0.1, 0.5, 0.9])  # few values, so that there are ties
            steps = (f"{system} is sure to {score}", f"The answer is \\boxed{{{answer}}}")
            rows.append(Rollout(problem, steps, ("", "\n", ""), index, StopReason.EOS, system).to_dict())
            answers.append((answer, answer == str(i + 1), score))
        known[problem.problem] = answers
    write_jsonl(path, rows)
    return known


def judge(problem: str, steps: Sequence[str]) -> list[float]:
    return [1.0, float(steps[0].split()[-1])][: len(steps)]


def taken(answers: Sequence[tuple[str, bool, float]]) -> float:
    """The share of right ones among those of the highest score."""
    highest = max(score for _, _, score in answers)
    return float(np.mean([right for _, right, score in answers if score == highest]))


def voted(answers: Sequence[tuple[str, bool, float]]) -> float:
    """The share of right ones among the answers with the most votes."""
    votes: Mapping[str, int] = {answer: sum(other == answer for other, _, _ in answers) for answer, _, _ in answers}
    right = {answer: right for answer, right, _ in answers}
    return float(np.mean([right[answer] for answer, count in votes.items() if count == max(votes.values())]))


def config(tmp_path: Path, path: Path, **options: Any) -> BenchConfig:
    return BenchConfig(str(tmp_path / "out"), "in memory", [str(path)], benchmark="best_of_n", **options)


def test_all_of_a_panel_are_used_at_once_ties_shared(bench: SimpleNamespace, tmp_path: Path) -> None:
    known = panel(tmp_path / "panel.jsonl")
    verifier = bench.Verifier(judge)
    found = run_bench(config(tmp_path, tmp_path / "panel.jsonl", panel=True), verifier=verifier)
    assert list(found["subsets"]) == ["n=4"]  # a part of the systems is no draw of one distribution
    part = found["subsets"]["n=4"]
    best = [taken(answers) for answers in known.values()]
    vote = [voted(answers) for answers in known.values()]
    assert part["best_of_n"][0] == found["best_of_n"] == pytest.approx(np.mean(best))
    assert part["majority"][0] == pytest.approx(np.mean(vote))
    assert part["pass_at_n"][0] == np.mean([any(right for _, right, _ in answers) for answers in known.values()])
    assert part["gain_over_majority"][0] == pytest.approx(np.mean(best) - np.mean(vote))
    assert 0 < np.mean(best) < 1 and np.mean(best) != pytest.approx(np.mean(vote))
    records = {record["id"]: record for _, record in read_jsonl(tmp_path / "out" / "best_of_n.jsonl")}
    assert [records[f"p{i}"]["best_of_n"]["n=4"] for i in range(40)] == pytest.approx(best)
    assert [records[f"p{i}"]["majority"]["n=4"] for i in range(40)] == pytest.approx(vote)


def test_a_panel_without_one_of_its_systems_is_none(bench: SimpleNamespace, tmp_path: Path) -> None:
    panel(tmp_path / "panel.jsonl")
    rows = [row for _, row in read_jsonl(tmp_path / "panel.jsonl")]
    write_jsonl(tmp_path / "panel.jsonl", rows[:-1])
    with pytest.raises(DataError, match="not a panel: every problem needs exactly one sample of every system"):
        run_bench(config(tmp_path, tmp_path / "panel.jsonl", panel=True), verifier=bench.Verifier(judge))
    write_jsonl(tmp_path / "panel.jsonl", rows)
    with pytest.raises(DataError, match="Set panel to true"):
        run_bench(config(tmp_path, tmp_path / "panel.jsonl"), verifier=bench.Verifier(judge))


def test_the_recorded_systems_of_gsm8k_are_a_panel(bench: SimpleNamespace, data_dir: Path, tmp_path: Path) -> None:
    """A verifier that knows the largest system takes its solutions, with their recorded verdicts."""
    recorded, out = data_dir / "gsm8k_model_solutions.jsonl", tmp_path / "rollouts"
    source = ["--dataset_name", str(recorded), "--splitter", "line", "--num_problems", "40"]
    rollout(["--backend", "recorded", *source, "--output_dir", str(out)])
    rows = [row for _, row in read_jsonl(out / "rollouts.jsonl")]
    sources = {row["source"] for row in rows}
    assert len(sources) == 4 and len(rows) == 160
    largest = next(source for source in sources if "175b_verification" in source)
    favoured = {(row["problem"], tuple(row["steps"])) for row in rows if row["source"] == largest}
    verifier = bench.Verifier(lambda problem, steps: [float((problem, tuple(steps)) in favoured)] * len(steps))
    found = run_bench(config(tmp_path, out / "rollouts.jsonl", panel=True), verifier=verifier)
    verdicts = [row["175b_verification"]["is_correct"] for _, row in read_jsonl(recorded)][:40]
    assert found["best_of_n"] == pytest.approx(np.mean(verdicts), abs=0.03)
    assert found["subsets"]["n=4"]["pass_at_n"][0] >= found["best_of_n"]
