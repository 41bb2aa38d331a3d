"""Adaptive spending, replayed on stored samples: what it reaches, and what it pays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.cost import SampleBills, bill_of
from prm.eval.search.adaptive_consistency import AdaptiveConsistency
from prm.eval.search.base import Candidates, ProblemResult, Reading, at_n, at_stop
from prm.eval.search.early_stop import EarlyStop, ThresholdStop
from prm.eval.search.majority import Majority

from prm.rollouts import Cost
from prm.stats.sequential import first_above, vote_by_windows


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


PROMPT = 30
READINGS = (Reading(7, (0, 1, 2, 3, 4, 5)), Reading(20, (0, 2)), Reading(5, (2,)), Reading(40, (1, 3, 5)))


def uneven(world: SimpleNamespace, tokens: Sequence[int], scores: Sequence[float], **others: Any) -> Candidates:
    """Samples of different lengths, the last of which are right; the first read the prompt, the others found it
    cached. A generated token attends to all before it."""
    costs = [
        Cost(
            generated_tokens=new,
            prefilled_tokens=PROMPT * (i == 0),
            cached_tokens=PROMPT * (i > 0),
            attended_tokens=sum(range(1 if i == 0 else PROMPT + 1, PROMPT + new + 1)),
            seconds=new / 10,
        )
        for i, new in enumerate(tokens)
    ]
    prices = {"generator_parameters": 3, "generator_attention": 2.0}
    return Candidates(
        world.problem(),
        tuple(i >= len(tokens) // 2 for i in range(len(tokens))),
        tuple(int(i >= len(tokens) // 2) for i in range(len(tokens))),
        tuple(scores),
        generator_bill=bill_of(sum(costs, Cost()), **prices),
        sample_bills=SampleBills.priced([SimpleNamespace(cost=cost) for cost in costs], **prices),
        **others,
    )


def spent(tokens: Sequence[int], drawn: Sequence[int]) -> tuple[float, ...]:
    """Generated tokens, FLOPs, seconds and tokens read by the verifier where these samples are drawn."""
    generated = sum(tokens[i] for i in drawn)
    pairs = sum(range(PROMPT + 1)) + sum(sum(range(PROMPT + 1, PROMPT + tokens[i] + 1)) for i in drawn)
    read = sum(reading.tokens for reading in READINGS if set(reading.members) & set(drawn))
    return generated, 2 * 3 * (PROMPT + generated) + 2 * pairs, generated / 10, read


def test_two_samples_of_different_length_cost_what_their_two_orders_cost(world: SimpleNamespace) -> None:
    # The short one ends the drawing: 10 tokens where it comes first, 110 where it comes second.
    found = result(ThresholdStop(), uneven(world, [10, 100], [0.95, 0.1]), 2)
    assert found.bill.generated_tokens == pytest.approx(60)
    assert found.bill.prefilled_tokens == PROMPT
    assert found.samples == 1.5


@pytest.mark.parametrize("n", [1, 3, 6])
def test_the_bill_is_the_mean_over_all_orders_of_drawing(world: SimpleNamespace, n: int) -> None:
    tokens, scores = [10, 100, 7, 50, 3, 24], [0.95, 0.1, 0.4, 0.92, 0.3, 0.2]
    verifier_bill = bill_of(Cost(verifier_tokens=sum(one.tokens for one in READINGS)), verifier_parameters=11)
    candidates = uneven(world, tokens, scores, verifier_bill=verifier_bill, readings=READINGS)

    def mean(stops: Any) -> list[float]:
        drawn = [order[: next((k for k in range(1, n) if stops(order[:k])), n)] for order in permutations(range(6))]
        return [fmean(column) for column in zip(*(spent(tokens, some) for some in drawn), strict=True)]

    def billed(bill: Any) -> list[float]:
        assert bill.verifier_flops == pytest.approx(2 * 11 * bill.verifier_tokens)
        return [bill.generated_tokens, bill.generator_flops, bill.seconds, bill.verifier_tokens]

    stopped = first_above(scores, candidates.correct, n, threshold=0.9, groups=candidates.read_together)
    assert billed(at_stop(candidates, stopped)) == pytest.approx(mean(lambda drawn: scores[drawn[-1]] >= 0.9))
    assert billed(at_n(candidates, n)) == pytest.approx(mean(lambda drawn: False))
    agreed = vote_by_windows(
        candidates.classes, candidates.correct, n, window=2, groups=candidates.read_together, subsets=20_000
    )
    pair = mean(lambda drawn: len(drawn) % 2 == 0 and len({i >= 3 for i in drawn[-2:]}) == 1)
    assert billed(at_stop(candidates, agreed)) == pytest.approx(pair, rel=0.02)
