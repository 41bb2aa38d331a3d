"""Area under the ROC curve of step scores, over all steps and within a problem.

Load it by path, offline: `evaluate.load("eval/metrics/auroc")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("auroc")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate

from prm.stats import ranking

_DESCRIPTION = """Chance that a correct step scores above a wrong one, half credit for ties."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores, higher for correct.
    references: 1 for correct, 0 for wrong.
    groups: the problem of each step; needed for `auroc_within` only.

Returns:
    auroc: over all pairs; nan where one class is missing.
    auroc_within: over pairs of the same problem, averaged over problems with both classes; nan if there are none.
        A scorer that only knows which problems are hard gets 0.5 here, and selects no better than chance.

Examples:

    >>> evaluate.load("eval/metrics/auroc").compute(predictions=[0.9, 0.2, 0.6], references=[1, 0, 1])
    {'auroc': 1.0}
"""

_CITATION = ""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Auroc(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: list[float], references: list[int], groups: list[int] | None = None
    ) -> dict[str, float]:
        result = {"auroc": ranking.auroc(predictions, references)}
        if groups is not None:
            result["auroc_within"] = ranking.auroc_within_groups(predictions, references, groups)
        return result
