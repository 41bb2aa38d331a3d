"""Estimators against the enumeration of every subset, with ties, and against examples worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations
from math import comb

import numpy as np
import pytest

from prm.errors import ConfigError, DataError
from prm.stats import estimators
from prm.stats.estimators import best_of_n, choice_shares, majority_at_n, no_skill, pass_at_n, weighted_best_of_n

Case = tuple[list[int], list[int], list[bool]]  # integer scores (exact sums), classes, correct


def random_cases(count: int, seed: int) -> list[Case]:
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(count):
        total, kinds = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        right_class = rng.random(kinds) < 0.4
        classes = rng.integers(-1, kinds, size=total)
        correct = [bool(c >= 0 and right_class[c]) for c in classes]
        cases.append(([int(s) for s in rng.integers(0, 4, size=total)], [int(c) for c in classes], correct))
    return cases


def over_subsets(total: int, n: int, accuracy: Callable[[tuple[int, ...]], Fraction]) -> float:
    rows = list(combinations(range(total), n))
    return float(sum((accuracy(row) for row in rows), Fraction(0)) / len(rows))


def shared(winners: Sequence[bool]) -> Fraction:
    return Fraction(sum(winners), len(winners)) if winners else Fraction(0)


def best_by_hand(scores: list[int], correct: list[bool]) -> Callable[[tuple[int, ...]], Fraction]:
    def accuracy(row: tuple[int, ...]) -> Fraction:
        top = max(scores[i] for i in row)
        return shared([correct[i] for i in row if scores[i] == top])

    return accuracy


def vote_by_hand(weights: list[int], classes: list[int], correct: list[bool]) -> Callable[[tuple[int, ...]], Fraction]:
    def accuracy(row: tuple[int, ...]) -> Fraction:
        sums: dict[int, int] = {}
        for i in row:
            if classes[i] != -1:
                sums[classes[i]] = sums.get(classes[i], 0) + weights[i]
        if not sums:
            return Fraction(0)
        right = {classes[i]: correct[i] for i in row}
        return shared([right[c] for c, total in sums.items() if total == max(sums.values())])

    return accuracy


@pytest.mark.parametrize("case", random_cases(120, seed=1), ids=lambda case: f"M{len(case[0])}")
def test_every_estimator_equals_the_mean_over_all_subsets(case: Case) -> None:
    scores, classes, correct = case
    total = len(scores)
    for n in range(1, total + 1):
        expected = over_subsets(total, n, lambda row: Fraction(any(correct[i] for i in row)))
        assert pass_at_n(correct, n) == pytest.approx(expected, abs=1e-12)
        expected = over_subsets(total, n, best_by_hand(scores, correct))
        assert best_of_n(scores, correct, n) == pytest.approx(expected, abs=1e-12)
        expected = over_subsets(total, n, vote_by_hand([1] * total, classes, correct))
        assert majority_at_n(classes, correct, n) == pytest.approx(expected, abs=1e-12)
        expected = over_subsets(total, n, vote_by_hand(scores, classes, correct))
        assert weighted_best_of_n(scores, classes, correct, n) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", random_cases(40, seed=2), ids=lambda case: f"M{len(case[0])}")
def test_any_number_of_the_chosen_sample_is_its_mean_over_all_subsets(case: Case) -> None:
    scores, classes, _ = case
    total = len(scores)
    for n in range(1, total + 1):
        means = []
        for row in combinations(range(total), n):
            top = [i for i in row if scores[i] == max(scores[j] for j in row)]
            means.append(sum(classes[i] for i in top) / len(top))
        shares = choice_shares(scores, n)
        assert shares.sum() == pytest.approx(1)
        assert shares @ np.array(classes) == pytest.approx(sum(means) / len(means), abs=1e-12)


def test_a_certain_result_is_exactly_one() -> None:
    # Seven equal winners: 7 * (1 / 7) in floats is less than 1, and no longer a yes or no.
    assert best_of_n([0.5] * 7 + [0.1] * 4, [True] * 7 + [False] * 4, 11) == 1.0
    assert best_of_n([0.5] * 7 + [0.1] * 4, [False] * 7 + [True] * 4, 11) == 0.0


def test_hand_worked_examples() -> None:
    correct = [True, False, False, False]
    assert pass_at_n(correct, 2) == pytest.approx(1 - 3 / 6)
    # Ranks 1..4 win in 0, 1, 2, 3 of the 6 pairs; the correct one has rank 3.
    assert best_of_n([0.7, 0.1, 0.2, 0.9], correct, 2) == pytest.approx(2 / 6)

    assert majority_at_n([0, 1, 2, 3], correct, 3) == pytest.approx(3 / 4 * 1 / 3)


def test_a_verifier_without_skill_scores_pass_at_1() -> None:
    correct = [True] * 3 + [False] * 5
    assert best_of_n([0.5] * 8, correct, 4) == pytest.approx(3 / 8)


@pytest.mark.parametrize("case", random_cases(30, seed=5))
def test_without_skill_each_distinct_solution_is_as_likely(case: Case) -> None:
    _, solutions, correct = case

    def pick(row: tuple[int, ...]) -> Fraction:
        distinct = {solutions[i]: correct[i] for i in row if solutions[i] >= 0}
        return shared(list(distinct.values()))

    for n in range(1, len(solutions) + 1):
        assert no_skill(solutions, correct, n) == pytest.approx(over_subsets(len(solutions), n, pick))


def test_without_skill_a_solution_drawn_often_counts_once() -> None:
    assert no_skill([0, 0, 0, 1], [True, True, True, False], 4) == 0.5
    assert no_skill([0, 0, 0, 1], [True, True, True, False], 1) == 0.75


def test_tied_scores_do_not_depend_on_the_order_of_samples() -> None:
    rng = np.random.default_rng(0)
    scores, correct = np.array([1, 1, 1, 2, 2, 3, 3, 3]), np.array([1, 0, 0, 1, 0, 0, 0, 1], dtype=bool)
    expected = best_of_n(scores, correct, 3)
    for _ in range(5):
        order = rng.permutation(8)
        assert best_of_n(scores[order], correct[order], 3) == expected


def test_samples_without_an_answer_do_not_vote() -> None:
    # Of the three pairs one is a tie of right and wrong, and two hold one voter and the silent one.
    assert majority_at_n([0, 1, -1], [True, False, False], 2) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert majority_at_n([-1, -1], [False, False], 1) == 0.0
    assert weighted_best_of_n([0.9, 0.8], [-1, -1], [False, False], 2) == 0.0


def test_negative_scores_never_lose_to_an_answer_nobody_gave() -> None:
    assert weighted_best_of_n([-1.0, -2.0], [0, 1], [True, False], 1) == pytest.approx(0.5)


def test_sums_that_differ_by_rounding_are_tied() -> None:
    # .1 + .2 is not .3 in floating point; the two answers must share the win.
    assert weighted_best_of_n([0.1, 0.2, 0.3], [0, 0, 1], [False, False, True], 3) == pytest.approx(0.5)


def test_monte_carlo_agrees_with_the_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 5, size=14)
    scores, correct = rng.random(14), classes == 2
    exact = weighted_best_of_n(scores, classes, correct, 6)
    monkeypatch.setattr(estimators, "ENUMERATE_UP_TO", 10)
    estimators._subsets.cache_clear()
    sampled = weighted_best_of_n(scores, classes, correct, 6, subsets=20_000, seed=5)
    estimators._subsets.cache_clear()
    assert 0 < exact < 1
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=4 * 0.5 / 20_000**0.5)


def test_methods_at_one_seed_meet_the_same_subsets() -> None:
    rng = np.random.default_rng(4)
    classes = rng.integers(0, 6, size=40)
    scores, correct = rng.random(40), classes == 1
    first = weighted_best_of_n(scores, classes, correct, 16, subsets=64, seed=9)
    # Doubling every score is the same method: with common subsets the two agree exactly.
    assert weighted_best_of_n(2 * scores, classes, correct, 16, subsets=64, seed=9) == first
    others = {weighted_best_of_n(scores, classes, correct, 16, subsets=64, seed=seed) for seed in range(10, 16)}
    assert others != {first}


def test_large_sample_counts_stay_finite_and_exact() -> None:
    # C(1200, 601) has 360 digits, beyond a float.
    correct = np.arange(1200) < 3
    assert pass_at_n(correct, 601) == pytest.approx(1 - comb(1197, 601) / comb(1200, 601), rel=1e-12)
    classes = np.repeat([0, 1], [630, 570])
    won = majority_at_n(classes, classes == 0, 601)
    # Hypergeometric tail: more than 300 of the 601 drawn are of the class of 630.
    tail = sum(comb(630, x) * comb(570, 601 - x) for x in range(301, 602)) / comb(1200, 601)
    assert 0.9 < tail < 1
    assert won == pytest.approx(tail, rel=1e-9)


def test_all_samples_at_once_is_the_plain_vote() -> None:
    classes = [3, 3, 5, 5, 8, -1]
    assert majority_at_n(classes, [True, True, False, False, False, False], 6) == pytest.approx(0.5)
    assert majority_at_n(classes, [True, True, True, True, False, False], 6) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [0, 4, -1])
def test_n_must_be_a_number_of_samples_there_are(n: int) -> None:
    correct = [True, False, False]
    for call in (
        lambda: pass_at_n(correct, n),
        lambda: best_of_n([1, 2, 3], correct, n),
        lambda: majority_at_n([0, 1, 1], correct, n),
        lambda: weighted_best_of_n([1, 2, 3], [0, 1, 1], correct, n),
    ):
        with pytest.raises(ConfigError, match=f"n must be between 1 and the 3 samples there are, not {n}"):
            call()


def test_bad_samples_are_refused() -> None:
    with pytest.raises(DataError, match="answer class 4 holds correct and wrong samples"):
        majority_at_n([4, 4], [True, False], 1)
    with pytest.raises(DataError, match="without an answer is marked correct"):
        majority_at_n([-1, 0], [True, False], 1)
    with pytest.raises(DataError, match="2 scores for 3 samples"):
        best_of_n([0.1, 0.2], [True, False, True], 1)
    with pytest.raises(DataError, match="not a finite number"):
        best_of_n([0.1, float("nan")], [True, False], 1)
    with pytest.raises(DataError, match="not one value per sample"):
        pass_at_n([], 1)
    with pytest.raises(DataError, match="something else than true and false"):
        pass_at_n(["correct", "wrong"], 1)
