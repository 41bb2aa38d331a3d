"""Means over samples and steps with their intervals. What belongs to one problem is correlated, so problems are
resampled, and a problem brings all that belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prm.stats.intervals import bootstrap_mean


def over_problems(values: Iterable[tuple[str, float]]) -> dict[str, Any] | None:
    """The mean with its 95% bootstrap interval over problems, ready for JSON.

    Args:
        values: a problem's id and the value of one of its samples or steps, for all of them.

    Returns:
        `mean`, `low`, `high`, and `n`, the number of values; the interval is `None` where fewer than two problems
        would decide it. `None` where there is no value.
    """
    pairs = list(values)
    if not pairs:
        return None
    problems, numbers = zip(*pairs, strict=True)
    estimate = vars(bootstrap_mean(numbers, clusters=problems)).copy()
    return estimate if len(set(problems)) > 1 else estimate | {"low": None, "high": None}


def shown(estimate: Mapping[str, Any]) -> str:
    """0.494 [0.449, 0.539], or the mean alone where there is no interval."""
    if estimate["low"] is None:
        return f"{estimate['mean']:.3f}"
    return f"{estimate['mean']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
