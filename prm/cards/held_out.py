"""What a training run measured on rows that it held out: of the verifier as it is published, and before calibration.

A run writes both (`eval` and `eval_before_calibration` in its `train_metrics.json`). An older one wrote only what came
before calibration; of this, what the published temperature and threshold change is shown as such, and is no part of
the card's `model-index`. Nothing is computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.cards.tables import Table, decimals, markdown_table, number, words
from prm.metrics.names import AT_THRESHOLD, LOWER_IS_BETTER

METRIC_NAMES = {
    "loss": "Loss, in nats per label",
    "step_accuracy": "Accuracy of steps",
    "accuracy": "Accuracy of solutions",
    "brier": "Brier score (lower is better)",
    "ece": "Expected calibration error (lower is better)",
    "auroc": "AUROC",
    "auroc_within": "AUROC within a problem (chance: 0.5)",
    "auprc_of_wrong": "AUPRC of what is wrong",
    "base_rate_of_wrong": "Share of what is wrong (the AUPRC of a scorer without skill)",
    "first_error_f1": "F1 of finding the first wrong step",
    "first_error_f1_fitted": "F1 of finding the first wrong step, at a threshold fitted on other problems",
    "accuracy_fitted": "Accuracy of solutions, at a threshold fitted on other problems",
}
BEFORE = "eval_before_calibration"
_DECIDED = {name for names in AT_THRESHOLD.values() for name in names}

Metrics = Mapping[str, Any]


def published_metrics(metrics: Metrics) -> dict[str, Any]:
    """Of the content of a `train_metrics.json` what holds of the published weights at the published threshold."""
    found = metrics.get("eval") or {}
    changed = () if BEFORE in metrics else _changed(metrics)
    return {name: value for name, value in found.items() if name.split("/")[-1] not in changed}


def held_out_tables(metrics: Metrics) -> list[Table]:
    """Calibration, and the metrics on held-out rows; none where nothing was held out."""
    published = published_metrics(metrics)
    tables = [*_calibration(metrics)]
    if published:
        tables.append(Table("Measured on held-out rows", _table(published), _told(metrics)))
    rest = {name: value for name, value in (metrics.get("eval") or {}).items() if name not in published}
    if rest:
        told = (
            f"Of the weights before calibration, at the threshold {number(_asked(metrics))}: the training run did not "
            "measure these of what is published."
        )
        tables.append(Table("Before calibration", _table(rest), told))
    return tables


def metric_name(name: str) -> str:
    """`auroc`, or `monte_carlo/auroc` for the labels of one source."""
    source, _, metric = name.rpartition("/")
    return METRIC_NAMES.get(metric, words(metric)) + (f", labels of {source}" if source else "")


def _table(found: Metrics) -> str:
    return markdown_table(
        ["metric", "value"], [(metric_name(name), _measured(value)) for name, value in found.items()]
    )


def _measured(found: Any) -> str:
    """A number, with its interval where it has one."""
    if not isinstance(found, Mapping):
        return number(found) if found is None or isinstance(found, str) else decimals(found)
    value, bar = found.get("value", found.get("mean")), (found.get("low"), found.get("high"))
    said = decimals(value)
    return said if None in bar else f"{said} [{decimals(bar[0])}, {decimals(bar[1])}]"  # type: ignore[arg-type]


def _changed(metrics: Metrics) -> set[str]:
    """Which metrics of an older run the published temperature and threshold change."""
    settled = metrics.get("settled") or {}
    scaled = settled.get("temperature", 1.0) != 1.0
    moved = settled.get("threshold", _asked(metrics)) != _asked(metrics)
    return (set(LOWER_IS_BETTER) if scaled else set()) | (
        _DECIDED | {"first_error_f1_fitted", "accuracy_fitted"} if scaled or moved else set()
    )


def _asked(metrics: Metrics) -> float:
    """The threshold of the evaluation while it trained."""
    return float((metrics.get("hyperparameters") or {}).get("threshold", 0.5))


def _told(metrics: Metrics) -> str:
    held_out = (metrics.get("data") or {}).get("eval") or {}
    what = "Problems that were not trained on"
    if {"rows", "groups"} <= held_out.keys():
        what = f"{held_out['rows']:,} solutions of {held_out['groups']:,} problems that were not trained on"
    settled = metrics.get("settled") or {}
    at = f", {number(settled['threshold'])}" if "threshold" in settled else ""
    text = f"{what}, scored by the published weights and judged at the published threshold{at}."
    folds = {
        "temperature": settled.get("temperature", 1.0) != 1.0 and (settled.get("calibration") or {}).get("of_folds"),
        "threshold": settled.get("threshold_of_folds"),
    }
    if BEFORE in metrics and (fitted := [name for name, found in folds.items() if found]):
        count = len(folds[fitted[0]] or ())
        text += (
            f" {' and '.join(fitted).capitalize()} {'was' if len(fitted) == 1 else 'were'} fitted on these rows, so "
            f"each problem is measured with what other problems give ({count} folds)."
        )
    if metrics.get("measured_on_quantized_base"):
        text += " The base was quantised when this was measured; in full precision the scores differ."
    return f"{text} Brackets are 95% intervals over problems."


def _calibration(metrics: Metrics) -> list[Table]:
    settled = metrics.get("settled") or {}
    fitted = settled.get("calibration")
    if not fitted:
        return []
    if settled["temperature"] == 1.0:
        why = fitted["reason"] or "no temperature lowers the loss on problems it was not fitted on"
        return [Table("Calibration", "", f"The scores are as they were trained, not calibrated: {why}.")]
    new = BEFORE in metrics
    before, after = metrics.get(BEFORE if new else "eval") or {}, metrics["eval"] if new else {}
    known = {"loss": ("nll_before", "nll_after"), "brier": ("", ""), "ece": ("ece_before", "ece_after")}
    rows = [
        [
            METRIC_NAMES[name],
            _measured(before.get(name, fitted.get(keys[0]))),
            _measured(after.get(name, fitted.get(keys[1]))),
        ]
        for name, keys in known.items()
        if (name in before or keys[0]) and (name in after or keys[1])
    ]
    told = (
        f"All margins (logit of correct minus logit of wrong) are divided by the temperature "
        f"{number(settled['temperature'])}, which makes the cross-entropy on {fitted['n']:,} held-out labels least. "
        "The published scores have it in them already. After calibration each problem is scored with the temperature "
        "that other problems give."
    )
    return [Table("Calibration", markdown_table(["metric", "before", "after"], rows), told)]
