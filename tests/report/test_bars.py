"""Bars: counts of whole numbers and stacked shares."""

from __future__ import annotations

import pytest

from prm.errors import DataError
from prm.report.bars import _shade, _whole_ticks, count_bars, stacked_shares


def test_counts_are_shown_as_shares_of_all() -> None:
    plot = count_bars({8: 3, 4: 1, 5: 0}, title="Completions", x_label="Completions", unit="prefixes")
    assert plot.startswith("<svg") and "Share of 4 prefixes" in plot
    assert "75.0%" in plot and "25.0%" in plot and "5: " not in plot
    assert plot == count_bars({4: 1, 8: 3}, title="Completions", x_label="Completions", unit="prefixes")


def test_stacked_shares_name_the_bins_that_are_used() -> None:
    plot = stacked_shares(
        ["none", "some", "all"], [[1, 0, 3], [0, 0, 0], [2, 0, 2]], title="Values", x_label="Step", y_label="Share"
    )
    assert ">none<" in plot and ">all<" in plot and ">some<" not in plot
    assert "1: 75.0% in all, 3: 50.0% in all" in plot  # the second step has no labels


def test_shades_are_strong_at_the_ends_and_faint_in_the_middle() -> None:
    shades = [_shade(index, 6) for index in range(6)]
    assert len({colour for colour, _ in shades[:3]}) == len({colour for colour, _ in shades[3:]}) == 1
    assert shades[0][0] != shades[5][0]
    strengths = [strength for _, strength in shades]
    assert strengths == pytest.approx([1, 0.64, 0.28, 0.28, 0.64, 1])


@pytest.mark.parametrize(
    ("numbers", "ticks"), [([1, 2, 5], [1, 2, 5]), (list(range(1, 31)), list(range(5, 31, 5))), ([0], [0])]
)
def test_ticks_are_whole_and_few(numbers: list[int], ticks: list[int]) -> None:
    assert _whole_ticks(numbers) == ticks


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(DataError, match="has no values"):
        count_bars({1: 0}, title="x", x_label="x", unit="x")
    with pytest.raises(DataError, match="has no values"):
        stacked_shares(["a"], [[0]], title="x", x_label="x", y_label="x")
