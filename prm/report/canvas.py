"""What every plot shares: the frame with its title and quiet grid, and labels in the margin beside what they name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.report import svg
from prm.report.layout import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, NARROW = 7.6, 3.76  # inches, of which the page makes a whole row and a half
TOP, BOTTOM = 0.66, 0.62  # inches over and under the axes
FONT_POINTS = 10.0
LINE_POINTS = 13.0
CHARACTER, BOLD_CHARACTER = 0.58, 0.65  # of the font size; generous, for the page's font may be any
LABEL_CHARACTERS = 26
LEADER = 0.22  # inches from the axes to a label


@dataclass(frozen=True)
class MarginLabel:
    """A label for the right margin.

    Attributes:
        text: what it says.
        x, y: the data point it belongs to; a leader line starts there.
        colour: a placeholder of `prm.report.svg`.
        quiet: for reference lines; those of series are bold.
    """

    text: str
    x: float
    y: float
    colour: str
    quiet: bool = False

    @property
    def lines(self) -> list[str]:
        return textwrap.wrap(self.text, LABEL_CHARACTERS) or [""]


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib's settings for our pictures, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(svg.RC_PARAMS)
        yield


def text_inches(text: str, size: float = FONT_POINTS, *, bold: bool = False) -> float:
    """Room a line of text takes, estimated."""
    return len(text) * (BOLD_CHARACTER if bold else CHARACTER) * size / 72


def axes_inches(axes: Axes) -> tuple[float, float]:
    """Width and height of an axes."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # ours always have one
    box = axes.get_window_extent()
    return box.width / figure.dpi, box.height / figure.dpi


def frame(
    title: str, y_label: str, x_label: str, *, left: float, right: float, height: float, width: float = WIDTH
) -> tuple[Figure, Axes]:
    """A figure with one axes; `left` and `right` are the margins in inches.

    The name of the y axis stands upright under the title, where it is read first, and not on its side.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    size = ((width - left - right) / width, (height - TOP - BOTTOM) / height)
    axes = figure.add_axes((left / width, BOTTOM / height, *size))
    figure.text(0, 1 - 0.22 / height, title, size=12, weight="bold", color=svg.INK, va="center")
    figure.text(0, 1 - 0.45 / height, y_label, size=9.5, color=svg.MUTED, va="center")
    axes.set_xlabel(x_label, size=9.5, labelpad=7)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(svg.GRID)
    axes.tick_params(length=0, pad=6, labelsize=9.5)
    axes.set_axisbelow(True)
    return figure, axes


def label_margin(axes: Axes, labels: Sequence[MarginLabel]) -> None:
    """Write labels right of the axes at the height of what they name, moved apart where they would overlap."""
    width, height_inches = axes_inches(axes)
    height = 72 * height_inches
    to_axes = axes.transData + axes.transAxes.inverted()
    anchors = [to_axes.transform((label.x, label.y)) for label in labels]
    sizes = [LINE_POINTS * len(label.lines) + 2 for label in labels]
    places = spread([float(y) * height for _, y in anchors], sizes, -8, height + 8)
    for label, (x, y), place in zip(labels, anchors, places, strict=True):
        _leader(axes, label, (float(x), float(y)), place / height, LEADER / width)
        top = place + LINE_POINTS * (len(label.lines) - 1) / 2
        for index, line in enumerate(label.lines):
            axes.text(
                1 + (LEADER + 0.05) / width,
                (top - LINE_POINTS * index) / height,
                line,
                transform=axes.transAxes,
                color=label.colour,
                va="center_baseline",
                size=9 if label.quiet else FONT_POINTS,
                weight="normal" if label.quiet else "bold",
            )


def margin_inches(labels: Sequence[str]) -> float:
    """The right margin that these labels need."""
    lines = [line for label in labels for line in textwrap.wrap(label, LABEL_CHARACTERS)]
    return LEADER + 0.15 + max((text_inches(line, bold=True) for line in lines), default=0.0)


def _leader(axes: Axes, label: MarginLabel, start: tuple[float, float], place: float, length: float) -> None:
    """A thin line from a label to what it names; dotted across the plot where a series ends early."""
    from matplotlib.lines import Line2D

    x, y = start
    style: dict[str, Any] = {
        "color": label.colour,
        "transform": axes.transAxes,
        "clip_on": False,
        "linewidth": 0.8,
        "zorder": 1.5,
    }
    if not label.quiet and x < 0.94:
        axes.add_line(Line2D([x, 1.0], [y, y], linestyle=(0, (1, 3)), **style))
    axes.add_line(Line2D([1.0 if x < 0.94 else x, 1 + length], [y, place], alpha=0.7, **style))
