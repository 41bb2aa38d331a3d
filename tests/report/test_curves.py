"""Curves of a training: the last value at the end, many points thinned, units."""

from __future__ import annotations

import math
import re

import pytest

from prm.errors import DataError
from prm.report.curves import MOST_POINTS, _scales, curve_plot, thinned
from prm.report.series import Series


def test_a_curve_ends_in_its_value_and_two_in_their_names() -> None:
    one = curve_plot([Series("loss", [1, 2], [0.9, 0.4567])], title="Loss", y_label="nats")
    assert one.startswith("<svg") and ">0.457<" in one and "0.9 at 1" in one
    two = curve_plot(
        [Series("training", [1, 2], [0.9, 0.5]), Series("held out", [2], [0.7])], title="Loss", y_label=""
    )
    assert ">training 0.5<" in two and ">held out 0.7<" in two


@pytest.mark.parametrize(("unit", "value", "text"), [("percent", 0.415, "41.5%"), ("si", 41234, "41.2k")])
def test_values_are_written_in_their_unit(unit: str, value: float, text: str) -> None:
    plot = curve_plot([Series("x", [1, 2], [value, value])], title="T", y_label="", unit=unit)  # type: ignore[arg-type]
    assert f">{text}<" in plot


def test_small_numbers_keep_their_digits() -> None:
    assert ">2.5e−06<" in curve_plot([Series("lr", [1, 2], [1e-5, 2.5e-6])], title="Learning rate", y_label="")


def test_many_points_become_means_of_their_neighbours() -> None:
    many = Series("loss", list(range(1000)), [float(i % 4) for i in range(1000)])
    few = thinned(many)
    assert len(few.x) == 250 <= MOST_POINTS and set(few.y) == {1.5} and few.x[:2] == [1.5, 5.5]
    assert thinned(few) is few


def test_values_that_are_none_leave_a_gap_and_no_values_are_refused() -> None:
    plot = curve_plot([Series("norm", [1, 2, 3], [1.0, math.nan, 2.0])], title="T", y_label="")
    assert len(re.findall("<title>", plot)) == 2
    with pytest.raises(DataError, match="the plot 'T' has no points"):
        curve_plot([Series("norm", [1.0], [math.inf])], title="T", y_label="")


@pytest.mark.parametrize(("values", "lowest"), [([0.0, 0.0], -0.01), ([0.0, 0.5], -0.02), ([-1.0, 1.0], -1.5)])
def test_what_is_never_below_zero_has_no_axis_there(values: list[float], lowest: float) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    _scales(axes, [Series("x", [0.0, 1.0], values)], "number")
    low, high = axes.get_ylim()
    assert lowest <= low <= min(values) and high > max(values)
