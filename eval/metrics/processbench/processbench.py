"""ProcessBench from step scores: first-error F1 of each subset, and the mean over subsets.

Load it by path, offline: `evaluate.load("eval/metrics/processbench")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("processbench")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate
import numpy as np

from prm.errors import DataError
from prm.stats import ranking

_DESCRIPTION = """ProcessBench's headline: the mean over subsets of the F1 of finding the first wrong step, the first
that scores below the threshold."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: step scores of each solution.
    references: index of the first wrong step, -1 for none.
    subsets: the subset of each solution; one subset if not given.
    threshold: a step is held to be wrong below this score; 0.5 if not given.

Returns:
    mean_f1, and `f1_<subset>` of each subset where there are several; nan where wrong or right solutions are missing.

Raises:
    DataError: a score that is not a finite number, a reference that is neither -1 nor a step of its solution, or
        another number of subsets than of solutions.

Examples:

    >>> metric = evaluate.load("eval/metrics/processbench")
    >>> metric.compute(predictions=[[0.9, 0.2], [0.8, 0.7], [0.4]], references=[1, -1, -1])
    {'mean_f1': 0.6666666666666666}
"""

_CITATION = """Zheng et al., ProcessBench: Identifying Process Errors in Mathematical Reasoning, arXiv 2412.06559"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Processbench(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[int],
        subsets: list[str] | None = None,
        threshold: float = 0.5,
    ) -> dict[str, float]:
        _check(predictions, references, subsets)
        found = np.array([ranking.first_error_from_scores(scores, threshold) for scores in predictions])
        true, names = np.array(references), np.array(subsets or [""] * len(references))
        f1 = {str(name): ranking.first_error_f1(found[names == name], true[names == name]).f1 for name in set(names)}
        result = {"mean_f1": sum(f1.values()) / len(f1)}
        return result | {f"f1_{name}": f1[name] for name in sorted(f1) if len(f1) > 1}


def _check(predictions: list[list[float]], references: list[int], subsets: list[str] | None) -> None:
    if subsets is not None and len(subsets) != len(references):
        raise DataError(f"{len(subsets)} subsets for {len(references)} solutions", remedy="Name one for each solution")
    for number, (scores, true) in enumerate(zip(predictions, references, strict=True)):
        if not np.isfinite(scores).all():
            raise DataError(f"a score of solution {number} is not a finite number", remedy="Score it again")
        if not ranking.NO_ERROR <= true < len(scores):
            raise DataError(
                f"solution {number} has {len(scores)} scores, and its first wrong step is said to be {true}",
                remedy="Give the index of the step, counted from 0, or -1 for none",
            )
