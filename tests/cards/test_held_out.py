"""Held-out numbers of a card and its index are of the published weights at the published threshold, or said to be of
something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prm.cards.card import card_for
from prm.cards.facts import read_facts
from prm.cards.held_out import held_out_tables, published_metrics
from prm.cards.snippet import Snippet

SNIPPETS = [Snippet("With plain transformers", "print(1)", "1")]


def bar(value: float, n: int = 50) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n}


BEFORE = {
    name: bar(value)
    for name, value in {
        "loss": 0.714, "brier": 0.158, "ece": 0.147, "step_accuracy": 0.656, "auroc": 0.827, "first_error_f1": 0.233,
        "first_error_f1_fitted": 0.609, "judge/ece": 0.2,
    }.items()
}  # fmt: skip
AFTER = {
    name: bar(value)
    for name, value in {
        "loss": 0.578, "brier": 0.128, "ece": 0.093, "step_accuracy": 0.88, "first_error_f1": 0.628, "auroc": 0.827,
        "judge/ece": 0.1,
    }.items()
}  # fmt: skip
CALIBRATION = {
    "value": 2.934, "reason": "", "n": 799, "nll_before": 0.714, "nll_after": 0.578, "ece_before": 0.147,
    "ece_after": 0.093, "of_folds": [2.9, 2.8, 3.0, 2.9, 3.1],
}  # fmt: skip
SETTLED = {"temperature": 2.934, "threshold": 0.19047, "aggregation": "min", "calibration": CALIBRATION}
FOLDS = {"threshold_of_folds": [0.2, 0.18, 0.22, 0.19, 0.21]}
COUNTS = {"rows": 200, "groups": 50, "labels": 799, "mean_target": 0.6, "tokens": 15_553}


def metrics(**changes: Any) -> dict[str, Any]:
    """What a run of this version writes."""
    plain = {"data": {"eval": COUNTS}, "eval": AFTER, "eval_before_calibration": BEFORE, "settled": SETTLED | FOLDS}
    return {**plain, **changes}


def card_of(directory: Path, content: dict[str, Any]) -> str:
    (directory / "train_metrics.json").write_text(json.dumps(content))
    return card_for(read_facts(directory), "user/my-prm", SNIPPETS)


def index_of(card: str) -> dict[str, float]:
    (model,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    (found,) = model["results"]
    return {entry["type"]: entry["value"] for entry in found["metrics"]}


def test_card_and_index_show_the_published_weights_at_the_published_threshold(
    tiny_verifier_dir: Callable[..., Path],
) -> None:
    card = card_of(tiny_verifier_dir(), metrics())
    measured = card.split("### Measured on held-out rows")[1].split("##")[0]
    assert "| Expected calibration error (lower is better) | 0.093 [0.043, 0.143] |" in measured
    assert "| F1 of finding the first wrong step | 0.628 [0.578, 0.678] |" in measured
    assert "200 solutions of 50 problems" in measured and "published threshold, 0.1905." in measured
    assert "Temperature and threshold were fitted on these rows" in measured and "(5 folds)" in measured
    assert index_of(card) == {name: found["value"] for name, found in AFTER.items() if "/" not in name}
    assert "0.656" not in card and "0.233" not in card and "ProcessBench" not in card


def test_the_card_says_how_it_was_calibrated(tiny_verifier_dir: Callable[..., Path]) -> None:
    calibration = card_of(tiny_verifier_dir(), metrics()).split("### Calibration")[1].split("##")[0]
    assert "divided by the temperature 2.934" in calibration and "799 held-out labels" in calibration
    error = "| Expected calibration error (lower is better) | 0.147 [0.097, 0.197] | 0.093 [0.043, 0.143] |"
    assert error in calibration and "| Brier score (lower is better) | 0.158 [" in calibration


def test_an_older_run_says_what_it_cannot_say_of_what_is_published(tiny_verifier_dir: Callable[..., Path]) -> None:
    content = metrics(eval=BEFORE, settled=SETTLED)
    del content["eval_before_calibration"]
    card = card_of(tiny_verifier_dir(), content)
    assert index_of(card) == {"auroc": 0.827}  # the order of the scores, which no temperature changes
    published = card.split("### Measured on held-out rows")[1].split("###")[0]
    assert "AUROC" in published and "F1" not in published and "fitted on these rows" not in published
    before = card.split("### Before calibration")[1].split("##")[0]
    assert "before calibration, at the threshold 0.5" in before and "| Accuracy of steps | 0.656 [" in before
    assert "at a threshold fitted on other problems | 0.609 [" in before
    assert "| 0.147 [0.097, 0.197] | 0.093 |" in card  # with no interval, for none was measured


@pytest.mark.parametrize(
    ("settled", "asked", "left"),
    [
        ({"temperature": 1.0, "threshold": 0.5}, {}, set(BEFORE)),
        ({"temperature": 1.0, "threshold": 0.3}, {"threshold": 0.3}, set(BEFORE)),
        ({"temperature": 1.0, "threshold": 0.3}, {}, {"loss", "brier", "ece", "auroc", "judge/ece"}),
        ({"temperature": 2.0, "threshold": 0.5}, {"threshold": 0.5}, {"auroc"}),
    ],
)
def test_of_an_older_run_that_is_kept_which_nothing_has_changed(
    settled: dict[str, Any], asked: dict[str, Any], left: set[str]
) -> None:
    old = {"eval": BEFORE, "settled": settled, "hyperparameters": asked}
    assert set(published_metrics(old)) == left
    shown = "".join(table.markdown for table in held_out_tables(old))
    assert ("0.656" in shown) and all(f"{found['value']:.3f}" in shown for found in BEFORE.values())


def test_a_verifier_that_is_not_calibrated_says_why() -> None:
    left = {"temperature": 1.0, "threshold": 0.5, "calibration": {**CALIBRATION, "reason": "all of one class"}}
    (table,) = [one for one in held_out_tables(metrics(settled=left)) if one.title == "Calibration"]
    assert "not calibrated: all of one class." in table.text and not table.markdown
    assert not [one for one in held_out_tables(metrics(settled={})) if one.title == "Calibration"]
