"""What methods cost in money, where prices are known, and which prices are missing where they are not.

Money is said of 1,000 problems: one costs so little that three decimals show nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prm.report.formatting import Column

from ..analysis.analysis import Analysis

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult

PROBLEMS = 1000
MONEY = Column(f"money per {PROBLEMS:,} problems", "si")


def money_by_line(analysis: Analysis | None) -> dict[str, float]:
    """Money for 1,000 problems, by the key of the line; only where it is known."""
    found: Mapping[str, float] = (analysis.money if analysis else None) or {}
    return {key: PROBLEMS * money for key, money in found.items() if not math.isnan(money)}


def unpriced_sentence(config: EvalConfig, result: EvalResult) -> str:
    """Which prices lack for the money of every method; empty without any price, and with all that is needed."""
    prices = config.prices()
    kinds = {kind: None for line in result.methods for kind in prices.missing(line.bill)}
    if not kinds:
        return ""
    flags = ", ".join(f"--price_{kind}" for kind in kinds)
    return f"money is unknown for methods that spend tokens without a price: give {flags} (0 for what is free)"
