"""Adaptive spending, replayed on stored samples: what it reaches, and what it pays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.cost import Bill, bill_of
from prm.eval.search.adaptive_consistency import AdaptiveConsistency
from prm.eval.search.base import Candidates, ProblemResult, Reading, at_n, at_shares
from prm.eval.search.early_stop import EarlyStop, ThresholdStop
from prm.eval.search.majority import Majority

from prm.rollouts import Cost


class Shelf:
    beam_width, num_iterations, lookahead, subsets, seed = 4, 40, 0, 512, 0

    def __init__(self, *pools: Candidates):
        self.pools = list(pools)

    def samples(self) -> list[Candidates]:
        return self.pools

    greedy = grow = None


def pool(world: SimpleNamespace, classes: list[int], scores: list[float], right: int = 0) -> Candidates:
    """Samples of ten generated tokens, of which the verifier reads twenty each."""
    n = len(classes)
    return Candidates(
        world.problem(),
        tuple(label == right for label in classes),
        tuple(classes),
        tuple(scores),
        generator_bill=bill_of(Cost(generated_tokens=10 * n), generator_parameters=1, verifier_parameters=0),
        verifier_bill=bill_of(Cost(verifier_tokens=20 * n), generator_parameters=0, verifier_parameters=1),
        readings=tuple(Reading(20, (index,)) for index in range(n)),
    )


def result(strategy: Any, candidates: Candidates, n: int) -> ProblemResult:
    (found,) = strategy.evaluate(Shelf(candidates), n)
    return found


def test_an_easy_problem_costs_few_samples_and_a_hard_one_all(world: SimpleNamespace) -> None:
    easy, hard = pool(world, [0] * 16, [0.9] * 16), pool(world, list(range(16)), [0.1] * 16)
    for strategy in (AdaptiveConsistency(), EarlyStop()):
        assert result(strategy, easy, 16).samples == 4
        assert result(strategy, easy, 16).bill.generated_tokens == pytest.approx(40)
        assert result(strategy, hard, 16).samples == 16
        assert result(strategy, hard, 16).bill == at_n(hard, 16)
    assert result(ThresholdStop(), easy, 16).samples == 1
    assert result(ThresholdStop(), hard, 16).samples == 16


def test_the_vote_is_hardly_worse_than_the_majority_it_shortens(world: SimpleNamespace) -> None:
    candidates = pool(world, [0] * 20 + [1] * 8 + [2] * 3 + [-1], [0.5] * 32)
    (full,) = Majority().evaluate(Shelf(candidates), 16)
    short = result(AdaptiveConsistency(), candidates, 16)
    assert full.accuracy - 0.05 < short.accuracy <= full.accuracy + 1e-9
    assert short.bill.generated_tokens < 0.75 * full.bill.generated_tokens


def test_scores_weigh_in_the_posterior_and_in_the_vote(world: SimpleNamespace) -> None:
    # The wrong answer is the more frequent one; the verifier doubts it.
    candidates = pool(world, [0] * 6 + [1] * 10, [0.9] * 6 + [0.1] * 10)
    assert result(AdaptiveConsistency(), candidates, 16).accuracy < 0.2
    assert result(AdaptiveConsistency(weighted=True), candidates, 16).accuracy > 0.9


def test_adaptive_rules_use_random_samples_and_never_the_first(world: SimpleNamespace) -> None:
    classes, scores = [0] * 8 + [1] * 8, [0.95] * 4 + [0.2] * 8 + [0.99] * 4
    for strategy in (AdaptiveConsistency(), AdaptiveConsistency(weighted=True), EarlyStop(), ThresholdStop()):
        forward = result(strategy, pool(world, classes, scores), 4)
        backward = result(strategy, pool(world, classes[::-1], scores[::-1]), 4)
        assert forward.accuracy == pytest.approx(backward.accuracy, abs=0.06)
        assert 0.2 < forward.accuracy < 0.8


def test_the_bill_is_the_mean_over_how_much_was_drawn(world: SimpleNamespace) -> None:
    candidates = pool(world, [0, 0, 1, 1], [0.9, 0.5, 0.4, 0.3])
    found = result(ThresholdStop(), candidates, 4)
    assert found.samples == pytest.approx(2.5)  # the one above .9 stands anywhere among four
    assert found.accuracy == 1.0
    assert found.bill.verifier_tokens == pytest.approx(2.5 * 20)
    assert at_shares(candidates, [0.0, 0.5, 0.0, 0.5]).generated_tokens == pytest.approx(30)
    assert at_shares(candidates, [0.0, 0.0]) == Bill()
