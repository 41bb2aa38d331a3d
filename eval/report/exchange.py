"""The report's section on a small model with search against a larger one sampled once, at equal FLOPs."""

from __future__ import annotations

from prm.report.formatting import Column, percent, si
from prm.report.page import Figure, Section, Table
from prm.report.plots import IntervalRow, Series, clear_of, interval_plot, line_plot

from ..exchange import Exchange, ExchangeLine
from ..results import method_title

CAPTION = (
    "What the price of one sample of the larger model buys, by what is exchanged; the best method within it is named "
    "as it is on all problems. Held out, in percentage points, paired by problem."
)


def exchange_section(found: Exchange) -> Section:
    """The table and the plot."""
    return Section(
        "A small model with search, or a larger one", _text(found), [_curve(found), _gains(found)], [_table(found)]
    )


def _text(found: Exchange) -> str:
    return (
        f"{found.large} has {found.m:.3g} times the parameters of {found.small} ({si(found.large_parameters)} and "
        f"{si(found.small_parameters)}), so that it costs as many times as much to train and to sample. Spent on the "
        "smaller model instead, the price of one sample of the larger one buys M + 3(M − 1)/R of its samples (arXiv "
        "2408.03314, section 7), where R is how many tokens a model generates in its life over those it was "
        f"pretrained on. {found.large} sampled once is right on {percent(found.sampled.mean)} of the "
        f"{found.problems} problems"
        + (f", decoded greedily on {percent(found.greedy.mean)}" if found.greedy else "")
        + ". The smaller model's side is billed in full, its verifier included, and its method for each budget is "
        "chosen on other problems than it is compared on."
    )


def _label(line: ExchangeLine) -> str:
    return "inference alone" if line.ratio is None else f"R = {line.ratio:g}"


def _curve(found: Exchange) -> Figure:
    xs = [point.flops for point in found.curve]
    small = Series.from_estimates(f"{found.small} with search", xs, [p.accuracy for p in found.curve], color=0)
    budgets = Series.from_estimates(
        "held out, at each budget",
        [line.flops for line in found.lines],
        [line.accuracy for line in found.lines],
        color=1, style="dashed", mark=3,
    )  # fmt: skip
    chance = [(found.sampled.mean, f"{found.large}, sampled once")]
    if found.greedy:
        chance.append((found.greedy.mean, f"{found.large}, greedy"))
    plot = line_plot(
        [small, budgets],
        title="A small model with search against a larger one",
        x_label=f"FLOPs per problem of {found.small} with its verifier",
        y_label="accuracy",
        log_x=True,
        chance=chance,
    )
    budgets_text = ", ".join(f"{_label(line)}: {si(line.flops)}" for line in found.lines)
    return Figure(plot, f"What one sample of {found.large} buys of {found.small}, in FLOPs: {budgets_text}.")


def _gains(found: Exchange) -> Figure:
    rows = [
        IntervalRow(f"{_label(line)}, over {name}", gain.mean, gain.low, gain.high)
        for line in found.lines
        for name, gain in (("sampled once", line.over_sampled), ("greedy", line.over_greedy))
        if gain is not None
    ]
    title = f"{found.small} with search minus {found.large}, percentage points"
    plot = interval_plot(rows, title=title, x_label="points", reference_label=found.large)
    return Figure(plot, f"At equal FLOPs, paired by problem, 95% intervals. {clear_of('zero')}")


def _table(found: Exchange) -> Table:
    headers: list[str | Column] = ["exchanged", Column("samples it buys", "number"), Column("FLOPs", "si")]
    headers += [Column("spent", "si"), "best method", Column("accuracy", "percent")]
    headers += [Column("over sampled once", "points"), Column("over greedy", "points")]
    rows = [
        [
            _label(line),
            line.multiple,
            line.flops,
            line.spent,
            _method(line.method),
            line.accuracy,
            line.over_sampled,
            line.over_greedy,
        ]
        for line in found.lines
    ]
    return Table(headers, rows, CAPTION, "exchange.csv")


def _method(key: str) -> str:
    """`dvts/prm@16` as `DVTS, prm @ 16`."""
    name, _, n = key.rpartition("@")
    method, _, verifier = name.partition("/")
    return f"{method_title(method)}{', ' + verifier if verifier else ''} @ {n}"
