"""Histograms of labels and lengths, as a dry run prints them."""

from __future__ import annotations

from prm.training.data_text import bars, data_text, label_bins, length_bins
from prm.training.page.rows import RowFacts


def test_labels_of_both_classes_and_between_them_are_counted_apart() -> None:
    assert label_bins([0, 1, 1, 0]) == [("0, wrong", 2), ("1, right", 2)]
    soft = dict(label_bins([0, 0.1, 0.5, 0.55, 0.99, 1]))
    assert soft == {"0, wrong": 1, "0 to 0.2": 1, "0.2 to 0.4": 0, "0.4 to 0.6": 2, "0.6 to 0.8": 0} | {
        "0.8 to 1": 1,
        "1, right": 1,
    }


def test_lengths_lie_in_ranges_that_cover_all_of_them() -> None:
    found = length_bins([10, 11, 30, 89, 90])
    assert sum(count for _, count in found) == 5 and len(found) <= 8
    assert found[0] == ("10 to 20", 2) and found[-1][0].endswith(" to 90")
    assert length_bins([7, 7]) == [("7", 2)] and length_bins([3, 4]) == [("3", 1), ("4", 1)]


def test_bars_are_as_long_as_their_counts() -> None:
    _, first, second, third = bars("x", [("a", 40), ("b", 10), ("c", 0)]).splitlines()
    assert (first.count("█"), second.count("█"), third.count("█")) == (40, 10, 0)
    assert first.endswith("40  80.0%") and second.endswith("10  20.0%")


def test_rows_without_labels_have_their_lengths() -> None:
    assert data_text(RowFacts([5, 6], [[-100.0], [-100.0]], 2)).startswith("tokens of a solution\n")
