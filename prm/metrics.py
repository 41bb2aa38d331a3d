"""The metrics of in-training evaluation, computed by the metric modules of this repository.

The modules live in `eval/metrics/<name>/<name>.py` and are loaded by path through the `evaluate` library, offline; the
arithmetic behind them is `prm.stats.ranking`'s. `prm` never imports them: the folder is found by its name.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.errors import ConfigError
from prm.stats import ranking
from prm.stats.intervals import bootstrap_mean, bootstrap_statistic

if TYPE_CHECKING:
    import numpy as np

METRICS_PACKAGE = "prm.eval.metrics"  # a name, not an import: `eval` may import `prm`, never the other way


def metric_path(name: str) -> Path:
    """Folder of a metric module, in a checkout as in an installed wheel.

    Raises:
        ConfigError: no such metric.
    """
    spec = importlib.util.find_spec(METRICS_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / name / f"{name}.py").is_file():
            return folder / name
    known = sorted(path.parent.name for folder in folders for path in folder.glob("*/*.py"))
    raise ConfigError(f"no metric {name!r}; there are {', '.join(known) or 'none, the installation is incomplete'}")


@cache
def load_metric(name: str) -> Any:
    """An `evaluate.EvaluationModule`, loaded by path and kept.

    Raises:
        ConfigError: no such metric.
    """
    import evaluate

    return evaluate.load(str(metric_path(name)), keep_in_memory=True)


def verifier_metrics(
    margins_NS: np.ndarray,
    targets_NS: np.ndarray,
    hard_NS: np.ndarray,
    groups_N: np.ndarray,
    *,
    kind: Literal["prm", "orm"],
    threshold: float = 0.5,
) -> dict[str, float]:
    """Loss, accuracy, AUROC (overall and within a problem) and, for a PRM, ProcessBench's first-error F1.

    Args:
        margins_NS: logit of correct minus logit of wrong; one row per solution, one column per step.
        targets_NS: training targets, negative where unknown.
        hard_NS: labels 0 and 1; between -100 and 0 where unknown, -100 where there is no step.
        groups_N: the problem's number.

    Returns:
        What is defined: a metric that needs both classes is left out where one is missing.
    """
    import numpy as np

    scores_NS = _sigmoid(margins_NS)
    known_NS = hard_NS >= 0
    if not known_NS.any():
        return {}
    scores, labels = scores_NS[known_NS], hard_NS[known_NS].astype(int)
    groups = np.broadcast_to(groups_N[:, None], hard_NS.shape)[known_NS]
    result = {"loss": _loss(margins_NS, targets_NS)}
    result |= load_metric("step_accuracy").compute(predictions=scores, references=labels, threshold=threshold)
    if kind == "orm":
        result["accuracy"] = result.pop("step_accuracy")
    result |= load_metric("auroc").compute(predictions=scores, references=labels, groups=groups)
    if kind == "prm":
        predicted, true = first_errors(scores_NS, hard_NS, threshold)
        if len(true):
            result |= load_metric("first_error_f1").compute(predictions=predicted, references=true)
    return {name: float(value) for name, value in result.items() if not math.isnan(value)}


def metric_intervals(
    margins_NS: np.ndarray,
    targets_NS: np.ndarray,
    hard_NS: np.ndarray,
    groups_N: np.ndarray,
    *,
    kind: Literal["prm", "orm"],
    threshold: float = 0.5,
    resamples: int = 500,
) -> dict[str, dict[str, float]]:
    """The metrics of `verifier_metrics` with 95% bootstrap intervals over problems, for a report or a card.

    Returns:
        For each metric that is defined `{"value", "low", "high", "n"}`, `n` being the number of problems.
    """
    point = verifier_metrics(margins_NS, targets_NS, hard_NS, groups_N, kind=kind, threshold=threshold)
    scores_NS, known_NS = _sigmoid(margins_NS), hard_NS >= 0
    agrees_NS = (scores_NS >= threshold) == (hard_NS == 1)

    def steps(rows: Any) -> tuple[Any, Any]:
        known = known_NS[rows]
        return scores_NS[rows][known], hard_NS[rows][known].astype(int)

    def first_error(rows: Any) -> float:
        return ranking.first_error_f1(*first_errors(scores_NS[rows], hard_NS[rows], threshold)).f1

    statistics: dict[str, Callable[[Any], float]] = {
        "loss": lambda rows: _loss(margins_NS[rows], targets_NS[rows]),
        "step_accuracy": lambda rows: float(agrees_NS[rows][known_NS[rows]].mean()),
        "accuracy": lambda rows: float(agrees_NS[rows][known_NS[rows]].mean()),
        "auroc": lambda rows: ranking.auroc(*steps(rows)),
        "first_error_f1": first_error,
    }
    bars = {
        name: bootstrap_statistic(statistic, len(groups_N), clusters=groups_N, resamples=resamples)
        for name, statistic in statistics.items()
        if name in point
    }
    if "auroc_within" in point:
        groups = groups_N[:, None].repeat(hard_NS.shape[1], axis=1)[known_NS]
        per_problem = ranking.aurocs_per_group(scores_NS[known_NS], hard_NS[known_NS].astype(int), groups)
        bars["auroc_within"] = bootstrap_mean(per_problem)
    return {
        name: {"value": point[name], "low": bar.low, "high": bar.high, "n": bar.n}
        for name, bar in bars.items()
        if not math.isnan(bar.low)
    }


def first_errors(scores_NS: np.ndarray, hard_NS: np.ndarray, threshold: float) -> tuple[list[int], list[int]]:
    """Predicted and true first errors (-1 for none) of the solutions whose labels say where the first error is: with
    no unknown step before it, or at all where there is no error."""
    predicted, true = [], []
    for scores, labels in zip(scores_NS, hard_NS, strict=True):
        steps = labels > -100
        row, labels = scores[steps], labels[steps]
        error = next((i for i, label in enumerate(labels) if label == 0), -1)
        if len(labels) and (labels[: error if error >= 0 else None] >= 0).all():
            true.append(error)
            predicted.append(next((i for i, score in enumerate(row) if score < threshold), -1))
    return predicted, true


def _sigmoid(margins_NS: np.ndarray) -> np.ndarray:
    import numpy as np

    scores: np.ndarray = 1 / (1 + np.exp(-np.clip(margins_NS.astype(np.float64), -700, 700)))
    return scores


def _loss(margins_NS: np.ndarray, targets_NS: np.ndarray) -> float:
    """Mean cross-entropy in nats over all known targets (`prm.objectives`)."""
    import numpy as np

    known = targets_NS >= 0
    margins, targets = margins_NS[known].astype(np.float64), targets_NS[known].astype(np.float64)
    return float((np.logaddexp(0, margins) - targets * margins).mean()) if known.any() else math.nan
