"""ProcessBench's F1 of finding the first wrong step.

Load it by path, offline: `evaluate.load("eval/metrics/first_error_f1")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("first_error_f1")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate

from prm.stats import ranking

_DESCRIPTION = """Harmonic mean of two accuracies: of naming the first wrong step of solutions that have one, and of
accepting all steps of solutions that have none."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: index of the first step held to be wrong, -1 for none; one per solution.
    references: index of the first wrong step, -1 for none.

Returns:
    first_error_f1, and the two accuracies it is made of, `first_error_accuracy` (on solutions with an error) and
    `all_correct_accuracy` (on those without); nan where one kind of solution is missing.

Examples:

    >>> evaluate.load("eval/metrics/first_error_f1").compute(predictions=[2, -1, 0], references=[2, -1, 1])
    {'first_error_f1': 0.6666666666666666, 'first_error_accuracy': 0.5, 'all_correct_accuracy': 1.0}
"""

_CITATION = """Zheng et al., ProcessBench: Identifying Process Errors in Mathematical Reasoning, arXiv 2412.06559"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class FirstErrorF1(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
        found = ranking.first_error_f1(predictions, references)
        return {
            "first_error_f1": found.f1,
            "first_error_accuracy": found.accuracy_wrong,
            "all_correct_accuracy": found.accuracy_correct,
        }
