"""What a run says of the scores by themselves: ranking, calibration, and whether they follow place or length."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.processbench import judged_steps
from prm.eval.bench.quality import Judged, quality_of
from prm.eval.bench.rows import BenchRow

from prm.metrics import load_metric


def test_steps_behind_the_first_wrong_one_were_never_judged() -> None:
    rows = [BenchRow("1", "p", ("a", "b", "c"), 1, False), BenchRow("2", "q", ("a", "b"), -1, True)]
    judged = judged_steps(rows, [[0.9, 0.2, 0.1], [0.8, 0.7]])
    assert judged.scores == [0.9, 0.2, 0.8, 0.7]
    assert judged.labels == [1, 0, 1, 1]
    found = quality_of(judged)
    assert found is not None and found.auroc is not None and found.auprc_of_wrong is not None
    assert (found.n, found.wrong, found.auroc.mean, found.auprc_of_wrong.mean) == (4, 0.25, 1.0, 1.0)
    assert found.ece == load_metric("ece").compute(predictions=judged.scores, references=judged.labels)["ece"]


def test_scores_that_follow_place_and_length_are_found_out() -> None:
    rng = random.Random(0)
    rows, fair, biased = [], [], []
    for i in range(60):
        steps = tuple("x" * 5 for _ in range(rng.randint(2, 8)))
        rows.append(BenchRow(str(i), f"p{i}", steps, -1, True))
        fair.append([rng.random() for _ in steps])
        biased.append([0.9 - 0.1 * place + 0.01 * rng.random() for place in range(len(steps))])
    honest, found = (quality_of(judged_steps(rows, scores)) for scores in (fair, biased))
    assert found is not None and found.place is not None and found.steps is not None
    assert found.place.mean == pytest.approx(-1.0)
    assert found.steps.high < -0.8  # the lowest score of a long solution is lower
    assert honest is not None and honest.place is not None
    assert honest.place.low < 0 < honest.place.high


def test_without_both_kinds_there_is_no_ranking() -> None:
    judged = Judged.nothing()
    assert quality_of(judged) is None
    judged.add_item(0.9, 1, "p")
    found = quality_of(judged)
    assert found is not None and found.auroc is None and found.auprc_of_wrong is None
    assert found.brier == pytest.approx(0.01)


def test_the_metric_module_says_what_the_run_says(bench: SimpleNamespace, tmp_path: Path) -> None:
    rng = random.Random(1)
    rows = [bench.solution([str(rng.random()) for _ in range(4)], rng.randint(-1, 3), f"p{i}") for i in range(60)]
    verifier = bench.Verifier(lambda problem, steps: [float(step) for step in steps])
    files = [bench.write(rows[:30], "a.json"), bench.write(rows[30:], "b.json")]
    found = run_bench(BenchConfig(str(tmp_path / "out"), "in memory", files, threshold=0.3), verifier=verifier)
    records = [json.loads(line) for line in (tmp_path / "out" / "processbench.jsonl").read_text().splitlines()]
    again = load_metric("processbench").compute(
        predictions=[record["scores"] for record in records],
        references=[record["label"] for record in records],
        subsets=[record["subset"] for record in records],
        threshold=0.3,
    )
    assert found["mean_f1"] > 0
    assert again["mean_f1"] == pytest.approx(found["mean_f1"])
    assert again["f1_b"] == pytest.approx(found["subsets"]["b"]["first_error_f1"])
