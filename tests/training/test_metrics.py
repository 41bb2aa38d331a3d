"""The metric modules load by path, offline, and compute what their definitions say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prm.errors import ConfigError, DataError
from prm.metrics import (
    check_metric,
    greater_is_better,
    load_metric,
    metric_intervals,
    metric_path,
    verifier_metrics,
)
from prm.stats import calibration, ranking
from prm.stats.thresholds import first_errors, fit_first_error_threshold, halves

ROOT = Path(__file__).resolve().parents[2]
MODULES = [
    *("auprc_of_wrong", "auroc", "best_of_n", "brier", "ece", "first_error_f1"),
    *("prm_score", "processbench", "step_accuracy"),
]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize("name", MODULES)
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


@pytest.mark.parametrize(
    ("scores", "references", "message"),
    [
        ([[0.9, math.nan], [0.5]], [1, -1], "a score of solution 0 is not a finite number"),
        ([[0.9, 0.1], [0.5]], [1, 1], "solution 1 has 1 scores, and its first wrong step is said to be 1"),
        ([[0.9, 0.1], [0.5]], [-2, -1], "solution 0 has 2 scores, and its first wrong step is said to be -2"),
    ],
)
def test_processbench_takes_no_score_or_place_that_is_none(
    scores: list[list[float]], references: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_metric("processbench").compute(predictions=scores, references=references)
    with pytest.raises(DataError, match="1 subsets for 2 solutions"):
        load_metric("processbench").compute(predictions=[[0.9], [0.1]], references=[-1, 0], subsets=["a"])


@pytest.mark.parametrize(
    ("score", "label", "message"),
    [(3.0, 1, "outside"), (-0.1, 0, "outside"), (math.nan, 0, "outside"), (0.5, 2, "neither 0 nor 1")],
)
def test_step_accuracy_takes_probabilities_and_hard_labels(score: float, label: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_metric("step_accuracy").compute(predictions=[0.5, score], references=[1, label])


def test_the_examples_in_their_documentation_are_true() -> None:
    import doctest

    import evaluate

    for name in MODULES:
        text = load_metric(name).inputs_description.replace("eval/metrics", str(ROOT / "eval" / "metrics"))
        examples = doctest.DocTestParser().get_doctest(text, {"evaluate": evaluate}, name, None, None)
        assert examples.examples
        assert doctest.DocTestRunner(verbose=False).run(examples).failed == 0


def test_an_unknown_metric_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=f"no metric 'auc'; there are {', '.join(MODULES)}"):
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
    assert found["brier"] == pytest.approx(np.mean([(p - y) ** 2 for p, y in zip(scores, soft, strict=True)]))
    assert found["auprc_of_wrong"] == 1.0 and found["base_rate_of_wrong"] == pytest.approx(2 / 6)
    assert len(labels) == 6


def test_solutions_whose_first_error_is_not_known_do_not_count() -> None:
    found = first_errors(1 / (1 + np.exp(-MARGINS)), HARD, 0.5)
    assert found.usable.tolist() == [True, True, False]  # the third has an unknown step before its error
    assert (found.predicted[:2].tolist(), found.true[:2].tolist()) == ([2, -1], [2, -1])


def test_metrics_that_need_both_classes_are_left_out() -> None:
    found = verifier_metrics(MARGINS[1:2], TARGETS[1:2], HARD[1:2], np.array([0]), kind="prm")
    assert set(found) == {
        *("loss", "brier", "ece", "step_accuracy", "base_rate", "all_correct_accuracy", "base_rate_of_wrong")
    }
    assert verifier_metrics(MARGINS, TARGETS, np.full_like(HARD, -1), np.array([0, 1, 2]), kind="prm") == {}


def random_run(rows: int = 160, *, seed: int = 0, skill: float = 2.0) -> dict[str, Any]:
    """Four solutions of three steps for each problem; the scores know something of the labels."""
    rng = np.random.default_rng(seed)
    hard = (rng.random((rows, 3)) < 0.6).astype(float)
    margins = rng.normal(size=hard.shape) + skill * (hard - 0.5)
    return {
        "margins_NS": margins,
        "targets_NS": hard,
        "hard_NS": hard,
        "groups_N": np.repeat(np.arange(rows // 4), 4),
        "sources_N": np.arange(rows) % 2,
    }


def without_sources(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name != "sources_N"}


def test_calibration_is_held_against_the_targets_and_ranking_against_the_hard_labels() -> None:
    run = without_sources(random_run())
    rng = np.random.default_rng(1)
    run["targets_NS"] = np.where(run["hard_NS"] == 1, rng.random(run["hard_NS"].shape), 0.0)
    found = verifier_metrics(**run, kind="prm")
    scores, soft, hard = (
        1 / (1 + np.exp(-run["margins_NS"].ravel())),
        run["targets_NS"].ravel(),
        run["hard_NS"].ravel(),
    )
    assert found["brier"] == pytest.approx(((scores - soft) ** 2).mean())
    assert found["ece"] == pytest.approx(calibration.expected_calibration_error(scores, soft))
    assert found["ece"] != pytest.approx(calibration.expected_calibration_error(scores, hard), rel=0.01)
    assert found["auprc_of_wrong"] == pytest.approx(ranking.auprc_of_wrong(scores, hard).value)
    assert found["base_rate_of_wrong"] == pytest.approx(1 - hard.mean())


def test_the_fitted_threshold_is_reported_on_problems_it_was_not_fitted_on() -> None:
    run = without_sources(random_run())
    found = verifier_metrics(**run, kind="prm")
    half = halves(run["groups_N"])
    scores = 1 / (1 + np.exp(-run["margins_NS"]))
    fitted = fit_first_error_threshold(scores[half], run["hard_NS"][half])
    assert fitted is not None and found["threshold_fitted"] == fitted.value
    errors = first_errors(scores[~half], run["hard_NS"][~half], fitted.value)
    assert found["first_error_f1_fitted"] == ranking.first_error_f1(errors.predicted, errors.true).f1
    assert found["first_error_f1_fitted"] < fitted.fitted  # which is optimistic
    run["hard_NS"] = run["hard_NS"].copy()
    run["hard_NS"][~half] = 1 - run["hard_NS"][~half]  # labels of the half it is reported on
    assert verifier_metrics(**run, kind="prm")["threshold_fitted"] == fitted.value


def test_a_threshold_that_is_off_is_mended_by_the_fitted_one() -> None:
    run = without_sources(random_run(skill=4.0))
    run["margins_NS"] = run["margins_NS"] - 4.0  # nearly everything is held to be wrong
    prm, orm = verifier_metrics(**run, kind="prm"), verifier_metrics(**run, kind="orm")
    assert prm["first_error_f1_fitted"] > 2 * prm["first_error_f1"]
    assert orm["accuracy_fitted"] > 1.5 * orm["accuracy"]
    assert prm["threshold_fitted"] < 0.3 and orm["threshold_fitted"] < 0.3


def test_an_outcome_model_has_the_metrics_of_solutions_wherever_its_label_stands() -> None:
    run = without_sources(random_run())
    run["targets_NS"], run["hard_NS"] = run["targets_NS"].copy(), run["hard_NS"].copy()
    for name in ("targets_NS", "hard_NS"):
        run[name][:, :2] = -1.0
    last = {name: value if value.ndim == 1 else value[:, 2:] for name, value in run.items()}
    found = verifier_metrics(**run, kind="orm")
    assert found == verifier_metrics(**last, kind="orm")
    assert {"accuracy", "accuracy_fitted", "threshold_fitted", "auroc_within", "ece", "auprc_of_wrong"} <= found.keys()
    assert not {name for name in found if "step" in name or "error" in name}


def test_every_metric_is_also_given_for_each_label_source() -> None:
    run = random_run()
    found = verifier_metrics(**run, kind="prm", source_names=["monte_carlo", "a judge/v2"])
    everything = verifier_metrics(**without_sources(run), kind="prm")
    assert {name: value for name, value in found.items() if "/" not in name} == everything
    odd = {name: value[1::2] for name, value in without_sources(run).items()}
    assert {name: value for name, value in found.items() if name.startswith("a_judge_v2/")} == {
        f"a_judge_v2/{name}": value for name, value in verifier_metrics(**odd, kind="prm").items()
    }
    assert {f"monte_carlo/{name}" for name in everything} <= found.keys()
    one = verifier_metrics(**{**run, "sources_N": np.ones(160, dtype=int)}, kind="prm", source_names=["a", "b"])
    assert one == everything


def test_scores_of_a_diverged_model_are_refused() -> None:
    run = without_sources(random_run())
    run["margins_NS"][3, 1] = np.nan
    with pytest.raises(DataError, match=r"1 of 480 scores of the evaluation are not finite.*The model has diverged"):
        verifier_metrics(**run, kind="prm")
    for name in ("targets_NS", "hard_NS"):
        run[name] = run[name].copy()
        run[name][3, 1] = -1.0
    assert verifier_metrics(**run, kind="prm")["loss"] > 0  # nothing is held against it


def test_intervals_hold_the_point_and_rest_on_problems() -> None:
    run = random_run()
    names = ["monte_carlo", "judge"]
    point = verifier_metrics(**run, kind="prm", source_names=names)
    bars = metric_intervals(**run, kind="prm", source_names=names, resamples=100)
    measured = {
        *("loss", "brier", "ece", "step_accuracy", "auroc", "auroc_within", "auprc_of_wrong", "base_rate_of_wrong"),
        *("first_error_f1", "first_error_f1_fitted"),
    }
    assert set(bars) == {f"{prefix}{name}" for prefix in ("", "monte_carlo/", "judge/") for name in measured}
    for name, bar in bars.items():
        assert bar["value"] == point[name]
        assert bar["low"] < bar["value"] <= bar["high"], name
    assert bars["auroc"]["n"] == 40
    assert bars["first_error_f1_fitted"]["n"] == 20
    outcome = metric_intervals(**without_sources(run), kind="orm", resamples=100)
    assert set(outcome) == measured - {"step_accuracy", "first_error_f1", "first_error_f1_fitted"} | {
        *("accuracy", "accuracy_fitted")
    }


def test_the_interval_of_a_calibrated_models_error_reaches_down_to_nearly_none() -> None:
    """Its percentiles over resamples lie above the number itself."""
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(400, 2))
    hard = (rng.random((400, 2)) < 1 / (1 + np.exp(-margins))).astype(float)
    bar = metric_intervals(margins, hard, hard, np.arange(400), kind="prm", resamples=100)["ece"]
    assert bar["low"] < 0.01 < bar["value"] <= bar["high"] < 0.08


def test_which_way_is_better_is_known_of_every_metric() -> None:
    assert not any(greater_is_better(name) for name in ("loss", "eval_ece", "monte_carlo/brier", "eval_set_a_loss"))
    assert all(greater_is_better(name) for name in ("auroc", "eval_judge/auprc_of_wrong", "first_error_f1_fitted"))


def test_a_metric_that_no_evaluation_computes_is_refused() -> None:
    for name in ("eval_auroc", "loss", "monte_carlo/ece", "eval_judge/first_error_f1"):
        check_metric(name, "prm")
    check_metric("eval_set_a_judge/brier", "prm", eval_sets=["set_a", "set_b"])
    check_metric("best_of_n_gain", "prm", others=["best_of_n_gain"])
    with pytest.raises(ConfigError, match=r"does not compute 'eval_aurok' of the kind prm\. Did you mean auroc\?"):
        check_metric("eval_aurok", "prm")
    with pytest.raises(ConfigError, match="does not compute 'step_accuracy' of the kind orm"):
        check_metric("step_accuracy", "orm")


def test_the_names_that_can_be_asked_for_are_those_that_are_computed() -> None:
    from prm.metrics.names import METRICS

    beside = {"base_rate", "base_rate_of_wrong", "threshold_fitted"}
    run = without_sources(random_run())
    for kind in METRICS:
        assert set(METRICS[kind]) == verifier_metrics(**run, kind=kind).keys() - beside


def test_the_best_checkpoint_is_chosen_by_a_metric_of_one_source(tmp_path: Path) -> None:
    """Through transformers' own Trainer, which holds every metric but a loss to be better when it is greater."""
    import torch
    from transformers import Trainer, TrainingArguments

    run = random_run(40)
    hard, margins = torch.tensor(run["hard_NS"]).float(), torch.tensor(run["margins_NS"]).float()

    class Scaled(torch.nn.Module):
        """Margins times one weight: the larger, the worse calibrated."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, margins: Any, labels: Any, source: Any, group: Any) -> dict[str, Any]:
            return {"loss": -self.weight.sum(), "logits": self.weight * margins}

    rows = [
        {"margins": margins[i], "labels": hard[i], "source": torch.tensor([i % 2]), "group": torch.tensor([i // 4])}
        for i in range(40)
    ]

    def compute(predicted: Any) -> dict[str, float]:
        labels, sources, groups = predicted.label_ids
        names = ["monte_carlo", "judge"]
        return verifier_metrics(
            predicted.predictions, labels, labels, groups[:, 0], sources[:, 0], kind="prm", source_names=names
        )

    name = "monte_carlo/brier"
    check_metric(name, "prm")
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        learning_rate=1.0,
        lr_scheduler_type="constant",
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        label_names=["labels", "source", "group"],
        load_best_model_at_end=True,
        metric_for_best_model=name,
        greater_is_better=greater_is_better(name),
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    model: Any = Scaled()
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, compute_metrics=compute)
    trainer.train()
    brier = [log[f"eval_{name}"] for log in trainer.state.log_history if f"eval_{name}" in log]
    assert brier == sorted(brier) and brier[0] < brier[2]
    assert trainer.state.best_metric == brier[0]
    assert model.weight.item() == pytest.approx(2.0, abs=1e-3)  # after the first of three steps
