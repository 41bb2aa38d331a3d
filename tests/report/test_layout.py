"""Labels that do not overlap, and ticks."""

from __future__ import annotations

import numpy as np
import pytest

from prm.report.layout import log_ticks, spread


def test_labels_with_room_stay_where_they_are_wanted() -> None:
    assert spread([10, 50, 90], [12, 12, 12], 0, 100) == pytest.approx([10, 50, 90])


def test_labels_in_conflict_part_around_their_middle() -> None:
    assert spread([50, 50], [10, 20], 0, 100) == pytest.approx([42.5, 57.5])
    assert spread([51, 49], [10, 10], 0, 100) == pytest.approx([55, 45])


def test_labels_stay_inside_the_line() -> None:
    assert spread([99, 100], [10, 10], 0, 100) == pytest.approx([85, 95])
    assert spread([0, 1], [10, 10], 0, 100) == pytest.approx([5, 15])


def test_too_many_labels_are_squeezed_alike() -> None:
    assert spread([50] * 4, [50] * 4, 0, 100) == pytest.approx([12.5, 37.5, 62.5, 87.5])


@pytest.mark.parametrize("seed", range(20))
def test_no_two_labels_ever_overlap_and_their_order_is_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    wanted, sizes = rng.uniform(-20, 120, count), rng.uniform(3, 12, count)
    places = np.array(spread(list(wanted), list(sizes), 0, 100))
    order = np.argsort(wanted, kind="stable")
    lower, upper = (places - sizes / 2)[order], (places + sizes / 2)[order]
    assert (lower[1:] >= upper[:-1] - 1e-9).all()
    assert lower[0] >= -1e-9 and upper[-1] <= 100 + 1e-9


def test_ticks_are_the_values_where_they_are_few() -> None:
    assert log_ticks([1, 2, 4, 8, 16, 4]) == [1, 2, 4, 8, 16]


def test_ticks_of_a_wide_range_are_round_numbers() -> None:
    assert log_ticks([2.1e7, 5.5e8]) == pytest.approx([2e7, 5e7, 1e8, 2e8, 5e8])
    assert log_ticks([1.3e3, 1.0e8]) == pytest.approx([1e3, 1e4, 1e5, 1e6, 1e7, 1e8])
    assert len(log_ticks([1e-3, 1e30])) <= 9
