"""`prm bench --benchmark best_of_n`: recorded samples, graded and scored, and what the highest score is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.bench import BenchConfig, run_bench

from prm.errors import ConfigError, DataError
from prm.jsonl import write_jsonl
from prm.problems import Problem
from prm.rollouts import Rollout, StopReason


@pytest.fixture
def samples(tmp_path: Path) -> str:
    """Five problems with four samples each, one of them right, three of them equal and wrong."""
    rows = []
    for i in range(5):
        problem = Problem(f"What is {i}+1?", str(i + 1), f"p{i}")
        for index in range(4):
            answer = i + 1 if index == i % 4 else 99
            steps = ("think", f"The answer is \\boxed{{{answer}}}")
            gaps = ("", "\n", "")
            rows.append(Rollout(problem, steps, gaps, index, StopReason.EOS, "model").to_dict())
    path = tmp_path / "samples.jsonl"
    write_jsonl(path, rows)
    return str(path)


def judge(problem: str, steps: Sequence[str]) -> list[float]:
    return [0.5, 0.1 if "99" in steps[-1] else 0.9][: len(steps)]


def config(tmp_path: Path, path: str, **options: Any) -> BenchConfig:
    return BenchConfig(str(tmp_path / "out"), "in memory", [path], benchmark="best_of_n", overwrite=True, **options)


def test_the_highest_score_beats_a_wrong_majority(bench: SimpleNamespace, samples: str, tmp_path: Path) -> None:
    verifier = bench.Verifier(judge)
    found = run_bench(config(tmp_path, samples), verifier=verifier)
    assert list(found["subsets"]) == ["n=1", "n=2", "n=4"]
    last = found["subsets"]["n=4"]
    assert last["best_of_n"][0] == last["pass_at_n"][0] == 1.0
    assert last["majority"][0] == 0.0
    assert last["gain_over_majority"][0] == 1.0
    assert found["subsets"]["n=1"]["best_of_n"][0] == pytest.approx(0.25)
    assert len(verifier.read) == 10  # two distinct solutions of each problem
    assert found["quality"]["auroc"]["mean"] == 1.0
    assert "100.0% right, +100.0" in (tmp_path / "out" / "report.html").read_text()


def test_a_problem_that_bounds_n_for_all_is_named(
    bench: SimpleNamespace, samples: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path(samples).read_text().splitlines(keepends=True)
    Path(samples).write_text("".join(rows[:9] + rows[12:]))  # three of p2's four are gone
    found = run_bench(config(tmp_path, samples), verifier=bench.Verifier(judge))
    said = "n ends at 1, for problem p2 has no more samples; others have up to 4"
    assert list(found["subsets"]) == ["n=1"] and found["notes"] == [said]
    assert f"note: {said}" in capsys.readouterr().out and said[1:] in (tmp_path / "out" / "report.html").read_text()
    Path(samples).write_text("".join(rows[:2] + rows[4:10] + rows[12:]))  # two of p0's and of p2's
    found = run_bench(config(tmp_path, samples), verifier=bench.Verifier(judge))
    assert found["notes"] == ["n ends at 2, for problem p0 and 1 other have no more samples; others have up to 4"]


def test_an_orm_and_another_fold_are_read_too(bench: SimpleNamespace, samples: str, tmp_path: Path) -> None:
    orm = run_bench(config(tmp_path, samples), verifier=bench.Verifier(judge, spec=bench.orm))
    assert orm["best_of_n"] == 1.0
    found = run_bench(config(tmp_path, samples, agg_strategy="prod"), verifier=bench.Verifier(judge))
    assert found["threshold_choice"] == "no threshold: the highest score (step scores folded by 'prod') is taken"
    with pytest.raises(ConfigError, match="agg_strategy must be one of"):
        run_bench(config(tmp_path, samples, agg_strategy="max"), verifier=bench.Verifier(judge))


def test_samples_of_several_systems_are_a_panel_or_nothing(
    bench: SimpleNamespace, samples: str, tmp_path: Path
) -> None:
    text = Path(samples).read_text().replace('"source": "model"', '"source": "other"', 1)
    Path(samples).write_text(text)
    with pytest.raises(DataError, match="different systems"):
        run_bench(config(tmp_path, samples), verifier=bench.Verifier(judge))


def test_a_threshold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="best_of_n has no threshold"):
        config(tmp_path, "x", threshold=0.5)
