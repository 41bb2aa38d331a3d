"""Words and numbers as the report's sentences write them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prm.report.formatting import percent, points
from prm.stats.intervals import Estimate

if TYPE_CHECKING:
    from ..run import EvalResult


def capital(text: str) -> str:
    """The first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def points_text(estimate: Estimate) -> str:
    """A difference in percentage points with its interval: `+7.3 [+4.1, +10.2]`."""
    return f"{points(estimate.mean)} [{points(estimate.low)}, {points(estimate.high)}]"


def percent_text(estimate: Estimate) -> str:
    """A share with its interval: `52.3% [47.0, 57.5]`."""
    low, high = (percent(end).removesuffix("%") for end in (estimate.low, estimate.high))
    return f"{percent(estimate.mean)} [{low}, {high}]"


def basis_text(result: EvalResult) -> str:
    """What every number of a run rests on: `40 problems, mean over seeds 0, 1`."""
    seeds = ", ".join(map(str, result.seeds))
    drawn = f", mean over seeds {seeds}" if len(result.seeds) > 1 else f", seed {seeds}" if seeds else ""
    return f"{len(result.problems)} problems{drawn}"


def known(value: float) -> float | None:
    """A cost, or `None` where it is unknown (nan) or nothing was spent."""
    return None if math.isnan(value) or not value else value
