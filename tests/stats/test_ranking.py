"""Ranking measures against the counting of pairs and examples worked out by hand."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from prm.errors import DataError
from prm.stats.ranking import (
    Ranked,
    auprc_of_wrong,
    auroc,
    auroc_within_groups,
    aurocs_per_group,
    first_error_f1,
    first_error_from_scores,
)


def auroc_by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    pairs = list(product(scores[labels == 1], scores[labels == 0]))
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(30))
def test_auroc_counts_pairs_with_half_credit_for_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, size=30) / 4
    labels = rng.permutation(np.arange(30) % 3 == 0).astype(int)
    assert auroc(scores, labels) == pytest.approx(auroc_by_pairs(scores, labels))


def test_auroc_is_undefined_with_one_class_only() -> None:
    assert math.isnan(auroc([0.1, 0.2], [1, 1]))
    assert math.isnan(auroc([], []))


def test_auprc_finds_wrong_items_among_low_scores() -> None:
    # Order of suspicion: wrong, right, wrong, right; precision at the two hits is 1/1 and 2/3.
    found = auprc_of_wrong([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    assert found.value == pytest.approx((1 + 2 / 3) / 2)
    assert found.base_rate == 0.5


def test_auprc_of_constant_scores_is_the_base_rate() -> None:
    found = auprc_of_wrong([0.5] * 8, [0, 1, 1, 1, 0, 1, 1, 1])
    assert found.value == found.base_rate == 0.25


def test_auprc_without_wrong_items_is_undefined() -> None:
    found = auprc_of_wrong([0.5, 0.6], [1, 1])
    assert math.isnan(found.value)
    assert found.base_rate == 0.0


def test_knowing_which_problems_are_hard_is_no_skill_within_a_problem() -> None:
    groups = ["easy"] * 4 + ["hard"] * 4
    scores = [0.9] * 4 + [0.1] * 4
    labels = [1, 1, 1, 0, 1, 0, 0, 0]
    assert auroc(scores, labels) == pytest.approx(0.75)
    assert auroc_within_groups(scores, labels, groups) == 0.5


def test_within_group_auroc_is_the_mean_over_problems_with_both_classes() -> None:
    scores = [0.9, 0.1, 0.2, 0.8, 0.7, 0.7, 0.3]
    labels = [1, 0, 1, 0, 1, 1, 0]
    groups = ["a", "a", "b", "b", "all right", "all right", "all wrong"]
    assert aurocs_per_group(scores, labels, groups).tolist() == [1.0, 0.0]
    assert auroc_within_groups(scores, labels, groups) == 0.5
    # The order of rows must not matter, groups interleaved or not.
    order = np.random.default_rng(0).permutation(7)
    mixed = aurocs_per_group(np.array(scores)[order], np.array(labels)[order], np.array(groups)[order])
    assert mixed.tolist() == [1.0, 0.0]


def test_within_group_auroc_without_any_mixed_group_is_undefined() -> None:
    assert math.isnan(auroc_within_groups([0.1, 0.2], [1, 0], ["a", "b"]))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.9, 0.4, 0.1], 1), ([0.9, 0.5], -1), ([], -1), ([0.49, 0.9], 0)],
)
def test_first_error_is_the_first_step_below_the_threshold(scores: list[float], expected: int) -> None:
    assert first_error_from_scores(scores, threshold=0.5) == expected


def test_first_error_f1_is_the_harmonic_mean_of_the_two_accuracies() -> None:
    found = first_error_f1([2, 1, -1, 0, -1, -1, -1, 3], [2, 0, 1, 0, -1, -1, -1, -1])
    assert (found.accuracy_wrong, found.accuracy_correct) == (0.5, 0.75)
    assert found.f1 == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    assert (found.n_wrong, found.n_correct) == (4, 4)


def test_first_error_f1_guards_zero_over_zero() -> None:
    assert first_error_f1([0, -1], [-1, 0]).f1 == 0.0
    one_sided = first_error_f1([-1, -1], [-1, -1])
    assert math.isnan(one_sided.f1) and math.isnan(one_sided.accuracy_wrong)
    assert (one_sided.accuracy_correct, one_sided.n_wrong, one_sided.n_correct) == (1.0, 0, 2)
    assert math.isnan(first_error_f1([], []).f1)


def test_weights_count_an_item_so_many_times() -> None:
    rng = np.random.default_rng(3)
    scores, labels, times = rng.random(60).round(1), rng.integers(0, 2, 60), rng.integers(0, 4, 60)
    drawn = np.repeat(np.arange(60), times)
    ranked = Ranked.of(scores, labels)
    assert ranked.auroc(times) == pytest.approx(auroc(scores[drawn], labels[drawn]), rel=1e-12)
    found, expected = ranked.auprc_of_wrong(times), auprc_of_wrong(scores[drawn], labels[drawn])
    assert found.value == pytest.approx(expected.value, rel=1e-12) and found.base_rate == expected.base_rate
    assert math.isnan(ranked.auroc(labels)) and math.isnan(ranked.auprc_of_wrong(labels).value)


def test_bad_rows_are_refused() -> None:
    with pytest.raises(DataError, match="3 labels for 2 scores"):
        auroc([0.1, 0.2], [1, 0, 1])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        auroc([0.1, 0.2], [1, -1])
    with pytest.raises(DataError, match="not a finite number"):
        auroc([0.1, float("inf")], [1, 0])
    with pytest.raises(DataError, match="1 groups for 2 scores"):
        auroc_within_groups([0.1, 0.2], [1, 0], ["a"])
    with pytest.raises(DataError, match="1 predictions for 2 solutions"):
        first_error_f1([0], [0, 1])
