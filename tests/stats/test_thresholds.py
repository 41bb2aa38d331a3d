"""Fitted thresholds against a search over every threshold there is."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from prm.errors import DataError
from prm.stats.ranking import first_error_f1, first_error_from_scores
from prm.stats.thresholds import (
    first_errors,
    fit_accuracy_threshold,
    fit_first_error_threshold,
    halves,
)


def random_rows(rng: Any, count: int, *, decimals: int = 1) -> tuple[Any, Any]:
    """Scores with ties, and labels with unknown ones and rows of several lengths."""
    scores = rng.random((count, 4)).round(decimals)
    hard = rng.choice([1.0, 1.0, 1.0, 0.0, -1.0], size=(count, 4))
    hard[np.arange(4) >= rng.integers(0, 5, size=count)[:, None]] = -100.0
    return scores, hard


def slow_first_errors(scores_NS: Any, hard_NS: Any, threshold: float) -> tuple[list[int], list[int]]:
    """By the definition, row by row."""
    predicted, true = [], []
    for scores, labels in zip(scores_NS, hard_NS, strict=True):
        row, known = scores[labels > -100], labels[labels > -100].tolist()
        error = known.index(0) if 0 in known else -1
        if known and min(known[: error if error >= 0 else None], default=1) >= 0:
            true.append(error)
            predicted.append(first_error_from_scores(row, threshold))
    return predicted, true


@pytest.mark.parametrize("seed", range(5))
def test_first_errors_are_those_of_a_walk_through_each_row(seed: int) -> None:
    scores, hard = random_rows(np.random.default_rng(seed), 60)
    for threshold in (0.0, 0.3, 0.5, 1.0):
        found = first_errors(scores, hard, threshold)
        predicted, true = slow_first_errors(scores, hard, threshold)
        assert found.predicted[found.usable].tolist() == predicted
        assert found.true[found.usable].tolist() == true
        assert 0 < found.usable.sum() < 60


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_has_a_higher_first_error_f1(seed: int) -> None:
    scores, hard = random_rows(np.random.default_rng(seed), 25)
    found = fit_first_error_threshold(scores, hard)
    assert found is not None
    tried = {t: first_error_f1(*slow_first_errors(scores, hard, t)).f1 for t in np.linspace(0, 1, 201)}
    assert found.fitted == pytest.approx(max(tried.values()))
    assert first_error_f1(*slow_first_errors(scores, hard, found.value)).f1 == pytest.approx(found.fitted)
    for threshold in np.linspace(found.low, found.high, 7)[1:]:
        assert first_error_f1(*slow_first_errors(scores, hard, threshold)).f1 == pytest.approx(found.fitted)


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_has_a_higher_accuracy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = rng.random(30).round(1), rng.integers(0, 2, 30)
    found = fit_accuracy_threshold(scores, labels)
    assert found is not None
    accuracy = {t: float(((scores >= t) == labels).mean()) for t in np.linspace(0, 1, 201)}
    assert found.fitted == pytest.approx(max(accuracy.values()))
    assert ((scores >= found.value) == labels).mean() == pytest.approx(found.fitted)


def test_the_middle_of_the_widest_run_of_best_thresholds_is_taken() -> None:
    scores = np.array([[0.9, 0.8], [0.9, 0.2], [0.7, 0.1]])
    hard = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    found = fit_first_error_threshold(scores, hard)
    assert found is not None
    assert (found.low, found.high, found.value, found.fitted, found.n) == (0.2, 0.7, pytest.approx(0.45), 1.0, 3)
    # Thresholds in (.1, .3] do as well as those in (.4, .9], which have more room.
    outcome = fit_accuracy_threshold([0.1, 0.3, 0.4, 0.9], [0, 1, 0, 1])
    assert outcome is not None
    assert (outcome.low, outcome.high, outcome.fitted) == (0.4, 0.9, 0.75)


def test_scores_of_zero_and_one_leave_a_threshold_between_them() -> None:
    found = fit_accuracy_threshold([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1])
    assert found is not None and (found.value, found.fitted) == (0.5, 1.0)
    always_wrong = fit_first_error_threshold(np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]]))
    assert always_wrong is not None and always_wrong.fitted == 0.0 and 0 <= always_wrong.value <= 1


def test_one_class_has_no_threshold() -> None:
    assert fit_accuracy_threshold([0.2, 0.8], [1, 1]) is None
    assert fit_first_error_threshold(np.full((3, 2), 0.5), np.ones((3, 2))) is None
    assert fit_first_error_threshold(np.full((3, 2), 0.5), np.full((3, 2), -1.0)) is None
    with pytest.raises(DataError, match="2 labels for 3 scores"):
        fit_accuracy_threshold([0.1, 0.2, 0.3], [1, 0])
    with pytest.raises(DataError, match="one row per solution"):
        fit_first_error_threshold([0.1, 0.2], [1, 0])


def test_a_large_set_costs_a_sort_and_not_a_search() -> None:
    rng = np.random.default_rng(0)
    scores, hard = rng.random((50_000, 8)), (rng.random((50_000, 8)) < 0.9).astype(float)
    began = time.process_time()
    first_errors(scores, hard, 0.5)
    reference = time.process_time() - began
    began = time.process_time()
    assert fit_first_error_threshold(scores, hard) is not None
    assert time.process_time() - began < 50 * reference  # there are 400,000 thresholds


def test_halves_keep_the_rows_of_a_problem_together_whatever_their_order() -> None:
    groups = np.repeat(np.arange(21), 3)
    half = halves(groups)
    assert {len(set(half[groups == name])) for name in range(21)} == {1}
    assert len(set(groups[half])) == 10
    order = np.random.default_rng(1).permutation(len(groups))
    assert (halves(groups[order]) == half[order]).all()
    assert (halves(groups, seed=1) != half).any()
    assert not halves([7, 7]).any()
