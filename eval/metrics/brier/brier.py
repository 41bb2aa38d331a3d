"""Brier score: the mean squared difference of score and label.

Load it by path, offline: `evaluate.load("eval/metrics/brier")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("brier")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate

from prm.stats import calibration

_DESCRIPTION = """Mean squared difference of score and label: a proper score, lowest for the true probabilities."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores in [0, 1].
    references: 1 for correct, 0 for wrong, or a share such as a soft Monte Carlo label.

Returns:
    brier: from 0 to 1, the lower the better.

Examples:

    >>> evaluate.load("eval/metrics/brier").compute(predictions=[0.75, 0.5], references=[1, 0])
    {'brier': 0.15625}
"""

_CITATION = """Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Brier(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {"brier": calibration.brier_score(predictions, references)}
