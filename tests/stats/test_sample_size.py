"""How many problems a claim needs: against the paper's formula, and against the power it promises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prm.errors import ConfigError, DataError
from prm.stats.intervals import paired_difference
from prm.stats.sample_size import difference_seen, paired_deviation, problems_needed


def test_the_number_is_that_of_the_formula() -> None:
    # (1.959964 + 0.841621)^2 * 0.5^2 / 0.03^2 = 2180.1
    assert problems_needed(0.03, 0.5) == 2181
    assert problems_needed(-0.03, 0.5) == 2181
    assert problems_needed(0.03, 0.0) == 2
    assert problems_needed(0.03, math.nan) is None
    assert difference_seen(2181, 0.5) == pytest.approx(0.03, rel=1e-3)
    assert problems_needed(0.03, 0.5, power=0.5) < problems_needed(0.03, 0.5, power=0.9)  # type: ignore[operator]


def test_so_many_problems_see_the_difference_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    count = problems_needed(0.1, 0.4)
    assert count == 126
    seen = sum(
        paired_difference(rng.normal(0.1, 0.4, count), np.zeros(count), resamples=200, seed=i).low > 0
        for i in range(300)
    )
    assert 0.74 <= seen / 300 <= 0.87


def test_the_deviation_of_single_problems_is_the_sample_deviation() -> None:
    d = np.random.default_rng(1).normal(size=50)
    assert paired_deviation(d) == pytest.approx(d.std(ddof=1))
    assert paired_deviation(d, clusters=np.arange(50)) == pytest.approx(d.std(ddof=1))


def test_copies_of_a_problem_do_not_count_as_more_problems() -> None:
    d = np.random.default_rng(2).normal(size=40)
    copies, names = np.repeat(d, 5), np.repeat(np.arange(40), 5)
    alone, clustered = paired_deviation(d), paired_deviation(copies, clusters=names)
    assert clustered**2 / 200 == pytest.approx(alone**2 / 40)  # the same variance of the mean


def test_one_problem_has_no_deviation() -> None:
    assert math.isnan(paired_deviation([0.3]))
    assert math.isnan(paired_deviation([0.3, 0.1], clusters=["a", "a"]))


def test_what_cannot_be_answered_is_refused() -> None:
    with pytest.raises(ConfigError, match="difference of 0"):
        problems_needed(0.0, 0.5)
    with pytest.raises(ConfigError, match="power must be between 0 and 1"):
        problems_needed(0.1, 0.5, power=80)
    with pytest.raises(DataError, match="not one finite number per problem"):
        paired_deviation([])
