"""Rules that stop sampling early, against every order of a few samples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import permutations

import numpy as np
import pytest

from prm.errors import ConfigError
from prm.stats import sequential
from prm.stats.estimators import best_of_n, majority_at_n, weighted_best_of_n
from prm.stats.sequential import Stopped, chance_of_lead, first_above, vote_by_windows, vote_until_sure

CLASSES = [0, 1, 0, -1, 0, 2]
CORRECT = [1, 0, 1, 0, 1, 0]
WEIGHTS = [0.9, 0.8, 0.2, 0.7, 0.4, 0.6]
GROUPS = [(0, 2, 4), (1,), (3, 5), (0, 1), (0, 1, 2, 3, 4, 5), (0, 2, 4)]  # they overlap, and one comes twice

Rule = Callable[[Sequence[int]], bool]  # the samples drawn so far -> stop


def voted(drawn: Sequence[int], weights: Sequence[float]) -> float:
    """The chance that the vote of these samples is right."""
    sums: Counter[int] = Counter()
    for index in drawn:
        if CLASSES[index] >= 0:
            sums[CLASSES[index]] += weights[index]
    top = [label for label, total in sums.items() if math.isclose(total, max(sums.values()))]
    return sum(label == 0 for label in top) / len(top) if top else 0.0


def brute_force(n: int, rule: Rule, weights: Sequence[float]) -> Stopped:
    """The rule on all 720 orders of the six samples."""
    orders = permutations(range(len(CLASSES)))
    drawn = [next((order[:k] for k in range(1, n) if rule(order[:k])), order[:n]) for order in orders]
    return counted(drawn, n, [voted(some, weights) for some in drawn])


def counted(drawn: Sequence[Sequence[int]], n: int, accuracy: Sequence[float]) -> Stopped:
    """What was drawn in every order, and how right the answers were, as chances."""
    each = [sum(i in some for some in drawn) for i in range(len(CLASSES))]
    touched = [sum(not set(some).isdisjoint(group) for some in drawn) for group in GROUPS]
    counts = [sum(len(some) == k for some in drawn) for k in range(1, n + 1)]
    parts = (tuple(count / len(drawn) for count in found) for found in (counts, each, touched))
    return Stopped(sum(accuracy) / len(drawn), *parts)


def check_close(found: Stopped, expected: Stopped, tolerance: float) -> None:
    assert found.accuracy == pytest.approx(expected.accuracy, abs=tolerance)
    for name in ("shares", "drawn", "touched"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1.5 * tolerance), name
    assert sum(found.drawn) == pytest.approx(found.samples)


@cache
def lead(first: float, second: float) -> float:
    return float(chance_of_lead(first, second)[0])


def sure(weights: Sequence[float], confidence: float) -> Rule:
    def rule(drawn: Sequence[int]) -> bool:
        sums = [sum(weights[i] for i in drawn if CLASSES[i] == label) for label in (0, 1, 2)]
        first, second = sorted(sums)[:-3:-1]
        return lead(first, second) >= confidence

    return rule


def agreed(window: int) -> Rule:
    def rule(drawn: Sequence[int]) -> bool:
        last = {CLASSES[index] for index in drawn[-window:]}
        return len(drawn) % window == 0 and len(last) == 1 and last != {-1}

    return rule


@pytest.mark.parametrize("n", [1, 3, 6])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_adaptive_consistency_is_its_rule_over_all_orders(n: int, weights: list[float] | None) -> None:
    found = vote_until_sure(CLASSES, CORRECT, n, confidence=0.8, weights=weights, groups=GROUPS, subsets=20_000)
    check_close(found, brute_force(n, sure(weights or [1.0] * 6, 0.8), weights or [1.0] * 6), 0.01)


@pytest.mark.parametrize(("n", "window"), [(4, 2), (5, 2), (6, 3), (3, 4)])
def test_windows_stop_where_all_agree_and_are_their_rule_over_all_orders(n: int, window: int) -> None:
    found = vote_by_windows(CLASSES, CORRECT, n, window=window, groups=GROUPS, subsets=20_000)
    check_close(found, brute_force(n, agreed(window), [1.0] * 6), 0.01)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("threshold", [0.0, 0.65, 0.85, 2.0])
def test_the_first_sample_above_a_threshold_is_exact(n: int, threshold: float) -> None:
    scores = [0.9, 0.8, 0.2, 0.9, 0.4, 0.6]
    accuracy, drawn = [], []
    for order in permutations(range(6)):
        stop = next((k for k in range(1, n + 1) if scores[order[k - 1]] >= threshold), n)
        drawn.append(order[:stop])
        best = [i for i in order[:stop] if scores[i] == max(scores[j] for j in order[:stop])]
        chosen = [order[stop - 1]] if scores[order[stop - 1]] >= threshold else best
        accuracy.append(sum(CORRECT[i] for i in chosen) / len(chosen))
    found = first_above(scores, CORRECT, n, threshold=threshold, groups=GROUPS)
    check_close(found, counted(drawn, n, accuracy), 1e-9)


def test_what_nobody_draws_and_what_anybody_draws_have_the_chances_0_and_1() -> None:
    found = first_above([0.9] * 4, [1] * 4, 4, threshold=0.5, groups=[(), (0, 1, 2, 3)])
    assert found.touched == (0.0, 1.0)
    assert found.drawn == pytest.approx([0.25] * 4)
    assert vote_until_sure([0] * 8, [1] * 8, 8, groups=[(), range(8)]).touched == (0.0, 1.0)


def walked(
    classes: Sequence[int], weights: Sequence[float], n: int, sure: Callable[[float, float], bool], seed: int
) -> tuple[float, list[int]]:
    """Along each order by itself, vote by vote: the accuracy of class 0, and how many are drawn."""
    chances, lengths = [], []
    for order in sequential._orders(len(classes), 300, seed).T.tolist():
        sums = [0.0] * (max(classes) + 1)
        for length, index in enumerate(order[:n], start=1):
            if classes[index] >= 0:
                sums[classes[index]] += weights[index]
            second, first = sorted([0.0, *sums])[-2:]
            if length == n or sure(first, second):
                break
        top = [label for label, votes in enumerate(sums) if votes and math.isclose(votes, max(sums))]
        chances.append((0 in top) / max(len(top), 1))
        lengths.append(length)
    return float(np.mean(chances)), lengths


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_many_orders_at_once_stop_where_each_does_by_itself(seed: int, weighted: bool) -> None:
    rng = np.random.default_rng(seed)
    total, n = (40, 33) if seed % 2 else (9, 9)
    classes = rng.choice([-1, 0, 0, 0, 0, 1, 1, 2], size=total).tolist()
    weights = rng.integers(0, 5, size=total) / 4 if weighted else np.ones(total)
    found = vote_until_sure(
        classes, [label == 0 for label in classes], n, weights=weights if weighted else None, subsets=300, seed=seed
    )
    accuracy, lengths = walked(classes, weights.tolist(), n, lambda first, second: lead(first, second) >= 0.95, seed)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-12)
    assert found.shares == tuple(np.bincount(lengths, minlength=n + 1)[1:] / len(lengths))


def test_a_rule_that_never_stops_is_the_estimator_it_shortens() -> None:
    never = 1 - 1e-12
    assert vote_until_sure(CLASSES, CORRECT, 5, confidence=never, subsets=20_000).accuracy == pytest.approx(
        majority_at_n(CLASSES, CORRECT, 5), abs=0.01
    )
    weighted = vote_until_sure(CLASSES, CORRECT, 5, confidence=never, weights=WEIGHTS, subsets=20_000)
    assert weighted.accuracy == pytest.approx(weighted_best_of_n(WEIGHTS, CLASSES, CORRECT, 5), abs=0.01)
    assert weighted.shares == (0, 0, 0, 0, 1)
    assert first_above(WEIGHTS, CORRECT, 5, threshold=2).accuracy == best_of_n(WEIGHTS, CORRECT, 5)


def test_the_chance_of_a_lead_is_the_binomial_sum_and_the_integral() -> None:
    for first, second in ((0, 0), (1, 0), (3, 1), (10, 4), (2, 6), (60, 40)):
        draws = first + second + 1
        exact = sum(math.comb(draws, j) for j in range(first + 1)) / 2**draws
        assert chance_of_lead(first, second)[0] == pytest.approx(exact, abs=1e-12)
    t = (np.arange(100_000) + 0.5) / 100_000
    for votes in ((0.3, 0.2), (2.7, 0.4), (0.1, 5.5), (31.5, 30.25)):
        density = np.exp(votes[0] * np.log(t) + votes[1] * np.log1p(-t))
        assert chance_of_lead(*votes)[0] == pytest.approx(density[t > 0.5].sum() / density.sum(), abs=1e-6)
    assert chance_of_lead([4, 5], [0, 0]).round(4).tolist() == [0.9688, 0.9844]


def test_an_easy_problem_stops_early_and_a_hopeless_one_earns_nothing() -> None:
    easy = vote_until_sure([0] * 32, [1] * 32, 32)
    assert (easy.accuracy, easy.samples) == (1.0, 4.0)  # .969 after four equal votes
    assert vote_by_windows([0] * 32, [1] * 32, 32, window=4).samples == 4.0
    silent = vote_until_sure([-1] * 8, [0] * 8, 8)
    assert (silent.accuracy, silent.samples) == (0.0, 8.0)
    assert vote_by_windows([-1] * 8, [0] * 8, 8, window=2).samples == 8.0


def test_doubt_draws_more_samples() -> None:
    plain = vote_until_sure([0] * 16, [1] * 16, 16)
    doubted = vote_until_sure([0] * 16, [1] * 16, 16, weights=[0.5] * 16)
    assert doubted.samples == 7.0 > plain.samples == 4.0  # .956 at 3.5 votes to none


def test_orders_are_nested_and_the_same_for_every_rule() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 32)
    shares = [vote_until_sure(classes, classes == 0, n).shares for n in (8, 16)]
    assert shares[0][:7] == shares[1][:7]


@pytest.mark.parametrize("options", [{"confidence": 0.5}, {"confidence": 1.0}])
def test_a_confidence_that_means_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must lie between"):
        vote_until_sure(CLASSES, CORRECT, 3, **options)


def test_a_window_of_one_and_too_large_an_n_are_refused() -> None:
    with pytest.raises(ConfigError, match="agrees with itself"):
        vote_by_windows(CLASSES, CORRECT, 3, window=1)
    for rule in (vote_until_sure, lambda *given: first_above(WEIGHTS, CORRECT, given[2], threshold=0.5)):
        with pytest.raises(ConfigError, match="between 1 and the 6"):
            rule(CLASSES, CORRECT, 7)


def test_one_draw_is_the_mean_of_all_samples() -> None:
    classes = [0, 0, 1, 2, 2, 2, -1]
    correct = [label == 0 for label in classes]
    assert vote_until_sure(classes, correct, 1, subsets=100).accuracy == pytest.approx(2 / 7, abs=1e-12)
    assert vote_by_windows(classes, correct, 1, window=2, subsets=100).accuracy == pytest.approx(2 / 7, abs=1e-12)
