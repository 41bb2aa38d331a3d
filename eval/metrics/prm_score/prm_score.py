"""PRMScore, PRMBench's metric.

Load it by path, offline: `evaluate.load("eval/metrics/prm_score")` in a checkout, or wherever it is installed by
`prm.metrics.load_metric("prm_score")`. It imports no neighbour, for `evaluate` copies it first.
"""

import datasets
import evaluate
import numpy as np

from prm.stats import step_f1

_DESCRIPTION = """Half the F1 of right steps and half that of wrong ones, over the pooled steps of an error category
and of all; a dimension is the mean of its categories. `multi_solutions`, which holds no wrong step, goes by the F1 of
right steps alone."""

_KWARGS_DESCRIPTION = """
Args:
    predictions: scores of steps.
    references: 1 for a right step, 0 for a wrong one.
    categories: the error category of each step's solution, spelled as in the published files.
    threshold: a step is held to be wrong below this score; 0.5 if not given.

Returns:
    prm_score, and `prm_score_<name>` of each category and dimension; nan where there is nothing to tell.

Examples:

    >>> metric = evaluate.load("eval/metrics/prm_score")
    >>> metric.compute(predictions=[0.9, 0.2, 0.8], references=[1, 0, 1], categories=["deception"] * 3)
    {'prm_score': 1.0, 'prm_score_deception': 1.0, 'prm_score_sensitivity': 1.0}
"""

_CITATION = """Song et al., PRMBench: A Fine-grained and Challenging Benchmark for Process-Level Reward Models,
arXiv 2501.03124"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class PrmScore(evaluate.Metric):
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
        self, predictions: list[float], references: list[int], categories: list[str], threshold: float = 0.5
    ) -> dict[str, float]:
        found = step_f1.prm_score(np.asarray(predictions) >= threshold, references, categories)
        parts = {**found.categories, **found.dimensions}
        return {"prm_score": found.overall, **{f"prm_score_{name}": value for name, value in parts.items()}}
