"""Intervals against closed forms and coverage, and their behaviour at the edges."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from prm.errors import ConfigError, DataError
from prm.stats.intervals import (
    Estimate,
    bootstrap_mean,
    bootstrap_of_means,
    bootstrap_statistic,
    paired_difference,
    wilson,
)
from prm.stats.ranking import auroc

FloatArray = NDArray[np.float64]


def test_bootstrap_of_a_mean_has_the_width_of_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=1000)
    found = bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert found.mean == pytest.approx(values.mean())
    assert found.n == 1000
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(300):
        found = bootstrap_mean(rng.random(60) < 0.4, resamples=400, seed=trial)
        hits += found.low <= 0.4 <= found.high
    assert 0.90 <= hits / 300 <= 0.98


def test_a_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(2).random(50)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_problems_of_one_cluster_are_drawn_together() -> None:
    # Ten copies of each value: with clusters the interval must not shrink by the copying.
    values = np.random.default_rng(3).random(40)
    copies, names = np.repeat(values, 10), np.repeat(np.arange(40), 10)
    alone = bootstrap_mean(values, resamples=4000)
    clustered = bootstrap_mean(copies, resamples=4000, clusters=names)
    naive = bootstrap_mean(copies, resamples=4000)
    assert clustered.low == pytest.approx(alone.low, abs=1e-12)
    assert clustered.high == pytest.approx(alone.high, abs=1e-12)
    assert (naive.high - naive.low) < 0.5 * (clustered.high - clustered.low)


def test_unanimous_outcomes_do_not_claim_certainty() -> None:
    found = bootstrap_mean([True] * 20)
    assert (found.mean, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-5)
    assert bootstrap_mean([0.0] * 20).high == pytest.approx(1 - found.low)


def test_pairing_removes_what_the_methods_share() -> None:
    rng = np.random.default_rng(4)
    difficulty = rng.random(400)
    a, b = difficulty + 0.02 + rng.normal(0, 0.01, 400), difficulty
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx((a - b).mean())
    assert paired.clear_of(0.0)
    assert paired.high - paired.low < 0.005
    unpaired = bootstrap_mean(a)
    assert unpaired.high - unpaired.low > 0.04


def test_shares_that_agree_on_a_few_problems_may_differ_on_others() -> None:
    found = paired_difference([1, 0.5, 1], [1, 0.5, 1])
    assert found.mean == 0.0 and found.high == -found.low > 0.5
    assert found == paired_difference([1.0, 0.0, 1.0], [1.0, 0.0, 1.0])
    wide = paired_difference([2.0, 0.5, 1.0], [2.0, 0.5, 1.0])  # of what is no share nothing more is known
    assert (wide.low, wide.high) == (0.0, 0.0)


def test_a_difference_of_shares_is_the_normal_interval_after_one_more_problem_on_either_side() -> None:
    rng = np.random.default_rng(10)
    b = rng.random(30) / 2
    a = b + rng.random(30) / 3
    found = paired_difference(a, b)
    more = np.append(a - b, [1.0, -1.0])
    half = 1.959964 * more.std() / math.sqrt(32)
    assert (found.mean, found.n) == (pytest.approx((a - b).mean()), 30)
    assert (found.low, found.high) == (pytest.approx(more.mean() - half), pytest.approx(more.mean() + half))
    copies = paired_difference(np.repeat(a, 3), np.repeat(b, 3), clusters=np.repeat(np.arange(30), 3))
    assert (copies.low, copies.high) == (pytest.approx(found.low), pytest.approx(found.high))


def test_agreement_on_a_few_problems_is_no_certainty() -> None:
    few, many = paired_difference([1, 0, 1], [1, 0, 1]), paired_difference([1.0, 0.0] * 200, [1.0, 0.0] * 200)
    assert few.mean == many.mean == 0.0
    assert few.high == -few.low > 0.5
    assert 0 < many.high == -many.low < 0.01
    # Bonett and Price (2012): proportions (n12 + 1) / (n + 2) and (n21 + 1) / (n + 2); here n12 = 3, n21 = 1, n = 20.
    a, b = [1.0] * 3 + [0.0] * 17, [0.0] * 3 + [1.0] + [0.0] * 16
    found = paired_difference(a, b)
    assert found.mean == pytest.approx(2 / 20)
    centre = 4 / 22 - 2 / 22
    half = 1.959964 * math.sqrt((4 / 22 + 2 / 22 - centre**2) / 22)
    assert (found.low, found.high) == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_a_difference_of_few_outcomes_is_covered_as_often_as_the_interval_says() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for trial in range(400):
        b = rng.random(60) < 0.9
        a = b | (rng.random(60) < 0.5)  # mends half of the failures: true gain .05
        found = paired_difference(a.astype(float), b.astype(float), resamples=200, seed=trial)
        hits += found.low <= 0.05 <= found.high
    assert hits / 400 >= 0.93


@pytest.mark.parametrize("problems", [20, 50])
@pytest.mark.parametrize("seeds", [1, 2, 4, None])
def test_a_difference_of_few_shares_is_covered_as_often_as_the_interval_says(problems: int, seeds: int | None) -> None:
    hits = bare = 0
    rng = np.random.default_rng(12)
    for _ in range(400):
        before = rng.beta(0.2 * 0.97, 0.2 * 0.03, problems)
        after = before + 0.3 * (1 - before)  # mends three in ten of the failures: true gain .009
        a, b = (p if seeds is None else rng.binomial(seeds, p) / seeds for p in (after, before))
        found = paired_difference(a, b, resamples=200)
        hits += found.low <= 0.009 <= found.high
        plain = bootstrap_of_means(lambda means: means[:, 0], (a - b)[:, None], resamples=200)
        bare += plain.low <= 0.009 <= plain.high
    assert hits / 400 >= 0.95
    assert bare / 400 < 0.93


def test_a_rare_outcome_gets_wilsons_interval_and_a_common_one_the_bootstrap() -> None:
    rare = bootstrap_mean([1.0] * 3 + [0.0] * 97)
    expected = wilson(3, 100)
    assert (rare.low, rare.high) == (expected.low, expected.high)
    common = bootstrap_mean([1.0] * 30 + [0.0] * 70)
    assert (common.low, common.high) != (wilson(30, 100).low, wilson(30, 100).high)


def test_shares_count_in_parts() -> None:
    # Twenty problems with two seeds, one of forty runs wrong: 19.5 of 20.
    found = bootstrap_mean([1.0] * 19 + [0.5])
    assert found.mean == 0.975
    assert wilson(19, 20).low < found.low < wilson(20, 20).low
    assert wilson(19, 20).high < found.high < 1.0
    certain = bootstrap_mean([1.0 + 2e-16] * 10 + [1.0 - 1e-16] * 10)  # exact estimators round
    assert (certain.low, certain.high) == (pytest.approx(wilson(20, 20).low), pytest.approx(1.0))
    beyond = bootstrap_mean([1.0] * 19 + [1.5])
    assert beyond.low == 1.0  # no shares: bootstrapped


def test_a_cluster_counts_as_one_problem_whether_it_agrees_or_not() -> None:
    names = [i // 2 for i in range(40)]
    assert bootstrap_mean([0.0] * 40, clusters=names).high == wilson(0, 20).high
    agreeing = bootstrap_mean([1.0, 1.0] + [0.0] * 38, clusters=names)
    assert (agreeing.low, agreeing.high) == (pytest.approx(wilson(1, 20).low), pytest.approx(wilson(1, 20).high))
    disagreeing = bootstrap_mean([1.0, 0.0] + [0.0] * 38, clusters=names)
    assert wilson(0, 20).high < disagreeing.high < agreeing.high
    # One cluster of ten beside ten problems alone is worth 20^2 / (10^2 + 10) of them.
    uneven = bootstrap_mean([1.0] * 20, clusters=["large"] * 10 + list(range(10)))
    assert wilson(3, 3).low < uneven.low < wilson(4, 4).low


def few_shares(problems: int, accuracy: float, seeds: int | None) -> Iterator[FloatArray]:
    """Problems that are easy or hard by chance, measured with some seeds, or exactly."""
    rng = np.random.default_rng(11)
    for _ in range(400):
        chances = rng.beta(accuracy, 1 - accuracy, problems)
        yield chances if seeds is None else rng.binomial(seeds, chances) / seeds


@pytest.mark.parametrize(("problems", "accuracy"), [(20, 0.5), (20, 0.9), (20, 0.97), (50, 0.9), (50, 0.97)])
@pytest.mark.parametrize("seeds", [1, 2, 4, None])
def test_the_mean_of_a_few_shares_is_covered_as_often_as_the_interval_says(
    problems: int, accuracy: float, seeds: int | None
) -> None:
    found = [bootstrap_mean(values, resamples=200) for values in few_shares(problems, accuracy, seeds)]
    assert np.mean([one.low <= accuracy <= one.high for one in found]) >= 0.93


def test_the_bootstrap_of_a_few_shares_claims_too_much() -> None:
    # Why it is not taken: it has not seen the hard problems that are one in many.
    found = [
        bootstrap_of_means(lambda means: means[:, 0], values[:, None], resamples=200)
        for values in few_shares(20, 0.97, None)
    ]
    assert np.mean([one.low <= 0.97 <= one.high for one in found]) < 0.75


def test_a_function_of_means_has_the_interval_of_the_mean_where_it_is_one() -> None:
    values = np.random.default_rng(8).normal(size=(50, 2))
    names = np.repeat(np.arange(25), 2)
    for clusters in (None, names):
        found = bootstrap_of_means(lambda means: means[:, 1], values, clusters=clusters, seed=5)
        expected = bootstrap_mean(values[:, 1], clusters=clusters, seed=5)
        assert (found.mean, found.n) == (pytest.approx(expected.mean), 50)
        assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_ratio_of_means_agrees_with_resampling_by_hand() -> None:
    rng = np.random.default_rng(9)
    columns = np.stack([rng.random(30), 1 + rng.random(30)], axis=1)
    found = bootstrap_of_means(lambda m: m[:, 0] / m[:, 1], columns, resamples=500, seed=2)
    rows = np.random.default_rng(2).integers(0, 30, size=(500, 30))
    by_hand = [columns[i, 0].sum() / columns[i, 1].sum() for i in rows]
    assert found.mean == pytest.approx(columns[:, 0].sum() / columns[:, 1].sum())
    assert [found.low, found.high] == pytest.approx(list(np.quantile(by_hand, [0.025, 0.975])))


def test_resamples_in_which_a_function_is_undefined_are_left_out() -> None:
    columns = np.array([[1.0, 0.0], [1.0, 1.0]])
    found = bootstrap_of_means(lambda m: np.where(m[:, 1] > 0, m[:, 0] / np.maximum(m[:, 1], 1e-9), np.nan), columns)
    assert (found.mean, found.low, found.high) == (2.0, 1.0, 2.0)
    nothing = bootstrap_of_means(lambda m: np.full(len(m), np.nan), columns)
    assert math.isnan(nothing.mean) and math.isnan(nothing.low)


def test_wilson_matches_the_published_example() -> None:
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    found = wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    nothing = wilson(0, 20)
    assert (nothing.low, round(nothing.high, 4)) == (0.0, 0.1611)


def test_bootstrap_of_any_statistic_agrees_with_that_of_the_mean() -> None:
    values = np.random.default_rng(5).normal(size=80)
    names = np.repeat(np.arange(20), 4)
    by_statistic = bootstrap_statistic(lambda rows: float(values[rows].mean()), 80, resamples=500, clusters=names)
    by_mean = bootstrap_mean(values, resamples=500, clusters=names)
    assert by_statistic.low == pytest.approx(by_mean.low, abs=1e-12)
    assert by_statistic.high == pytest.approx(by_mean.high, abs=1e-12)
    assert by_statistic.n == 20


def test_bootstrap_of_an_auroc_holds_its_estimate() -> None:
    rng = np.random.default_rng(6)
    labels = rng.random(200) < 0.5
    scores = labels + rng.normal(0, 1.0, 200)
    found = bootstrap_statistic(lambda rows: auroc(scores[rows], labels[rows]), 200, resamples=300)
    assert found.mean == auroc(scores, labels)
    assert 0.5 < found.low < found.mean < found.high < 1.0


def test_an_undefined_statistic_has_an_undefined_interval() -> None:
    found = bootstrap_statistic(lambda rows: math.nan, 5, resamples=10)
    assert math.isnan(found.mean) and math.isnan(found.low) and math.isnan(found.high)


def test_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="not one per problem"):
        bootstrap_mean([])
    with pytest.raises(DataError, match="not a finite number"):
        bootstrap_mean([0.1, float("nan")])
    with pytest.raises(DataError, match="2 and 3 values cannot be paired"):
        paired_difference([1, 2], [1, 2, 3])
    with pytest.raises(DataError, match="1 clusters for 2 problems"):
        bootstrap_mean([1.0, 2.0], clusters=["a"])
    with pytest.raises(DataError, match="not finite numbers of each problem"):
        bootstrap_of_means(lambda m: m[:, 0], [[1.0], [math.inf]])
    with pytest.raises(DataError, match="3 successes of 2"):
        wilson(3, 2)
    with pytest.raises(ConfigError, match="confidence must be between 0 and 1"):
        bootstrap_mean([1.0, 2.0], confidence=95)


def test_clear_of_looks_at_both_sides() -> None:
    assert Estimate(-0.2, -0.3, -0.1, 10).clear_of(0)
    assert not Estimate(0.1, -0.1, 0.3, 10).clear_of(0)
    assert Estimate(0.1, -0.1, 0.3, 10).clear_of(0.5)
