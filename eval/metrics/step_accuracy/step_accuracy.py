"""The share of steps judged right, with the share a constant judge gets.

Load it by path, offline: `evaluate.load("eval/metrics/step_accuracy")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("step_accuracy")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate
import numpy as np

from prm.errors import DataError

_DESCRIPTION = """Share of steps (or solutions) whose score falls on the side of the threshold that its label is on."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores in [0, 1], one per step.
    references: 1 for a correct step, 0 for a wrong one.
    threshold: a step counts as correct from this score up; 0.5 if not given.

Returns:
    step_accuracy: the share judged right.
    base_rate: the share of the more frequent label, which a constant judgement gets.

Raises:
    DataError: a score outside [0, 1], or a label that is neither 0 nor 1.

Examples:

    >>> evaluate.load("eval/metrics/step_accuracy").compute(predictions=[0.9, 0.2, 0.6, 0.1], references=[1, 0, 0, 0])
    {'step_accuracy': 0.75, 'base_rate': 0.75}
"""

_CITATION = ""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class StepAccuracy(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int], threshold: float = 0.5) -> dict[str, float]:
        scores, labels = np.asarray(predictions, dtype=float), np.asarray(references)
        if not ((scores >= 0) & (scores <= 1)).all():  # nan is in no range
            raise DataError("a score is outside [0, 1]", remedy="Give the verifier's probabilities")
        if not np.isin(labels, (0, 1)).all():
            raise DataError("a label is neither 0 nor 1", remedy="Use hard labels, and leave out unknown ones")
        right = labels == 1
        accuracy = float(((scores >= threshold) == right).mean())
        return {"step_accuracy": accuracy, "base_rate": float(max(right.mean(), 1 - right.mean()))}
