"""Few solutions that were all judged alike make nothing certain; intervals of few hold the truth as often as said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.compare import run_compare
from prm.eval.bench.processbench import MEASURES, compared
from prm.eval.bench.resample import intervals, share

from prm.stats.ranking import f1_of_accuracies


def records(hits: Sequence[bool], n_wrong: int) -> list[dict[str, Any]]:
    """Of solutions with an error, then of those without, judged right or not."""
    labels = [0 if i < n_wrong else -1 for i in range(len(hits))]
    return [
        {"subset": "s", "problem": str(i), "label": label, "predicted": label if hit else 5}
        for i, (hit, label) in enumerate(zip(hits, labels, strict=True))
    ]


def bars(hits: Sequence[bool], n_wrong: int, resamples: int = 500) -> dict[str, tuple[float, float, float]]:
    rows = records(hits, n_wrong)
    found = intervals(compared(rows), ["s"] * len(rows), [str(row["problem"]) for row in rows], resamples=resamples)
    return {key: (one.low, one.mean, one.high) for key in MEASURES for one in [found[f"s/{key}"]]}


def test_nothing_found_among_few_is_no_proof_of_nothing() -> None:
    found = bars([False] * 29, 16)
    for key, low, high in (("first_error_accuracy", 0.08, 0.2), ("all_correct_accuracy", 0.1, 0.24)):
        assert found[key][:2] == (0, 0) and low < found[key][2] < high, key
    assert found["first_error_f1"][:2] == (0, 0) and 0.03 < found["first_error_f1"][2] < 0.2
    found = bars([True] * 29, 16)
    assert all(one[1:] == (1, 1) and 0.7 < one[0] < 0.95 for one in found.values())


def test_where_counts_are_large_the_interval_is_the_bootstraps() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random(600) < 0.4
    rows, names = records(hits.tolist(), 300), ["s"] * 600
    smoothed = intervals(compared(rows), names, [str(i) for i in range(600)])
    plain = intervals(lambda drawn, draw: compared(rows)(drawn, None), names, [str(i) for i in range(600)])
    for key in ("s/first_error_f1", "mean"):
        assert smoothed[key].mean == plain[key].mean
        assert smoothed[key].low == pytest.approx(plain[key].low, abs=0.01)
        assert smoothed[key].high == pytest.approx(plain[key].high, abs=0.01)


@pytest.mark.parametrize(("on_wrong", "on_right"), [(0.05, 0.05), (0.95, 0.9)])
def test_of_a_hundred_intervals_about_ninety_five_hold_the_truth(on_wrong: float, on_right: float) -> None:
    """At 15 wrong and 15 right solutions; the bootstrap alone holds it 30 and 87 times, the accuracies' 48 to 78."""
    rng, n, trials = np.random.default_rng(0), 15, 80
    truth = dict(zip(MEASURES, (f1_of_accuracies(on_wrong, on_right), on_wrong, on_right), strict=True))
    held = dict.fromkeys(MEASURES, 0)
    for _ in range(trials):
        hits = rng.random(2 * n) < np.where(np.arange(2 * n) < n, on_wrong, on_right)
        for key, (low, _, high) in bars(hits.tolist(), n, resamples=100).items():
            held[key] += low <= truth[key] <= high
    assert all(count >= 0.9 * trials for count in held.values()), held


def test_half_a_hit_is_half_a_problem_of_several_solutions() -> None:
    rng = np.random.default_rng(0)
    few, many = (
        np.quantile([share(np.zeros(rows), rng, rows / 10) for _ in range(500)], 0.975) for rows in (10, 1000)
    )
    assert many == pytest.approx(few, rel=0.2) and many > 0.1


def test_runs_that_agree_on_few_solutions_are_not_equal_for_certain(bench: SimpleNamespace, tmp_path: Path) -> None:
    rows = [bench.solution(["ok", "bad"] if i % 2 else ["ok"], 1 if i % 2 else -1, f"p{i}") for i in range(20)]
    files = [bench.write(rows)]
    for name, low in (("a", 0.1), ("b", 0.2)):  # the same verdicts, other scores
        verifier = bench.Verifier(lambda _, steps, low=low: [low if s == "bad" else 0.9 for s in steps], revision=name)
        run_bench(BenchConfig(str(tmp_path / name), "x", files), verifier=verifier)
    entries = [str(tmp_path / "a"), str(tmp_path / "b")]
    (one,) = run_compare(BenchConfig(str(tmp_path / "board"), compare=entries)).differences
    assert one.mean.mean == 0 and -0.3 < one.mean.low < -0.03 and 0.03 < one.mean.high < 0.3


def test_accepting_every_planted_error_leaves_doubt(bench: SimpleNamespace, tmp_path: Path) -> None:
    row = {"modified_process": ["ok", "bad"], "error_steps": [2], "classification": "circular"}
    files = [bench.write([row | {"idx": str(i), "modified_question": f"q{i}"} for i in range(10)])]
    config = BenchConfig(str(tmp_path / "out"), "x", files, benchmark="prmbench")
    found = run_bench(config, verifier=bench.Verifier(lambda _, steps: [0.9] * len(steps)))
    low, high = found["subsets"]["circular"]["interval"]
    assert low < found["prm_score"] < high - 0.05
