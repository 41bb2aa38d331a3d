"""Expected calibration error: how far scores lie from the shares they claim.

Load it by path, offline: `evaluate.load("eval/metrics/ece")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("ece")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate

from prm.stats import calibration

_DESCRIPTION = """Mean distance of the mean score and the share that was right, over bins of equal mass. It is not a
proper score: a scorer that always says the base rate gets 0. Read it beside the Brier score."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores in [0, 1].
    references: 1 for correct, 0 for wrong, or a share such as a soft Monte Carlo label.
    bins: how many bins of equal mass; 10 if not given. Equal scores share a bin.

Returns:
    ece: from 0, well calibrated, to 1.

Examples:

    >>> metric = evaluate.load("eval/metrics/ece")
    >>> metric.compute(predictions=[0.25, 0.25, 0.25, 0.25, 0.75, 0.75], references=[0, 0, 0, 1, 1, 1], bins=2)
    {'ece': 0.08333333333333333}
"""

_CITATION = """Nguyen and O'Connor, Posterior calibration and exploratory analysis for natural language processing
models, EMNLP 2015"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Ece(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[float], bins: int = 10) -> dict[str, float]:
        return {"ece": calibration.expected_calibration_error(predictions, references, bins=bins)}
