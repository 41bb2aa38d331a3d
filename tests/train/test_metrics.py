"""The metric modules load by path, offline, and compute what their definitions say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from prm.errors import ConfigError
from prm.metrics import first_errors, load_metric, metric_intervals, metric_path, verifier_metrics

ROOT = Path(__file__).resolve().parents[2]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("name", ["step_accuracy", "auroc", "first_error_f1"])
def test_modules_load_by_path_without_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    import evaluate

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert evaluate.load(str(ROOT / "eval" / "metrics" / name)).name == name
    assert metric_path(name).samefile(ROOT / "eval" / "metrics" / name)


def test_their_numbers() -> None:
    accuracy = load_metric("step_accuracy").compute(predictions=[0.9, 0.5, 0.6, 0.1], references=[1, 1, 0, 0])
    assert accuracy == {"step_accuracy": 0.75, "base_rate": 0.5}
    scores, labels = [0.9, 0.2, 0.6, 0.6], [1, 0, 1, 0]
    auroc = load_metric("auroc").compute(predictions=scores, references=labels, groups=[0, 0, 1, 1])
    assert auroc == {"auroc": 0.875, "auroc_within": 0.75}
    f1 = load_metric("first_error_f1").compute(predictions=[2, -1, 0, 1], references=[2, -1, 1, -1])
    assert f1 == {"first_error_f1": 0.5, "first_error_accuracy": 0.5, "all_correct_accuracy": 0.5}


def test_the_examples_in_their_documentation_are_true() -> None:
    import doctest

    import evaluate

    for name in ("step_accuracy", "auroc", "first_error_f1"):
        text = load_metric(name).inputs_description.replace("eval/metrics", str(ROOT / "eval" / "metrics"))
        examples = doctest.DocTestParser().get_doctest(text, {"evaluate": evaluate}, name, None, None)
        assert examples.examples
        assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no metric 'auc'; there are auroc, first_error_f1, step_accuracy"):
        metric_path("auc")


MARGINS = np.array([[logit(0.9), logit(0.8), logit(0.2)], [logit(0.7), logit(0.6), 99.0], [logit(0.3), 0.1, 0.0]])
TARGETS = np.array([[1.0, 1.0, 0.0], [1.0, 0.5, -100.0], [-1.0, 0.0, -100.0]])
HARD = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, -100.0], [-1.0, 0.0, -100.0]])


def test_verifier_metrics_by_hand() -> None:
    found = verifier_metrics(MARGINS, TARGETS, HARD, np.array([0, 1, 1]), kind="prm")
    scores, labels = [0.9, 0.8, 0.2, 0.7, 0.6, 1 / (1 + math.exp(-0.1))], [1, 1, 0, 1, 1, 0]
    soft = [1, 1, 0, 1, 0.5, 0]
    loss = -np.mean([y * math.log(p) + (1 - y) * math.log(1 - p) for p, y in zip(scores, soft, strict=True)])
    assert found["loss"] == pytest.approx(loss)
    assert found["step_accuracy"] == pytest.approx(5 / 6)
    assert found["base_rate"] == pytest.approx(4 / 6)
    assert found["auroc"] == 1.0 and found["auroc_within"] == 1.0
    assert found["first_error_f1"] == 1.0
    assert len(labels) == 6


def test_solutions_whose_first_error_is_not_known_do_not_count() -> None:
    predicted, true = first_errors(1 / (1 + np.exp(-MARGINS)), HARD, 0.5)
    assert (predicted, true) == ([2, -1], [2, -1])  # the third has an unknown step before its error


def test_metrics_that_need_both_classes_are_left_out() -> None:
    found = verifier_metrics(MARGINS[1:2], TARGETS[1:2], HARD[1:2], np.array([0]), kind="prm")
    assert set(found) == {"loss", "step_accuracy", "base_rate", "all_correct_accuracy"}
    assert verifier_metrics(MARGINS, TARGETS, np.full_like(HARD, -1), np.array([0, 1, 2]), kind="prm") == {}


def test_intervals_hold_the_point_and_rest_on_problems() -> None:
    rng = np.random.default_rng(0)
    hard = (rng.random((120, 3)) < 0.6).astype(float)
    margins = rng.normal(size=hard.shape) + 2 * hard - 1
    groups = np.repeat(np.arange(40), 3)
    point = verifier_metrics(margins, hard, hard, groups, kind="prm")
    bars = metric_intervals(margins, hard, hard, groups, kind="prm", resamples=100)
    assert set(bars) == {"loss", "step_accuracy", "auroc", "auroc_within", "first_error_f1"}
    for name, bar in bars.items():
        assert bar["value"] == point[name]
        assert bar["low"] < bar["value"] < bar["high"]
    assert bars["auroc"]["n"] == 40
