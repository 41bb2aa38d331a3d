"""How the threshold is chosen: fixed, fitted on other files, or cross-fitted; and the cases without an F1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.resample import intervals
from prm.eval.bench.thresholds import CrossFitted, FittedOn, Fixed, Solutions

from prm.errors import ConfigError
from prm.jsonl import read_jsonl
from prm.stats.ranking import first_error_f1, first_error_from_scores
from prm.stats.thresholds import fit_first_error_threshold

THRESHOLDS = np.linspace(0, 1, 41)


def random_solutions(n: int, seed: int = 0) -> tuple[list[list[float]], list[int]]:
    """Scores on a grid, so that ties occur, and first errors that low scores hint at."""
    rng = np.random.default_rng(seed)
    scores, labels = [], []
    for _ in range(n):
        label = int(rng.integers(-1, 4))
        steps = rng.integers(4, 11, size=5) / 10
        if label >= 0:
            steps[label] = rng.integers(0, 7) / 10
        scores.append(steps.tolist())
        labels.append(label)
    return scores, labels


def test_the_interval_of_thresholds_says_what_the_scores_say() -> None:
    scores, labels = random_solutions(300)
    solutions = Solutions.of(scores, labels, ["p"] * 300)
    rows = np.arange(300)
    for threshold in THRESHOLDS:
        predicted = [first_error_from_scores(one, threshold) for one in scores]
        assert (solutions.hits(rows, np.full(300, threshold)) == (np.array(predicted) == labels)).all()


def test_a_fit_is_that_of_all_scores() -> None:
    for seed in range(5):
        scores, labels = random_solutions(80, seed)
        hard = [[1.0 if i < e or e < 0 else 0.0 if i == e else -1.0 for i in range(5)] for e in labels]
        expected = fit_first_error_threshold(np.array(scores), np.array(hard))
        found = Solutions.of(scores, labels, ["p"] * 80).fit(np.arange(80))

        def f1(threshold: float, scores: Any = scores, labels: Any = labels) -> float:
            return first_error_f1([first_error_from_scores(one, threshold) for one in scores], labels).f1

        assert expected is not None
        assert f1(found) == pytest.approx(expected.fitted)
        assert f1(found) == pytest.approx(max(f1(t) for t in THRESHOLDS))


def test_a_solution_that_is_too_long_counts_as_no_error_found() -> None:
    solutions = Solutions.of([None, None, [0.5]], [-1, 0, 0], ["a", "b", "c"])
    for threshold in THRESHOLDS:
        hits = solutions.hits(np.arange(2), np.full(2, threshold))
        assert hits.tolist() == [True, False]
    assert solutions.fit(np.arange(3)) > 0.5


def test_each_part_has_the_threshold_of_the_others_and_a_problem_is_in_one_part() -> None:
    scores, labels = random_solutions(60)
    problems = [f"p{i // 3}" for i in range(60)]
    solutions = Solutions.of(scores, labels, problems)
    choice = CrossFitted.of(solutions, 4, seed=1)
    assert all(len({int(choice.part_N[i]) for i in range(60) if problems[i] == p}) == 1 for p in problems)
    rows = np.arange(60)
    thresholds = choice.thresholds(rows, None)
    for part in range(4):
        others = rows[choice.part_N != part]
        assert (thresholds[choice.part_N == part] == solutions.fit(others)).all()


def test_without_wrong_or_right_solutions_nothing_is_fitted() -> None:
    solutions = Solutions.of([[0.5], [0.4]], [-1, -1], ["a", "b"])
    assert math.isnan(solutions.fit(np.arange(2)))
    assert np.isnan(CrossFitted.of(solutions, 2, seed=0).thresholds(np.arange(2), None)).all()
    assert Fixed(0.3).thresholds(np.arange(2), None).tolist() == [0.3, 0.3]


def test_a_resample_fits_anew_and_keeps_the_size_of_each_subset() -> None:
    scores, labels = random_solutions(80)
    fit = Solutions.of(scores, labels, ["p"] * 80)
    choice = FittedOn(fit)
    rng = np.random.default_rng(0)
    assert len({float(choice.thresholds(np.arange(1), rng)[0]) for _ in range(40)}) > 1
    subsets = ["a"] * 10 + ["b"] * 20
    sizes: set[tuple[int, int]] = set()

    def statistic(rows: Any, draw: Any) -> dict[str, float]:
        sizes.add((int((rows < 10).sum()), int((rows >= 10).sum())))
        return {"x": float(rows.mean()), "never": math.nan}

    found = intervals(statistic, subsets, [str(i) for i in range(30)], resamples=50)
    assert sizes == {(10, 20)}
    assert found["x"].low < found["x"].mean < found["x"].high
    assert math.isnan(found["never"].low)


def shy(problem: str, steps: Sequence[str]) -> list[float]:
    """Knows wrong steps, and says so under its breath."""
    return [0.7 if step == "bad" else 0.9 for step in steps]


@pytest.fixture
def rows(bench: SimpleNamespace) -> list[dict[str, Any]]:
    return [
        bench.solution(["ok", "bad"] if i % 2 else ["ok", "ok"], 1 if i % 2 else -1, f"problem {i}") for i in range(20)
    ]


def config(tmp_path: Path, path: str, **options: Any) -> BenchConfig:
    return BenchConfig(str(tmp_path / "out"), "in memory", [path], overwrite=True, **options)


def test_cross_fitting_finds_what_the_own_threshold_misses(
    bench: SimpleNamespace, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = bench.write(rows)
    verifier = bench.Verifier(shy)
    assert run_bench(config(tmp_path, path), verifier=verifier)["mean_f1"] == 0.0
    fitted = run_bench(config(tmp_path, path, cross_fit=5), verifier=verifier)
    assert fitted["mean_f1"] == 1.0
    assert all(0.7 < one <= 0.9 for one in fitted["thresholds"])
    shown = ", ".join(f"{one:.3f}" for one in fitted["thresholds"])
    assert fitted["threshold_choice"] == f"cross-fitted in 5 parts: {shown}"


def test_each_fold_shows_its_threshold_and_each_solution_the_one_it_was_judged_at(
    bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    scores, labels = rng.random((60, 3)).tolist(), rng.integers(-1, 3, size=60).tolist()  # no threshold is good
    rows = [
        bench.solution([str(one) for one in steps], e, f"p{i}")
        for i, (steps, e) in enumerate(zip(scores, labels, strict=True))
    ]
    verifier = bench.Verifier(lambda _, steps: [float(step) for step in steps])
    found = run_bench(config(tmp_path, bench.write(rows), cross_fit=4), verifier=verifier)
    choice = CrossFitted.of(Solutions.of(scores, labels, [f"p{i}" for i in range(60)]), 4, seed=0)
    expected = choice.thresholds(np.arange(60), None)
    assert len(set(expected)) > 1 and found["thresholds"] == sorted(set(expected.tolist()))
    records = [record for _, record in read_jsonl(tmp_path / "out" / "processbench.jsonl")]
    assert [record["threshold"] for record in records] == expected.tolist()
    said = "cross-fitted in 4 parts: " + ", ".join(f"{one:.3f}" for one in found["thresholds"])
    assert said in capsys.readouterr().out and said in (tmp_path / "out" / "report.html").read_text()


def test_a_threshold_fitted_on_another_file_is_used_on_this_one(
    bench: SimpleNamespace, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    path, other = bench.write(rows[:10]), bench.write(rows[10:], "other.json")
    found = run_bench(config(tmp_path, path, fit_files=[other]), verifier=bench.Verifier(shy))
    assert found["mean_f1"] == 1.0
    assert found["subsets"]["subset"]["solutions"] == 10
    (threshold,) = found["thresholds"]
    assert found["threshold_choice"] == f"{threshold:.3f}, fitted on 10 other solutions"
    with pytest.raises(ConfigError, match="20 problems of files are in fit_files too"):
        run_bench(config(tmp_path, bench.write(rows), fit_files=[bench.write(rows, "o.json")]))


@pytest.mark.parametrize(
    "options", [{"cross_fit": 1}, {"cross_fit": 3, "threshold": 0.5}, {"benchmark": "process_bench"}]
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"cross_fit|did you mean 'processbench'"):
        config(tmp_path, "x.json", **options)
