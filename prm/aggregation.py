"""From step scores to one score of a solution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from prm.errors import ConfigError

Aggregation = Literal["last", "min", "prod", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


def aggregate(scores: Sequence[float], how: Aggregation) -> float:
    """Fold the step scores of one solution or prefix into one score.

    `last` is Snell et al.'s choice (arXiv 2408.03314), `min` and `prod` are Lightman et al.'s (arXiv 2305.20050).
    A solution without steps scores 0, below every other.

    Raises:
        ConfigError: an unknown aggregation.
    """
    if how not in AGGREGATIONS:
        raise ConfigError(f"agg_strategy must be one of {', '.join(AGGREGATIONS)}, not {how!r}")
    if not scores:
        return 0.0
    if how == "last":
        return scores[-1]
    if how == "min":
        return min(scores)
    return math.prod(scores) if how == "prod" else math.fsum(scores) / len(scores)
