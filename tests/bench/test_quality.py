"""What a run says of the scores by themselves: ranking, calibration, and whether they follow place or length."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.processbench import judged_steps
from prm.eval.bench.quality import Judged, Quality, quality_of
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
    for name, measured in (("ece", found.ece), ("brier", found.brier)):
        again = load_metric(name).compute(predictions=judged.scores, references=judged.labels)[name]
        assert measured.mean == pytest.approx(again) and measured.low <= measured.mean <= measured.high


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
    assert found.brier.mean == pytest.approx(0.01)


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


def test_every_measure_of_the_page_has_an_interval_and_one_problem_is_no_certainty(
    bench: SimpleNamespace, tmp_path: Path
) -> None:
    rng = random.Random(2)
    rows = [bench.solution([str(rng.random()) for _ in range(5)], rng.randint(-1, 4), f"p{i // 2}") for i in range(40)]
    verifier = bench.Verifier(lambda problem, steps: [float(step) for step in steps])
    files = [bench.write(rows, "gsm8k.json")]
    found = run_bench(BenchConfig(str(tmp_path / "out"), "in memory", files, threshold=0.3), verifier=verifier)
    quality = Quality.from_dict(found["quality"])
    for one in (quality.auroc, quality.auroc_within, quality.auprc_of_wrong, quality.ece, quality.brier):
        assert one is not None and one.low < one.mean < one.high


def test_the_page_says_what_was_measured_on_what_and_when(bench: SimpleNamespace, tmp_path: Path) -> None:
    rows = [bench.solution(["a\nb", "c"], 1, "p"), bench.solution(["c"], -1, "q")]
    config = BenchConfig(str(tmp_path / "out"), "runs/prm", [bench.write(rows, "gsm8k.json")])
    found = run_bench(config, verifier=bench.Verifier(lambda problem, steps: [0.9 for _ in steps]))
    page = (tmp_path / "out" / "report.html").read_text()
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    ((name, digest),) = found["settings"]["files"]
    for said in (name, digest, "runs/prm", run["started"][:10], "arXiv 2412.06559", "First error found: of the"):
        assert said in page, said
    assert "Steps of gsm8k with the verifier&#39;s separator in them (read as a space): 1." in page
