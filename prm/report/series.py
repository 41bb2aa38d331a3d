"""What plots are given: series with bands, rows with intervals, and how their values are written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prm.errors import DataError
from prm.report.formatting import number, percent, points, si
from prm.stats.intervals import Estimate

LineStyle = Literal["solid", "dashed", "dotted", "dashdot"]
Scale = Literal["percent", "points", "number"]

WRITERS: dict[str, Callable[[float], str]] = {"percent": percent, "points": points, "number": number}


@dataclass(frozen=True)
class Series:
    """One line of a plot.

    Attributes:
        label: its name, written at its end.
        x, y: the points.
        low, high: the band's edges, one per point; a series of one point gets an error bar instead.
        style: how the line is drawn.
        color: index into the palette, by default the series' place, or `prm.report.svg.NEUTRAL`; what it stands for
            should keep it from plot to plot.
        mark: index of the marker, by default that of the colour.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    style: LineStyle = "solid"
    color: int | None = None
    mark: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("y", self.y), ("low", self.low), ("high", self.high)):
            if values is not None and len(values) != len(self.x):
                raise DataError(f"series {self.label!r} has {len(self.x)} x and {len(values)} {name} values")
        if (self.low is None) != (self.high is None):
            raise DataError(f"series {self.label!r} has one edge of its band and not the other")

    @classmethod
    def from_estimates(
        cls,
        label: str,
        x: Sequence[float],
        estimates: Sequence[Estimate],
        *,
        style: LineStyle = "solid",
        color: int | None = None,
        mark: int | None = None,
    ) -> Series:
        """A series whose band is the intervals of its estimates."""
        y, low, high = ([getattr(e, name) for e in estimates] for name in ("mean", "low", "high"))
        return cls(label, x, y, low, high, style, color, mark)


@dataclass(frozen=True)
class IntervalRow:
    """One row of an interval plot."""

    label: str
    mean: float
    low: float
    high: float


def finite(one: Series) -> Series:
    """Leave out the points that have no finite value, and order the others by x."""
    keep = [i for i in range(len(one.x)) if math.isfinite(one.x[i]) and math.isfinite(one.y[i])]
    keep.sort(key=lambda i: one.x[i])
    x, y = [one.x[i] for i in keep], [one.y[i] for i in keep]
    low = None if one.low is None else [one.low[i] for i in keep]
    high = None if one.high is None else [one.high[i] for i in keep]
    return replace(one, x=x, y=y, low=low, high=high)


def heights(series: Sequence[Series]) -> list[float]:
    """All values and band edges that the y axis must show."""
    found = [value for one in series for values in (one.y, one.low, one.high) for value in values or ()]
    return [value for value in found if math.isfinite(value)]


def tick_writer(scale: Scale) -> Callable[[float, float], str]:
    """Ticks carry no more decimals than they need."""

    def write(value: float, _: float) -> str:
        text = f"{value if scale == 'number' else 100 * value:.6g}".replace("-", "−")
        sign = "+" if scale == "points" and value > 0 else ""
        return f"{sign}{text}{'%' if scale == 'percent' else ''}"

    return write


def point_notes(one: Series, scale: Scale) -> list[str]:
    """What each point says on hover."""
    write = WRITERS[scale]
    notes = [f"{one.label}: {write(y)} at {si(x, trim=True)}" for x, y in zip(one.x, one.y, strict=True)]
    if one.low is None or one.high is None:
        return notes
    ends = zip(one.low, one.high, strict=True)
    return [f"{note}, interval {write(a)} to {write(b)}" for note, (a, b) in zip(notes, ends, strict=True)]
