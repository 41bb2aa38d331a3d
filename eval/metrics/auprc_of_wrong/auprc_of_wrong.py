"""Area under precision and recall at finding wrong steps, with what a scorer without skill gets.

Load it by path, offline: `evaluate.load("eval/metrics/auprc_of_wrong")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("auprc_of_wrong")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate

from prm.stats import ranking

_DESCRIPTION = """Average precision at finding the wrong steps among the lowest scores. Where wrong steps are rare it
tells scorers apart that the AUROC does not."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores, higher for correct.
    references: 1 for correct, 0 for wrong.

Returns:
    auprc_of_wrong: nan where nothing is wrong.
    base_rate_of_wrong: the share of wrong steps, which a scorer without skill gets.

Examples:

    >>> metric = evaluate.load("eval/metrics/auprc_of_wrong")
    >>> metric.compute(predictions=[0.9, 0.2, 0.6, 0.7], references=[1, 0, 1, 0])
    {'auprc_of_wrong': 0.8333333333333333, 'base_rate_of_wrong': 0.5}
"""

_CITATION = ""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class AuprcOfWrong(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, float]:
        found = ranking.auprc_of_wrong(predictions, references)
        return {"auprc_of_wrong": found.value, "base_rate_of_wrong": found.base_rate}
