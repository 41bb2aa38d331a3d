"""The accuracy of the highest score among n samples of a problem.

Load it by path, offline: `evaluate.load("eval/metrics/best_of_n")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("best_of_n")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate
import numpy as np

from prm.stats import estimators

_DESCRIPTION = """How often the sample with the highest score is right, over all subsets of n of a problem's samples,
ties shared; beside pass@n, which no selection beats, and the accuracy of a sample taken at random."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores of samples.
    references: 1 for a right sample, 0 for a wrong one.
    groups: the problem of each sample.
    n: samples that are drawn; of the problem with fewest samples all, if not given.

Returns:
    best_of_n, pass_at_n and pass_at_1: means over problems.

Examples:

    >>> metric = evaluate.load("eval/metrics/best_of_n")
    >>> metric.compute(predictions=[0.9, 0.2, 0.3, 0.4], references=[1, 0, 1, 0], groups=[0, 0, 1, 1])
    {'best_of_n': 0.5, 'pass_at_n': 1.0, 'pass_at_1': 0.5}
"""

_CITATION = """Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv 2110.14168"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class BestOfN(evaluate.Metric):
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
        self, predictions: list[float], references: list[int], groups: list[int], n: int | None = None
    ) -> dict[str, float]:
        scores, right, names = np.asarray(predictions), np.asarray(references) == 1, np.asarray(groups)
        pools = [names == name for name in np.unique(names)]
        size = n or min(int(pool.sum()) for pool in pools)
        return {
            "best_of_n": float(np.mean([estimators.best_of_n(scores[pool], right[pool], size) for pool in pools])),
            "pass_at_n": float(np.mean([estimators.pass_at_n(right[pool], size) for pool in pools])),
            "pass_at_1": float(np.mean([right[pool].mean() for pool in pools])),
        }
