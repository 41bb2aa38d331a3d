"""Bars of a report as SVG text: counts of whole numbers, and shares that are stacked from the lowest value up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.errors import DataError
from prm.report import svg
from prm.report.canvas import NARROW, axes_inches, drawing, frame, text_inches
from prm.report.formatting import integer, percent, si
from prm.report.series import tick_writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOW, _HIGH = 1, 0  # palette indices of the lower and the upper half of a scale: orange and blue
_FAINTEST = 0.28


def count_bars(counts: Mapping[int, int], *, title: str, x_label: str, unit: str, narrow: bool = True) -> str:
    """One bar for each whole number, as a share of all; its height is written over it where there are few.

    Args:
        counts: how often each number came up.
        unit: what is counted, such as `prefixes`.

    Raises:
        DataError: nothing to count.
    """
    total = sum(counts.values())
    if not total:
        raise DataError(f"the plot {title!r} has no values")
    xs = sorted(number for number, count in counts.items() if count)
    shares = [counts[x] / total for x in xs]
    with drawing():
        size = {"height": 4.1, "width": NARROW} if narrow else {"height": 3.6}
        figure, axes = frame(title, f"Share of {integer(total)} {unit}", x_label, left=0.55, right=0.25, **size)
        axes.bar(xs, shares, width=0.72, color=svg.series_color(0), linewidth=0)
        axes.set_xlim(xs[0] - 1, xs[-1] + 1)
        axes.set_ylim(0, 1.12 * max(shares))
        axes.set_xticks(_whole_ticks(xs))
        axes.xaxis.set_major_formatter(lambda x, _: si(x, trim=True))
        axes.yaxis.set_major_formatter(tick_writer("percent"))
        axes.grid(axis="y", color=svg.GRID, linewidth=0.8)
        if len(xs) <= 6:
            for x, share in zip(xs, shares, strict=True):
                axes.text(x, share + 0.015 * max(shares), percent(share), ha="center", va="bottom", size=9.5)
        notes = "; ".join(f"{x}: {percent(share)}" for x, share in zip(xs, shares, strict=True))
        return svg.figure_to_svg(figure, description=f"{title}: {notes}")


def stacked_shares(
    bins: Sequence[str], counts: Sequence[Sequence[int]], *, title: str, x_label: str, y_label: str
) -> str:
    """One bar a position, of shares stacked from the lowest bin up; the lower half of the bins is orange and the upper
    blue, both stronger towards the ends. A key names the bins in the same order.

    Args:
        bins: names from low to high; those that no bar has are left out.
        counts: (P, B) how many of each position lie in each bin; positions are numbered from 1, empty ones left out.

    Raises:
        DataError: nothing to show.
    """
    table = np.asarray(counts, dtype=float).reshape(len(counts), len(bins))
    positions = np.flatnonzero(table.sum(1))
    if not positions.size:
        raise DataError(f"the plot {title!r} has no values")
    shares = table[positions] / table[positions].sum(1, keepdims=True)
    used = [index for index in range(len(bins)) if shares[:, index].any()]
    with drawing():
        right = 0.6 + max(text_inches(bins[index], 9.5) for index in used)
        figure, axes = frame(title, y_label, x_label, left=0.55, right=right, height=4.3)
        axes.set(xlim=(positions[0] + 0.4, positions[-1] + 1.6), ylim=(0, 1))
        axes.set_xticks(_whole_ticks((positions + 1).tolist()))
        axes.yaxis.set_major_formatter(tick_writer("percent"))
        bottom = np.zeros(len(positions))
        for index in used:
            colour, alpha = _shade(index, len(bins))
            axes.bar(positions + 1, shares[:, index], 0.86, bottom, color=colour, alpha=alpha, linewidth=0)
            bottom = bottom + shares[:, index]
        _key(axes, [(bins[index], *_shade(index, len(bins))) for index in used])
        described = ", ".join(
            f"{at + 1}: {percent(float(row[-1]))} in {bins[-1]}" for at, row in zip(positions, shares, strict=True)
        )
        return svg.figure_to_svg(figure, description=f"{title}: {described}")


def _key(axes: Axes, entries: Sequence[tuple[str, str, float]]) -> None:
    """Names beside their shades, right of the bars, in the order in which the bars are stacked."""
    from matplotlib.patches import Rectangle

    width, height = axes_inches(axes)
    line, side = 0.27 / height, 0.15
    start = 0.5 - line * (len(entries) - 1) / 2
    for place, (name, colour, alpha) in enumerate(entries):
        y = start + place * line
        corner, size = (1 + 0.12 / width, y - side / height / 2), (side / width, side / height)
        look: dict[str, Any] = {"color": colour, "alpha": alpha, "linewidth": 0, "clip_on": False}
        axes.add_patch(Rectangle(corner, *size, transform=axes.transAxes, **look))
        x = 1 + (0.2 + side) / width
        axes.text(x, y, name, transform=axes.transAxes, size=9.5, color=svg.INK, va="center_baseline")


def _shade(index: int, count: int) -> tuple[str, float]:
    """Colour and opacity of a bin: strong at the ends of the scale, faint in its middle."""
    place = 2 * (index + 0.5) / count - 1  # from -1 to 1
    strength = (abs(place) - 1 / count) / (1 - 2 / count) if count > 2 else 1.0
    return svg.series_color(_HIGH if place > 0 else _LOW), _FAINTEST + (1 - _FAINTEST) * max(0.0, strength)


def _whole_ticks(xs: Sequence[int], most: int = 12) -> list[int]:
    """All whole numbers there are, or every second, fifth, tenth ... where they are many."""
    if len(xs) <= most:
        return list(xs)
    span = xs[-1] - xs[0]
    stride = next(
        step for scale in (1, 10, 100, 1000, 10_000) for step in (scale, 2 * scale, 5 * scale) if span / step <= most
    )
    first = -(-xs[0] // stride) * stride
    return list(range(first, xs[-1] + 1, stride))
