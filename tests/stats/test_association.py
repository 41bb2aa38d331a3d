"""Rank correlation within groups: what differs between groups is no association."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from prm.errors import DataError
from prm.stats.association import within_group_correlation


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Pearson's correlation of ranks, each the number of values below plus half of the equal ones."""
    ranks = [[(v < one).sum() + ((v == one).sum() + 1) / 2 for one in v] for v in (x, y)]
    return float(np.corrcoef(ranks)[0, 1])


def test_in_one_group_it_is_spearmans_correlation() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, 60).astype(float)  # with ties
    y = x + rng.normal(0, 2, 60)
    found = within_group_correlation(x, y, np.zeros(60), np.arange(60))
    assert found.mean == pytest.approx(spearman(x, y))
    assert found.low < found.mean < found.high


def test_what_differs_between_groups_is_no_association() -> None:
    # Hard problems have long solutions and low scores; within a problem the two are unrelated.
    rng = np.random.default_rng(1)
    problem = np.repeat(np.arange(200), 8)
    hardness = rng.random(200)[problem]
    length, score = hardness + rng.normal(0, 0.1, 1600), -hardness + rng.normal(0, 0.1, 1600)
    assert spearman(length, score) < -0.5
    found = within_group_correlation(length, score, problem, problem)
    assert not found.clear_of(0.0)
    assert abs(found.mean) < 0.06


def test_an_association_within_groups_is_found_whatever_lies_between_them() -> None:
    rng = np.random.default_rng(2)
    problem = np.repeat(np.arange(100), 6)
    length = rng.normal(size=600)
    score = length + rng.normal(size=600) - 10 * problem
    found = within_group_correlation(length, score, problem, problem)
    assert found.low > 0.4
    assert found.n == 100


def test_groups_of_one_problem_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=80), rng.normal(size=80)
    problem = np.repeat(np.arange(20), 4)
    group = np.arange(80) // 2  # two groups in each problem
    copies = [np.tile(values, 5) for values in (x, y)]
    many = within_group_correlation(
        *copies,
        np.concatenate([group + 40 * k for k in range(5)]),
        np.concatenate([problem + 20 * k for k in range(5)]),
        clusters=np.tile(np.arange(20), 5),
    )
    alone = within_group_correlation(x, y, group, problem)
    assert (many.mean, many.low, many.high) == pytest.approx((alone.mean, alone.low, alone.high))


def test_without_variation_there_is_no_correlation() -> None:
    assert math.isnan(within_group_correlation([1, 1, 2, 2], [0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]).mean)


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(DataError, match="2 and 3 values"):
        within_group_correlation([1, 2], [1, 2, 3], [0, 0], [0, 0])
    with pytest.raises(DataError, match="not a finite number"):
        within_group_correlation([1, math.nan], [1, 2], [0, 0], [0, 0])
