"""The report's first section: how right each method is, what it gains over the baseline, and every line in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prm.report.page import Choice, Figure, Section
from prm.report.plots import IntervalRow, clear_of, interval_plot

from ..results import method_title
from .methods import method_tables
from .terminal import best_sentence
from .wording import capital

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult

ESTIMATES = (
    "Selectors among samples (majority, best-of-n, weighted best-of-n, pass@n) are averages over all subsets of n of "
    "the samples of each problem; greedy decoding and the tree searches are one run. Unfinished solutions do not vote "
    "and cannot be chosen. Bands, bars and brackets are 95% intervals, bootstrapped over problems; gains are paired "
    "by problem at equal n."
)
PANEL = (
    "The samples of a problem come from different systems, one each: the vote and the oracle are those of the whole "
    "panel, and no estimate over subsets is given. Intervals are bootstrapped over problems."
)


def accuracy_section(config: EvalConfig, result: EvalResult, pictures: list[Choice]) -> Section:
    """What was measured, the pictures, the gains, the table."""
    text = PANEL if config.panel else ESTIMATES
    if result.best and not config.panel:
        text += f"\n\n{capital(best_sentence(config, result))}."
    figures = [*pictures, *_gains(config, result)]
    return Section("Accuracy", text, figures, method_tables(result))


def _gains(config: EvalConfig, result: EvalResult) -> list[Figure]:
    """Gains of everything that is neither oracle nor control, at the run's n."""
    n, baseline = max(result.ns), method_title(config.baseline)
    rows = [
        IntervalRow(line.label, line.gain.mean, line.gain.low, line.gain.high)
        for line in result.methods
        if line.n == n and line.gain is not None and not line.oracle and not line.control
    ]
    if not rows:
        return []
    title = f"Gain over {baseline} at n = {n}, percentage points"
    plot = interval_plot(rows, title=title, x_label="points", reference_label=baseline)
    return [Figure(plot, f"Paired by problem, 95% intervals. {clear_of('zero')}")]
