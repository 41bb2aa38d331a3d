"""The plots of a report as SVG text: lines with bands, points with intervals, histograms, reliability.

Lines carry their names at their ends, not in a legend; colour is never the only mark (markers differ too). Every
function returns one `<svg>` element that follows the page's theme (see `prm.report.svg`) and has the same bytes for
the same input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.errors import DataError
from prm.report import svg
from prm.report.canvas import (
    NARROW,
    MarginLabel,
    axes_inches,
    drawing,
    frame,
    label_margin,
    margin_inches,
    text_inches,
)
from prm.report.formatting import percent, si
from prm.report.layout import log_ticks, spread
from prm.report.series import WRITERS, IntervalRow, Scale, Series, finite, heights, point_notes, tick_writer
from prm.stats.calibration import ReliabilityBin
from prm.stats.intervals import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["IntervalRow", "Series", "clear_of", "histogram", "interval_plot", "line_plot", "reliability_plot"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES = {"solid": "-", "dashed": (0, (5, 2.5)), "dotted": (0, (1.2, 2)), "dashdot": (0, (6, 2, 1.2, 2))}
_ABOVE, _BELOW = svg.series_color(0), svg.series_color(1)
MOST_BANDS = 4
"""More bands than these cover each other; then every point has a thin error bar instead."""


def line_plot(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    chance: Sequence[tuple[float, str]] = (),
    scale: Scale = "percent",
) -> str:
    """Lines with bands, or error bars where there are many, and their names at their ends.

    Args:
        chance: horizontal reference lines (y, label), such as greedy decoding or a verifier without skill.
        scale: how y values are written; `percent` takes fractions.

    Raises:
        DataError: no points at all, or an x that a logarithmic axis cannot show.
    """
    drawn = [finite(one) for one in series]
    xs = [x for one in drawn for x in one.x]
    if not xs:
        raise DataError(f"the plot {title!r} has no points", remedy="Give it at least one series with a finite value")
    if log_x and min(xs) <= 0:
        raise DataError(f"the plot {title!r} has a logarithmic axis and the value {min(xs):g} on it")
    names = [one.label for one in drawn if one.x] + [label for _, label in chance]
    with drawing():
        figure, axes = frame(title, y_label, x_label, left=0.55, right=margin_inches(names), height=4.3)
        _set_x(axes, xs, log_x)
        _set_y(axes, [*heights(drawn), *(y for y, _ in chance)], scale)
        for y, _ in chance:
            axes.axhline(y, color=svg.MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=1.2)
        drawn = [replace(one, color=i if one.color is None else one.color) for i, one in enumerate(drawn)]
        for index, one in enumerate(drawn):
            _draw_series(axes, one, f"points-{index}", band=len(drawn) <= MOST_BANDS)
        ends = [MarginLabel(one.label, one.x[-1], one.y[-1], _colour(one)) for one in drawn if one.x]
        edge = axes.get_xlim()[1]
        label_margin(axes, ends + [MarginLabel(text, edge, y, svg.MUTED, quiet=True) for y, text in chance])
        notes = {f"points-{i}": point_notes(one, scale) for i, one in enumerate(drawn) if one.x}
        return svg.figure_to_svg(figure, description=f"{title}: {', '.join(names)}", tooltips=notes)


def interval_plot(
    rows: Sequence[IntervalRow],
    *,
    title: str,
    x_label: str,
    reference: float = 0.0,
    reference_label: str = "",
    scale: Scale = "points",
) -> str:
    """Points with their intervals, one row each, first row on top; intervals clear of the reference stand out. The
    label of the reference stands over its line.

    Raises:
        DataError: no rows.
    """
    if not rows:
        raise DataError(f"the plot {title!r} has no rows")
    write = WRITERS[scale]
    values = [f"{write(r.mean)} [{write(r.low).removesuffix('%')}, {write(r.high).removesuffix('%')}]" for r in rows]
    left = 0.3 + max(text_inches(row.label) for row in rows)
    right = 0.3 + max(text_inches(value, 9.5) for value in values)
    with drawing():
        figure, axes = frame(title, "", x_label, left=left, right=right, height=1.4 + 0.36 * len(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], color=svg.INK, size=10)
        ends = [end for row in rows for end in (row.low, row.high, row.mean) if not math.isnan(end)]
        low, high = min([*ends, reference]), max([*ends, reference])
        axes.set_xlim(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
        axes.xaxis.set_major_formatter(tick_writer(scale))
        axes.grid(axis="x", color=svg.GRID, linewidth=0.8)
        axes.axvline(reference, color=svg.INK, linewidth=1.1)
        over: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom", "size": 9.5}
        axes.text(reference, 1.02, reference_label, color=svg.MUTED, **over)
        for y, (row, value) in enumerate(zip(rows, values, strict=True)):
            colour = _ABOVE if row.low > reference else _BELOW if row.high < reference else svg.MUTED
            _interval_row(axes, y, row, value, colour)
        described = "; ".join(f"{row.label} {value}" for row, value in zip(rows, values, strict=True))
        return svg.figure_to_svg(figure, description=f"{title}: {described}")


def clear_of(reference: str) -> str:
    """What the colours of `interval_plot` say, for its caption."""
    return f"Blue: the interval lies above {reference}; orange: below; grey: it holds {reference}."


def histogram(
    groups: Sequence[tuple[str, Sequence[float]]],
    *,
    title: str,
    x_label: str,
    bins: int = 20,
    limits: tuple[float, float] | None = (0.0, 1.0),
    narrow: bool = False,
) -> str:
    """Overlaid histograms, each group's bars adding up to 100% of the group; names stand over the highest bars.

    Args:
        groups: (label, values) pairs; the number of values stands under the label.
        limits: ends of the x axis, or `None` for those of the data; values beyond them count in the outer bars.
        narrow: of the size of `reliability_plot`, to stand beside it.

    Raises:
        DataError: no values at all.
    """
    everything = np.concatenate([np.asarray(values, dtype=float) for _, values in groups]) if groups else np.array([])
    if not everything.size:
        raise DataError(f"the plot {title!r} has no values")
    low, high = limits if limits is not None else (float(everything.min()), float(everything.max()))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = [np.histogram(np.clip(v, low, high), edges)[0] / max(1, len(v)) for _, v in groups]
    names = [(label, f"{len(values):,}") for label, values in groups]
    with drawing():
        size = {"height": 4.1, "width": NARROW} if narrow else {"height": 3.6}
        figure, axes = frame(title, "Share of each group", x_label, left=0.55, right=0.25, **size)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.28 * max(float(share.max()) for share in shares) or 1.0)
        axes.yaxis.set_major_formatter(tick_writer("percent"))
        axes.grid(axis="y", color=svg.GRID, linewidth=0.8)
        for index, share in enumerate(shares):
            colour = svg.series_color(index)
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
            axes.stairs(share, edges, color=colour, linewidth=1.6)
        _label_peaks(axes, names, shares, edges)
        top = max(float(share.max()) for share in shares)
        axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 1.05 * top])  # none behind the names
        return svg.figure_to_svg(figure, description=f"{title}: {', '.join(map(' '.join, names))}")


def reliability_plot(
    bins: Sequence[ReliabilityBin], *, title: str, x_label: str = "Score", unit: str = "steps"
) -> str:
    """Share of right items against the mean score of each bin, with Wilson intervals; on the diagonal is calibrated.

    Raises:
        DataError: no bins.
    """
    if not bins:
        raise DataError(f"the plot {title!r} has no bins")
    x = [row.predicted for row in bins]
    bars = [wilson(round(row.observed * row.count), row.count) for row in bins]
    y = [row.observed for row in bins]
    low, high = [bar.low for bar in bars], [bar.high for bar in bars]
    with drawing():
        y_label = f"Share of {unit} that are right; dashed: calibrated"
        figure, axes = frame(title, y_label, x_label, left=0.55, right=0.25, height=4.1, width=NARROW)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([0, 0.25, 0.5, 0.75, 1])
            axis.set_major_formatter(tick_writer("percent"))
        axes.grid(color=svg.GRID, linewidth=0.8)
        axes.plot([0, 1], [0, 1], color=svg.MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.vlines(x, low, high, color=svg.series_color(0), linewidth=1.6, alpha=0.6)
        axes.plot(x, y, color=svg.series_color(0), linewidth=1.6)
        _markers(axes, Series("", x, y, color=0), "points-0")
        notes = [f"{percent(b.predicted)} said, {percent(b.observed)} right, {b.count:,} {unit}" for b in bins]
        return svg.figure_to_svg(figure, description=f"{title}: {'; '.join(notes)}", tooltips={"points-0": notes})


def _set_x(axes: Axes, xs: Sequence[float], log_x: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    low, high = min(xs), max(xs)
    if log_x:
        axes.set_xscale("log")
        margin = max(1.06, (high / low) ** 0.025)
        axes.set_xlim(low / margin, high * margin)
        axes.set_xticks(log_ticks(xs))
        axes.set_xticks([], minor=True)
    else:
        margin = 0.025 * (high - low or 1)
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=9, integer=all(x == round(x) for x in xs)))
    axes.xaxis.set_major_formatter(lambda x, _: si(x, trim=True))


def _set_y(axes: Axes, heights: Sequence[float], scale: Scale) -> None:
    low, high = min(heights), max(heights)
    margin = 0.06 * (high - low or 0.1)
    low, high = low - margin, high + margin
    if scale == "percent":  # no room for accuracies that cannot be
        low, high = max(low, -0.01), min(high, 1.01)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(tick_writer(scale))
    axes.grid(axis="y", color=svg.GRID, linewidth=0.8)


def _colour(one: Series) -> str:
    return svg.series_color(one.color or 0)


def _draw_series(axes: Axes, one: Series, gid: str, *, band: bool) -> None:
    if not one.x:
        return
    colour = _colour(one)
    if one.low is not None and one.high is not None:
        if len(one.x) == 1 and band:
            axes.vlines(one.x, one.low, one.high, color=colour, linewidth=2, alpha=0.55, zorder=2)
        elif band:
            axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.1, linewidth=0, zorder=1.1)
        else:
            axes.vlines(one.x, one.low, one.high, color=colour, linewidth=0.9, alpha=0.5, zorder=2)
    axes.plot(one.x, one.y, color=colour, linewidth=2, linestyle=_DASHES[one.style], zorder=3)
    _markers(axes, one, gid)


def _markers(axes: Axes, one: Series, gid: str) -> None:
    """Markers apart from their line, under a group id of their own for the tooltips."""
    mark = one.color if one.mark is None else one.mark
    (markers,) = axes.plot(
        one.x,
        one.y,
        linestyle="none",
        marker=_MARKERS[(mark or 0) % len(_MARKERS)],
        markersize=6.5,
        markerfacecolor=_colour(one),
        markeredgecolor=svg.PAPER,
        markeredgewidth=1.1,
        clip_on=False,
        zorder=4,
    )
    markers.set_gid(gid)


def _interval_row(axes: Axes, y: int, row: IntervalRow, value: str, colour: str) -> None:
    axes.hlines(y, row.low, row.high, color=colour, linewidth=2.4, alpha=0.75)
    axes.plot([row.mean], [y], "o", color=colour, markersize=7.5, markeredgecolor=svg.PAPER, markeredgewidth=1.1)
    axes.text(1.03, y, value, transform=axes.get_yaxis_transform(), size=9.5, color=colour, va="center_baseline")


def _label_peaks(
    axes: Axes, names: Sequence[tuple[str, str]], shares: Sequence[np.ndarray], edges: np.ndarray
) -> None:
    """Names and counts over the highest bars, moved apart sideways where they would overlap."""
    width, _ = axes_inches(axes)
    span = edges[-1] - edges[0]
    middles = (edges[:-1] + edges[1:]) / 2
    wanted = [float((middles[share.argmax()] - edges[0]) / span * width) for share in shares]
    places = spread(wanted, [text_inches(name, bold=True) + 0.12 for name, _ in names], 0, width)
    top = max(float(share.max()) for share in shares)
    for index, ((name, count), place) in enumerate(zip(names, places, strict=True)):
        x, colour = edges[0] + place / width * span, svg.series_color(index)
        axes.text(x, 1.15 * top, name, color=colour, weight="bold", ha="center", va="bottom")
        axes.text(x, 1.06 * top, count, color=colour, size=9, ha="center", va="bottom")
