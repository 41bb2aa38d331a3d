"""The table that `prm eval` prints, with what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prm.report.formatting import percent
from prm.report.terminal import render_table

from ..exchange import Exchange
from ..results import MethodResult, method_title
from .equal_flops import needed_sentence
from .methods import DRAWN_MEANS, may_stop_early, method_grid
from .money import money_by_line, unpriced_sentence
from .wording import basis_text, points_text

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult


def terminal_table(config: EvalConfig, result: EvalResult) -> str:
    """The lines at n = 1 and at the largest n, with what they mean."""
    lines = [line for line in result.methods if line.n in (1, max(result.ns)) and not _is_plain_sampling(line)]
    facts = f"{basis_text(result)}; 95% intervals over problems; "
    facts += f"gain over {method_title(config.baseline)} at the same n, paired; costs are means per problem"
    if may_stop_early(lines):
        facts += f"; {DRAWN_MEANS}"
    parts = [render_table(*method_grid(lines, money_by_line(result.analysis))), facts]
    if result.best:
        parts.append(best_sentence(config, result))
    if result.exchange:
        parts.append(exchange_sentence(result.exchange))
    parts += filter(None, [needed_sentence(config, result), unpriced_sentence(config, result)])
    return "\n".join([*parts, *(f"note: {note}" for note in result.notes)])


def best_sentence(config: EvalConfig, result: EvalResult) -> str:
    """The best method a PRM guides, and what choosing it among several adds."""
    assert result.best is not None
    return (
        f"best PRM method: {result.best.label}, {points_text(result.best.gain)} points over "
        f"{method_title(config.baseline)}; with the method chosen on other problems "
        f"{points_text(result.best.held_out_gain)}"
    )


def exchange_sentence(found: Exchange) -> str:
    """What the price of one sample of the larger model buys of the smaller one, inference alone and with each R."""
    lines = [
        f"{'inference alone' if line.ratio is None else f'R={line.ratio:g}'} {points_text(line.over_sampled)}"
        for line in found.lines
    ]
    return (
        f"{found.small} with search minus {found.large} sampled once ({percent(found.sampled.mean)}) at equal FLOPs, "
        f"points, methods chosen on other problems: {'; '.join(lines)}"
    )


def _is_plain_sampling(line: MethodResult) -> bool:
    """At n = 1 every method on samples is the same: plain sampling, shown once as pass@1."""
    return line.n == 1 and line.method not in ("greedy", "pass_at_n") and not line.method.startswith("alone")
