"""The report's first section: how right each method is, and every line in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prm.report.page import Choice, Section

from .methods import method_tables
from .terminal import best_sentence
from .wording import capital

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult

ESTIMATES = (
    "Selectors among samples (majority, best-of-n, weighted best-of-n, pass@n) are averages over all subsets of n of "
    "the samples of each problem; greedy decoding and the tree searches are one run. Unfinished solutions do not vote "
    "and cannot be chosen. Bands, bars and brackets are 95% intervals over problems: bootstrapped, but Wilson's (of "
    "differences Bonett and Price's) where few problems tell. Gains are paired by problem at equal n."
)
PANEL = (
    "The samples of a problem come from different systems, one each: the vote and the oracle are those of the whole "
    "panel, and no estimate over subsets is given. Intervals are over problems."
)


def accuracy_section(config: EvalConfig, result: EvalResult, pictures: list[Choice]) -> Section:
    """What was measured, the pictures, the table."""
    text = PANEL if config.panel else ESTIMATES
    if result.best and not config.panel:
        text += f"\n\n{capital(best_sentence(config, result))}."
    return Section("Accuracy", text, pictures, method_tables(result))
