"""Curves over the course of a training as SVG text: many points, few marks, the last value written at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from prm.errors import DataError
from prm.report import svg
from prm.report.canvas import NARROW, WIDTH, MarginLabel, drawing, frame, label_margin, margin_inches
from prm.report.formatting import percent, si
from prm.report.series import Series, finite, tick_writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Unit = Literal["percent", "number", "si"]

MOST_POINTS = 300
"""A curve of more points is drawn as the means of neighbours."""
_WIDEST = "00.0%"  # what most values end in, so that the axes of two plots are of one width
_MARKED = 40  # points that are few enough to have a mark each


def curve_plot(
    series: Sequence[Series],
    *,
    title: str,
    y_label: str,
    x_label: str = "Optimiser steps",
    unit: Unit = "number",
    narrow: bool = True,
) -> str:
    """One or more curves; a single one ends in its value, several in their names and values.

    Args:
        unit: how values are written; `percent` takes fractions, `si` writes 41.2k.
        narrow: of half the page's width, to stand beside another.

    Raises:
        DataError: no points at all.
    """
    drawn = [replace(one, color=index) for index, one in enumerate(map(thinned, map(finite, series))) if one.x]
    if not drawn:
        raise DataError(f"the plot {title!r} has no points", remedy="Give it at least one series with a finite value")
    write = _WRITERS[unit]
    ends = [f"{one.label} {write(one.y[-1])}" if len(drawn) > 1 else write(one.y[-1]) for one in drawn]
    with drawing():
        size = {"height": 2.9, "width": NARROW} if narrow else {"height": 3.7, "width": WIDTH}
        figure, axes = frame(title, y_label, x_label, left=0.7, right=margin_inches([*ends, _WIDEST]), **size)
        _scales(axes, drawn, unit)
        for index, one in enumerate(drawn):
            _draw(axes, one, f"points-{index}")
        labels = [
            MarginLabel(text, one.x[-1], one.y[-1], svg.series_color(one.color or 0))
            for text, one in zip(ends, drawn, strict=True)
        ]
        label_margin(axes, labels)
        notes = {
            f"points-{index}": [f"{write(y)} at {x:,.0f}" for x, y in zip(one.x, one.y, strict=True)]
            for index, one in enumerate(drawn)
        }
        return svg.figure_to_svg(figure, description=f"{title}: {', '.join(ends)}", tooltips=notes)


def thinned(one: Series, most: int = MOST_POINTS) -> Series:
    """At most so many points, each the mean of as many neighbours."""
    if len(one.x) <= most:
        return one
    size = math.ceil(len(one.x) / most)
    cuts = range(0, len(one.x), size)
    x, y = ([float(np.mean(values[cut : cut + size])) for cut in cuts] for values in (one.x, one.y))
    return Series(one.label, x, y)


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


_WRITERS: dict[str, Callable[[float], str]] = {"percent": percent, "number": _number, "si": si}


def _scales(axes: Axes, drawn: Sequence[Series], unit: Unit) -> None:
    from matplotlib.ticker import MaxNLocator

    xs, ys = [x for one in drawn for x in one.x], [y for one in drawn for y in one.y]
    room = 0.02 * (max(xs) - min(xs)) or 0.5
    axes.set_xlim(min(xs) - room, max(xs) + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(lambda x, _: si(x, trim=True))
    room = 0.08 * (max(ys) - min(ys)) or 0.1 * abs(max(ys)) or 0.1
    low, high = min(ys) - room, max(ys) + room
    if min(ys) >= 0:
        low = max(low, -0.02 * high)  # what is never below 0 has no axis there
    if unit == "percent":
        low, high = max(low, -0.01), min(high, 1.01)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    writer = tick_writer("percent" if unit == "percent" else "number")
    axes.yaxis.set_major_formatter((lambda y, _: si(y, trim=True)) if unit == "si" else writer)
    axes.grid(axis="y", color=svg.GRID, linewidth=0.8)


def _draw(axes: Axes, one: Series, gid: str) -> None:
    colour = svg.series_color(one.color or 0)
    axes.plot(one.x, one.y, color=colour, linewidth=1.7, zorder=3)
    few = len(one.x) <= _MARKED
    size = 4.2 if few else 1.7
    (marks,) = axes.plot(
        one.x, one.y, "o", markersize=size, color=colour, markeredgewidth=0, clip_on=False, zorder=4
    )  # fmt: skip
    marks.set_gid(gid)
