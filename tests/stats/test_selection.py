"""The gain of the best of several methods: what luck adds to it, and what is left without."""

from __future__ import annotations

import numpy as np
import pytest

from prm.errors import DataError
from prm.stats.intervals import paired_difference
from prm.stats.selection import gain_of_the_chosen


def test_a_single_method_is_no_choice() -> None:
    rng = np.random.default_rng(0)
    method, baseline = rng.random(40), rng.random(40)
    found = gain_of_the_chosen(method[:, None], baseline)
    assert found.shares == (1.0,)
    assert found.apparent == paired_difference(method, baseline)
    assert found.honest.mean == pytest.approx(found.apparent.mean)
    assert (found.honest.low, found.honest.high) == (
        pytest.approx(found.apparent.low),
        pytest.approx(found.apparent.high),
    )


def test_luck_among_equal_methods_is_no_gain() -> None:
    # Twelve methods that are worth as much as the baseline: the best of them looks better than it is.
    apparent, honest, covered = [], [], 0
    for trial in range(60):
        outcomes = np.random.default_rng(trial).random((80, 13)) < 0.5
        found = gain_of_the_chosen(outcomes[:, 1:], outcomes[:, 0], resamples=300)
        apparent.append(found.apparent.mean)
        honest.append(found.honest.mean)
        covered += found.honest.low <= 0 <= found.honest.high
    assert np.mean(apparent) > 0.05
    assert abs(np.mean(honest)) < 0.02
    assert covered >= 53


def test_a_method_that_is_clearly_best_keeps_its_gain() -> None:
    rng = np.random.default_rng(1)
    baseline = rng.random(200) * 0.2
    methods = np.stack([baseline, baseline + 0.3, baseline + 0.1], axis=1) + rng.normal(0, 0.02, (200, 3))
    found = gain_of_the_chosen(methods, baseline)
    assert found.best == 1
    assert found.shares == (0.0, 1.0, 0.0)
    assert found.honest.mean == pytest.approx(found.apparent.mean)


def test_methods_that_tie_share_the_choice() -> None:
    values = np.random.default_rng(2).random((30, 1))
    found = gain_of_the_chosen(np.repeat(values, 2, axis=1), np.zeros(30))
    assert found.shares == (0.5, 0.5)
    assert found.honest.mean == pytest.approx(values.mean())


def test_each_problem_is_judged_by_choices_made_without_it() -> None:
    # Each of three methods is right on one problem alone: whatever is best elsewhere fails on the problem left out.
    found = gain_of_the_chosen(np.eye(3), np.zeros(3))
    assert found.apparent.mean == pytest.approx(1 / 3)
    assert found.honest.mean == 0.0


def test_problems_of_a_cluster_are_left_out_together() -> None:
    # Ten copies of the three problems above: alone, a copy would tell which method is right on the others.
    copies, names = np.repeat(np.eye(3), 10, axis=0), np.repeat(np.arange(3), 10)
    assert gain_of_the_chosen(copies, np.zeros(30)).honest.mean > 0.2
    assert gain_of_the_chosen(copies, np.zeros(30), clusters=names).honest.mean == 0.0


def test_one_problem_is_judged_by_itself_for_there_is_no_other() -> None:
    assert gain_of_the_chosen([[0.2, 0.9]], [0.5]).honest.mean == pytest.approx(0.4)


def test_what_does_not_pair_up_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be measured over a baseline"):
        gain_of_the_chosen([[1.0], [0.0]], [1.0])
    with pytest.raises(DataError, match="cannot be measured over a baseline"):
        gain_of_the_chosen(np.zeros((3, 0)), np.zeros(3))
