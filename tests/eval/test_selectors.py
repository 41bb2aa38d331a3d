"""Choosing among samples: ties, non-voters, and what n of M samples cost."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.cost import Bill, bill_of
from prm.eval.search.base import UNCHOOSABLE, Candidates, Reading, at_n
from prm.eval.search.beam_search import BeamSearch
from prm.eval.search.best_of_n import BestOfN
from prm.eval.search.dvts import DVTS
from prm.eval.search.majority import Majority
from prm.eval.search.pass_at_n import PassAtN
from prm.eval.search.strategies import STRATEGIES, strategies_named
from prm.eval.search.voting import decide
from prm.eval.search.weighted_best_of_n import WeightedBestOfN

from prm.errors import ConfigError
from prm.rollouts import Cost


def pool(
    world: SimpleNamespace, correct: list[int], classes: list[int], scores: list[float], **more: Any
) -> Candidates:
    return Candidates(world.problem(), tuple(map(bool, correct)), tuple(classes), tuple(scores), **more)


class Shelf:
    """An arena with nothing but samples."""

    beam_width, num_iterations, lookahead, subsets, seed = 4, 40, 0, 64, 0

    def __init__(self, *pools: Candidates):
        self.pools = list(pools)

    def samples(self) -> list[Candidates]:
        return self.pools

    greedy = grow = None


def accuracy(strategy: Any, candidates: Candidates, n: int) -> float:
    (result,) = strategy.evaluate(Shelf(candidates), n)
    return result.accuracy


def test_ties_never_look_at_the_label(world: SimpleNamespace) -> None:
    for correct in ([1, 0, 0, 0], [0, 0, 0, 1]):
        tied = pool(world, correct, [3, 1, 2, 0] if correct[0] else [0, 1, 2, 3], [0.5] * 4)
        assert accuracy(BestOfN(), tied, 4) == pytest.approx(0.25)
        assert accuracy(WeightedBestOfN(), tied, 4) == pytest.approx(0.25)
        assert accuracy(Majority(), tied, 4) == pytest.approx(0.25)
        assert decide(tied, "best") == decide(tied, "weighted") == pytest.approx(0.25)


def test_an_unfinished_sample_is_chosen_only_where_there_is_no_other(world: SimpleNamespace) -> None:
    mixed = pool(world, [0, 1], [-1, 0], [UNCHOOSABLE, 0.01])
    assert accuracy(BestOfN(), mixed, 2) == 1.0
    assert accuracy(Majority(), mixed, 2) == 1.0
    hopeless = pool(world, [0, 0], [-1, -1], [UNCHOOSABLE] * 2)
    for strategy in (BestOfN(), WeightedBestOfN(), Majority(), PassAtN()):
        assert accuracy(strategy, hopeless, 2) == 0.0
    assert decide(hopeless, "best") == decide(hopeless, "weighted") == 0.0


def test_no_estimate_depends_on_the_order_of_the_samples(world: SimpleNamespace) -> None:
    correct, classes, scores = [1, 0, 0, 1, 0], [0, 1, 1, 0, 2], [0.2, 0.9, 0.4, 0.8, 0.1]
    for strategy in (BestOfN(), WeightedBestOfN(), Majority(), PassAtN()):
        forward = accuracy(strategy, pool(world, correct, classes, scores), 2)
        backward = accuracy(strategy, pool(world, correct[::-1], classes[::-1], scores[::-1]), 2)
        assert forward == pytest.approx(backward)
        assert 0 < forward < 1


def test_the_weighted_vote_sums_and_the_best_takes_one(world: SimpleNamespace) -> None:
    found = pool(world, [1, 1, 0], [0, 0, 1], [0.5, 0.4, 0.8])
    assert decide(found, "best") == 0.0
    assert decide(found, "weighted") == 1.0


def test_the_bill_of_n_samples_is_the_mean_over_all_subsets(world: SimpleNamespace) -> None:
    # Five samples, three of them equal: the verifier reads each distinct one once.
    solutions, tokens = "aaabc", {"a": 10, "b": 7, "c": 20}
    generator_bill = bill_of(Cost(generated_tokens=50), generator_parameters=3, verifier_parameters=0)
    verifier_bill = bill_of(Cost(verifier_tokens=37), generator_parameters=0, verifier_parameters=5)
    candidates = pool(
        world,
        [1] * 5,
        [0] * 5,
        [0.5] * 5,
        generator_bill=generator_bill,
        verifier_bill=verifier_bill,
        readings=tuple(Reading(tokens[s], tuple(i for i in range(5) if solutions[i] == s)) for s in tokens),
    )
    for n in range(1, 6):
        subsets = [set(subset) for subset in combinations(range(5), n)]
        read = [sum(tokens[s] for s in {solutions[i] for i in subset}) for subset in subsets]
        bill = at_n(candidates, n)
        assert bill.verifier_tokens == pytest.approx(sum(read) / len(read))
        assert bill.generated_tokens == pytest.approx(10 * n)
        assert bill.flops == pytest.approx(2 * 3 * 10 * n + 2 * 5 * sum(read) / len(read))


def test_flops_are_two_per_parameter_and_token_of_both_models() -> None:
    cost = Cost(generated_tokens=10, prefilled_tokens=5, cached_tokens=100, verifier_tokens=7)
    bill = bill_of(cost, generator_parameters=3, verifier_parameters=11)
    assert (bill.generator_flops, bill.verifier_flops, bill.flops) == (2 * 3 * 15, 2 * 11 * 7, 244)
    assert (bill + Bill(seconds=1)).scaled(0.5).to_dict()["flops"] == 122


@pytest.mark.parametrize("strategy", [BeamSearch(), DVTS()])
@pytest.mark.parametrize(("n", "beam_width"), [(16, 5), (2, 4), (4, 0)])
def test_a_width_that_cannot_be_expanded_is_refused(strategy: Any, n: int, beam_width: int) -> None:
    shelf = Shelf()
    shelf.beam_width = beam_width
    with pytest.raises(ConfigError, match="not divisible by beam_width"):
        strategy.evaluate(shelf, n)


def test_an_unknown_approach_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'beam_search'"):
        strategies_named("beamsearch")
    names = [strategy.name for group in STRATEGIES.values() for strategy in group]
    assert len(set(names)) == len(names)
