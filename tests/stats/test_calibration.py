"""Calibration measures on examples worked out by hand, and the identity of Murphy's split."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from prm.errors import ConfigError, DataError
from prm.stats.calibration import Scored, brier_score, expected_calibration_error, reliability_table


def test_bins_hold_equal_mass() -> None:
    table = reliability_table([0.1, 0.2, 0.6, 0.8], [0, 1, 0, 1], bins=2)
    assert [(row.low, row.high, row.count) for row in table] == [(0.1, 0.2, 2), (0.6, 0.8, 2)]
    assert [row.predicted for row in table] == pytest.approx([0.15, 0.7])
    assert [row.observed for row in table] == [0.5, 0.5]


def test_equal_scores_are_never_split_between_bins() -> None:
    scores = [0.3] * 7 + [0.9] * 3
    labels = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
    table = reliability_table(scores, labels, bins=5)
    assert [(row.low, row.high, row.count) for row in table] == [(0.3, 0.3, 7), (0.9, 0.9, 3)]
    shuffled = np.random.default_rng(0).permutation(10)
    again = reliability_table(np.array(scores)[shuffled], np.array(labels)[shuffled], bins=5)
    assert again == table


def test_every_item_is_in_one_bin_and_its_mean_within_the_edges() -> None:
    rng = np.random.default_rng(1)
    for bins in (1, 3, 10, 50):
        table = reliability_table(rng.random(97).round(2), rng.random(97) < 0.5, bins=bins)
        assert sum(row.count for row in table) == 97
        assert all(row.low <= row.predicted <= row.high for row in table)
        assert all(a.high < b.low for a, b in pairwise(table))


def test_ece_is_the_mean_distance_of_score_and_truth() -> None:
    scores, labels = [0.2] * 5 + [0.8] * 5, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    # First block: .2 against .2; second: .8 against 1.
    assert expected_calibration_error(scores, labels) == pytest.approx(0.5 * 0.0 + 0.5 * 0.2)


def test_ece_of_calibrated_scores_is_small_and_of_overconfident_ones_large() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(20_000)
    labels = rng.random(20_000) < truth
    assert expected_calibration_error(truth, labels) < 0.015
    assert expected_calibration_error((truth > 0.5).astype(float), labels) == pytest.approx(0.25, abs=0.02)


def test_weights_count_an_item_so_many_times() -> None:
    rng = np.random.default_rng(3)
    scores, labels, times = rng.random(300).round(2), rng.random(300), rng.integers(0, 4, 300)
    drawn = np.repeat(np.arange(300), times)
    scored, repeated = Scored.of(scores, labels), reliability_table(scores[drawn], labels[drawn], bins=7)
    for row, expected in zip(scored.table(bins=7, weights=times), repeated, strict=True):
        assert (row.low, row.high, row.count) == (expected.low, expected.high, expected.count)
        assert row.predicted == pytest.approx(expected.predicted) and row.observed == pytest.approx(expected.observed)
    assert scored.calibration_error(weights=times) == pytest.approx(
        expected_calibration_error(scores[drawn], labels[drawn])
    )


def test_the_brier_score_is_the_mean_squared_difference() -> None:
    scores, labels = [0.2] * 5 + [0.8] * 5, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert brier_score(scores, labels) == pytest.approx((4 * 0.04 + 0.64 + 5 * 0.04) / 10)


def test_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="outside"):
        reliability_table([1.2], [1])
    with pytest.raises(DataError, match="outside"):
        reliability_table([float("nan")], [1])
    with pytest.raises(DataError, match="2 observations for 1 scores"):
        reliability_table([0.2], [1, 0])
    with pytest.raises(ConfigError, match="bins must be at least 1"):
        reliability_table([0.2], [1], bins=0)
