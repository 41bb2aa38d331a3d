"""What a run says of its held-out rows is of the verifier it wrote, cross-fitted where these rows settled it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prm.calibration import fit_temperature
from prm.config import parse_config
from prm.metrics import cross_fitted_intervals
from prm.metrics.points import fit_threshold
from prm.metrics.predictions import Predictions
from prm.rows.training_rows import StepRow
from prm.stats.ranking import first_error_f1, first_error_from_scores
from prm.stats.thresholds import problem_folds
from prm.train import TrainScriptArguments, VerifierModelConfig, run_train
from prm.training.config import VerifierConfig
from prm.training.page.sections import held_out_section
from prm.training.report import summary
from prm.training.settling import Settled, after_training, cross_fitted, scaled_by
from prm.training.trainer import VerifierTrainer
from prm.verifier import Verifier

Rows = Callable[..., list[StepRow]]


def overconfident(problems: int = 40, *, seed: int = 0) -> Predictions:
    """Four solutions of three steps for each problem, with margins three times too large and a threshold below .5."""
    rng = np.random.default_rng(seed)
    hard = (rng.random((4 * problems, 3)) < 0.7).astype(float)
    margins = 3 * (rng.normal(size=hard.shape) + 2.0 * (hard - 0.5)) - 1
    sources = np.arange(4 * problems) % 2
    return Predictions(margins, hard, hard, np.repeat(np.arange(problems), 4), sources, ("judge", "truth"))


def config(folder: Path, **others: Any) -> VerifierConfig:
    return VerifierConfig(output_dir=str(folder), use_cpu=True, disable_tqdm=True, save_strategy="no", **others)


@pytest.mark.parametrize("objective", ["prm", "orm"])
def test_each_fold_is_scored_and_judged_with_what_the_others_settled(tmp_path: Path, objective: str) -> None:
    arguments, held_out = config(tmp_path, objective=objective), overconfident()
    settled = after_training(arguments, "truth", held_out)
    crossed = cross_fitted(settled, held_out)
    assert crossed is not None and settled.temperature > 1.5
    scaled, threshold_N = crossed
    fold_N = problem_folds(held_out.groups_N)
    assert sorted(set(fold_N)) == [0, 1, 2, 3, 4]
    for number in range(5):
        rest = held_out.take(fold_N != number)
        temperature = fit_temperature(rest.margins_NS, rest.targets_NS, rest.groups_N).value
        fitted: Any = fit_threshold(scaled_by(rest, temperature), arguments.rows_kind)
        own = fold_N == number
        assert scaled.margins_NS[own] == pytest.approx(held_out.margins_NS[own] / temperature, rel=1e-12)
        assert threshold_N[own] == pytest.approx(fitted.value, rel=1e-12)


def test_a_folds_own_labels_settle_nothing_of_it(tmp_path: Path) -> None:
    arguments, held_out = config(tmp_path), overconfident()
    own = problem_folds(held_out.groups_N) == 2
    turned = np.where(own[:, None], 1 - held_out.hard_NS, held_out.hard_NS)
    other = Predictions(held_out.margins_NS, turned, turned, held_out.groups_N)
    one, two = (after_training(arguments, "truth", rows) for rows in (held_out, other))
    assert one.calibration is not None and two.calibration is not None and one.threshold != two.threshold
    assert one.calibration.of_folds[2] == two.calibration.of_folds[2]
    assert one.threshold_of_folds[2] == two.threshold_of_folds[2]
    assert one.threshold_of_folds[1] != two.threshold_of_folds[1]


def test_the_metrics_are_those_of_the_crossed_scores_by_hand(tmp_path: Path) -> None:
    held_out = overconfident()
    settled = after_training(config(tmp_path), "truth", held_out)
    scaled, threshold_N = cross_fitted(settled, held_out) or pytest.fail("nothing was crossed")
    found = cross_fitted_intervals(scaled, threshold_N, kind="prm", resamples=50)
    told: Any = settled.calibration
    assert found["ece"]["value"] == pytest.approx(told.ece_after)  # one number, wherever it is shown
    assert found["loss"]["value"] == pytest.approx(told.nll_after)
    scores = 1 / (1 + np.exp(-scaled.margins_NS))
    predicted = [first_error_from_scores(row, at) for row, at in zip(scores, threshold_N, strict=True)]
    true = [int(row.argmin()) if (row == 0).any() else -1 for row in held_out.hard_NS]
    f1 = first_error_f1(predicted, true).f1
    assert found["first_error_f1"]["value"] == pytest.approx(f1)
    assert settled.fitted_threshold is not None and f1 < settled.fitted_threshold.fitted  # which is optimistic
    right = (scores >= threshold_N[:, None]) == (held_out.hard_NS == 1)
    assert found["step_accuracy"]["value"] == pytest.approx(right.mean())
    assert found["judge/step_accuracy"]["value"] == pytest.approx(right[::2].mean())
    assert all(bar["low"] <= bar["value"] <= bar["high"] and bar["n"] == 40 for bar in found.values())
    outcomes = cross_fitted_intervals(scaled, threshold_N, kind="orm", resamples=50)
    assert {
        "loss",
        "brier",
        "ece",
        "accuracy",
        "truth/accuracy",
    } <= outcomes.keys() and "step_accuracy" not in outcomes


def test_one_problem_says_nothing_of_what_was_fitted_on_it(tmp_path: Path) -> None:
    held_out = overconfident(1)
    settled = after_training(config(tmp_path), "truth", held_out)
    assert settled.fitted_threshold is not None and cross_fitted(settled, held_out) is None
    given = after_training(config(tmp_path, threshold=0.3), "truth", held_out)
    scaled, threshold_N = cross_fitted(given, held_out) or pytest.fail("nothing was fitted")
    assert (scaled.margins_NS == held_out.margins_NS).all() and (threshold_N == 0.3).all()


def test_what_a_run_measures_is_what_it_wrote(
    base_dir: Callable[..., Path], rows_file: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    held_out = make_rows(30, per_problem=2, seed=3)
    lines = [{"prompt": r.prompt, "completions": r.completions, "labels": r.labels} for r in held_out]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = {
        "model_name_or_path": base_dir(), "dataset_name": rows_file(24), "output_dir": tmp_path / "out",
        "eval_dataset_name": tmp_path / "held_out.jsonl", "use_cpu": True, "learning_rate": 0.05,
        "calibrate": False, "threshold": 0.4, "disable_tqdm": True, "max_steps": 6,
    }  # fmt: skip
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    result = run_train(*parse_config([TrainScriptArguments, VerifierConfig, VerifierModelConfig], arguments))
    verifier = Verifier.from_pretrained(tmp_path / "out", device="cpu", dtype="float32")
    scores = [score for row in held_out for score in verifier.score(row.prompt, row.completions)]
    right = [(score >= 0.4) == bool(label) for score, label in zip(scores, labels_of(held_out), strict=True)]
    measured, before = result.metrics["eval"], result.metrics["eval_before_calibration"]
    assert measured["step_accuracy"]["value"] == pytest.approx(np.mean(right))
    assert set(measured) == {name for name in before if not name.endswith("_fitted")}
    for name, bar in measured.items():
        assert bar == pytest.approx(before[name]), name  # nothing was fitted
    assert "that the others give" in summary(tmp_path / "out", result.metrics)


def labels_of(rows: list[StepRow]) -> list[float | None]:
    return [label for row in rows for label in row.labels]


def test_a_calibrated_run_keeps_its_order_and_mends_its_error(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=make_rows(8))
    held_out = overconfident()
    before = trainer.final_evaluation(held_out)
    settled: Settled = trainer.settle(held_out)
    after = trainer.settled_evaluation(held_out, before)
    assert settled.temperature > 1.5 and after["loss"]["value"] < before["loss"]["value"]
    assert after["first_error_f1"]["value"] > before["first_error_f1"]["value"]
    assert after["judge/auroc"] == before["judge/auroc"] and after["auroc_within"] == before["auroc_within"]
    assert not [name for name in after if name.endswith("_fitted")]  # the threshold of another fit
    section = held_out_section(after, before)
    first, *_, last = section.tables
    assert "Of the verifier as it was saved" in first.caption and "before calibration" in last.caption
    assert ["First-error F1", after["first_error_f1"]["value"]] in [[row[0], row[1].mean] for row in first.rows]
    assert ["First-error F1", before["first_error_f1"]["value"]] in [[row[0], row[1].mean] for row in last.rows]


def test_best_of_n_is_chosen_by_the_calibrated_scores(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    """`mean` depends on the temperature, which a language model's own head has in its spec alone."""
    lines = [
        {
            "problem": f"{10 + problem}+{3 - problem}", "answer": "13", "unique_id": f"p{problem}", "source": "s",
            "steps": [f"{problem}+{index}=3", f"{index}+9=1{index}"], "gaps": ["", "", ""], "sample_index": index,
            "stop_reason": "eos", "pred": str(index), "outcome": "correct" if index == 2 else "wrong",
        }
        for problem in range(4) for index in range(6)
    ]  # fmt: skip
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = config(tmp_path, objective="reward_tokens", aggregation="mean", eval_samples_path=str(path))
    trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=make_rows(16))
    before, held_out = trainer.final_evaluation(overconfident()), overconfident()
    settled = trainer.settle(held_out)
    assert settled.temperature > 1.5
    asked: list[np.ndarray] = []
    plain = trainer.samples.gain
    trainer.samples = _Recording(trainer.samples, plain, asked)
    assert trainer.settled_evaluation(held_out, before)["best_of_n"]["n"] == 4
    trainer.samples = trainer.samples.samples
    trainer.settled = Settled(1.0, 0.5, "mean")
    trainer.samples = _Recording(trainer.samples, plain, asked)
    trainer.best_of_n()
    calibrated, uncalibrated = asked
    assert calibrated == pytest.approx(uncalibrated / settled.temperature)


class _Recording:
    """Recorded samples that keep the margins they are asked about."""

    def __init__(self, samples: Any, gain: Callable[..., Any], asked: list[np.ndarray]):
        self.samples, self.dataset, self._gain, self._asked = samples, samples.dataset, gain, asked

    def gain(self, margins_RS: np.ndarray, *others: Any) -> Any:
        self._asked.append(margins_RS)
        return self._gain(margins_RS, *others)
