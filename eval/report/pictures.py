"""Accuracy against what it costs: one picture for each axis (n, tokens, FLOPs, seconds), the same lines in each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prm.report.page import Choice, Figure
from prm.report.plots import Series, line_plot
from prm.report.series import LineStyle
from prm.report.svg import NEUTRAL

from ..analysis.analysis import Analysis
from ..cost import Bill
from ..results import MethodResult, method_title
from .methods import by_method
from .money import MONEY, money_by_line

if TYPE_CHECKING:
    from ..run import EvalResult

MOST_CURVES = 10
"""With more curves of verifiers than these, each verifier has a picture of its own."""

LOOKS: dict[str, tuple[LineStyle, int, int]] = {  # line style, marker and colour of each method
    "majority": ("solid", 4, NEUTRAL),
    "pass_at_n": ("dotted", 5, NEUTRAL),
    "greedy": ("solid", 6, NEUTRAL),
    "no_skill": ("dashed", 4, NEUTRAL),
    "best_of_n": ("solid", 0, 0),
    "weighted_best_of_n": ("dashed", 1, 1),
    "beam_search": ("dotted", 2, 2),
    "dvts": ("dashdot", 3, 3),
    "lookahead": ("dashed", 6, 4),
    "rebase": ("solid", 7, 5),
    "adaptive_consistency": ("dashdot", 5, 6),
    "early_stop": ("dotted", 4, 6),
    "compute_optimal": ("solid", 3, 7),
}
_VARIANT = re.compile(r"_(weighted|threshold|scores|agreement|oracle)$")
_LINES: tuple[LineStyle, ...] = ("solid", "dashed", "dotted", "dashdot")


@dataclass(frozen=True)
class Axis:
    """One way to say how much was spent: the name on the tab, on the axis, and the value of a line of the results."""

    name: str
    label: str
    value: Callable[[MethodResult], float]


def all_tokens(bill: Bill) -> float:
    """Tokens that went through either model: generated, prefilled and the verifier's."""
    return bill.generated_tokens + bill.prefilled_tokens + bill.verifier_tokens


AXES = (
    Axis("n", "generated solutions per problem", lambda line: float(line.n)),
    Axis("tokens", "tokens per problem, through both models", lambda line: all_tokens(line.bill)),
    Axis("FLOPs", "FLOPs per problem, both models", lambda line: line.bill.flops),
    Axis("seconds", "seconds of wall time per problem", lambda line: line.bill.seconds),
)


def axes_of(analysis: Analysis | None) -> tuple[Axis, ...]:
    """The axes of a run: money too, where it knows prices."""
    money = money_by_line(analysis)
    if not money:
        return AXES
    return (*AXES, Axis("money", MONEY.name, lambda line: money.get(line.key, math.nan)))


def accuracy_choices(result: EvalResult) -> list[Choice]:
    """Accuracy of all methods against each axis, in one picture, or in one for each verifier where they are many."""
    there = {(line.method, line.verifier) for line in result.methods}
    lines = [line for line in result.methods if _in_picture(line, there)]
    guided = list(dict.fromkeys(line.verifier for line in lines if line.verifier))
    axes = axes_of(result.analysis)
    if len(guided) < 2 or sum(bool(curve[0].verifier) for curve in by_method(lines)) <= MOST_CURVES:
        return _choice(lines, axes, "", _by_method if len(guided) < 2 else _by_verifier(guided))
    return [
        choice
        for name in guided
        for choice in _choice([line for line in lines if line.verifier in ("", name)], axes, f", {name}", _by_method)
    ]


Colouring = Callable[[MethodResult], int]


def _choice(lines: Sequence[MethodResult], axes: Sequence[Axis], whose: str, colour: Colouring) -> list[Choice]:
    """The pictures of these lines, or nothing where no line has a place on any axis."""
    options = [(axis.name, figure) for axis in axes if (figure := _figure(lines, axis, whose, colour)) is not None]
    return [Choice("Accuracy against", options)] if options else []


def _figure(lines: Sequence[MethodResult], axis: Axis, whose: str, colour: Colouring) -> Figure | None:
    """One picture; `None` where there is no curve, or where nobody knows what the samples themselves cost."""
    if not all(axis.value(line) > 0 for line in lines if line.method == "majority"):
        return None
    series, chance = [], []
    for curve in by_method(lines):
        first = curve[0]
        if first.method == "greedy" and axis.name == "n":
            chance.append((first.accuracy.mean, "greedy"))
            continue
        xs = [axis.value(line) for line in curve]
        if not min(xs) > 0:  # free of cost, or of unknown cost (nan)
            continue
        label = method_title(first.method) if whose or colour is _by_method else first.label
        style, mark, _ = _look(first.method)
        estimates = [line.accuracy for line in curve]
        series.append(Series.from_estimates(label, xs, estimates, style=style, color=colour(first), mark=mark))
    if not series or all(len(one.x) < 2 for one in series):
        return None
    plot = line_plot(
        series,
        title=f"Accuracy against {axis.name}{whose}",
        x_label=axis.label,
        y_label="accuracy",
        log_x=True,
        chance=chance,
    )
    return Figure(plot, f"Accuracy against {axis.label}. {_how_to_read(colour)} Bars are 95% intervals.")


def _how_to_read(colour: Colouring) -> str:
    if colour is _by_method:
        return "Colour, line and marker tell the method; grey ones need no verifier."
    return "A colour is a verifier, grey is none; line and marker tell the method."


def _in_picture(line: MethodResult, there: Set[tuple[str, str]]) -> bool:
    """Controls have a section of their own, and a search is drawn with its default final choice only.

    Args:
        there: methods and verifiers of all lines.
    """
    second_choice = (line.method.removesuffix("_weighted"), line.verifier) in there - {(line.method, line.verifier)}
    return not (line.control or second_choice or line.method.startswith("alone"))


def _by_method(line: MethodResult) -> int:
    return _look(line.method)[2] if line.verifier else NEUTRAL


def _by_verifier(names: Sequence[str]) -> Colouring:
    def colour(line: MethodResult) -> int:
        return names.index(line.verifier) if line.verifier else NEUTRAL

    return colour


def _look(method: str) -> tuple[LineStyle, int, int]:
    """A method looks as its variants do, and a new one always as it did before."""
    stable = sum(map(ord, method))
    return LOOKS.get(_VARIANT.sub("", method), (_LINES[stable % len(_LINES)], stable % 8, stable % 8))
