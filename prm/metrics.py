"""The metrics of in-training evaluation, computed by the metric modules of this repository.

The modules live in `eval/metrics/<name>/<name>.py` and are loaded by path through the `evaluate` library, offline; the
arithmetic behind them is `prm.stats.ranking`'s. `prm` never imports them: the folder is found by its name.
"""

from __future__ import annotations

import importlib.util
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.errors import ConfigError

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

    margins_NS, targets_NS = margins_NS.astype(np.float64), targets_NS.astype(np.float64)
    scores_NS = 1 / (1 + np.exp(-np.clip(margins_NS, -700, 700)))
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


def _loss(margins_NS: np.ndarray, targets_NS: np.ndarray) -> float:
    """Mean cross-entropy in nats over all known targets (`prm.objectives`)."""
    import numpy as np

    known = targets_NS >= 0
    margins, targets = margins_NS[known], targets_NS[known]
    return float((np.logaddexp(0, margins) - targets * margins).mean()) if known.any() else math.nan
