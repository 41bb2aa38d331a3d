"""The metrics of in-training evaluation: names, numbers, and intervals over problems.

Arrays come from `prm.training.trainer`; the arithmetic is `prm.stats`', reached through modules of the `evaluate`
library.
"""

from prm.metrics.intervals import cross_fitted_intervals, metric_intervals
from prm.metrics.modules import load_metric, metric_path
from prm.metrics.names import check_metric, greater_is_better
from prm.metrics.points import verifier_metrics

__all__ = [
    "check_metric",
    "cross_fitted_intervals",
    "greater_is_better",
    "load_metric",
    "metric_intervals",
    "metric_path",
    "verifier_metrics",
]
