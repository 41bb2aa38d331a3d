"""A policy that is followed: each problem gets what its bin says, and pays for finding its bin."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from prm.eval.cost import Bill
from prm.eval.difficulty import Bins, Measure
from prm.eval.policy import BudgetPlan, Choice, Policy
from prm.eval.search.base import Candidates, TreePlan
from prm.eval.search.compute_optimal import ComputeOptimal, probe, strategy_of

from prm.errors import ConfigError

SAMPLED = Bill(generated_tokens=4.0, generator_flops=8.0)
READ, GROWN = Bill(verifier_flops=4.0), Bill(generator_flops=3.0)


class Shelf:
    """An arena of four problems, whose probes say that the last two are hard. It notes what was asked of it."""

    beam_width, num_iterations, lookahead, subsets, seed = 2, 5, 0, 64, 0

    def __init__(self, world: SimpleNamespace, rows: Sequence[int] = range(4), guided: bool = True):
        self.world, self.rows, self.guided = world, list(rows), guided
        self.log: list[tuple[str, list[int], bool]] = []

    def _pool(self, row: int, scores: tuple[float, ...], right: bool) -> Candidates:
        classes = (0, 0) if row < 2 else (0, 1)
        if not self.guided:
            return Candidates(self.world.problem(), (right, right and row < 2), classes, generator_bill=SAMPLED)
        bills = {"generator_bill": SAMPLED, "verifier_bill": READ}
        return Candidates(self.world.problem(), (right, right and row < 2), classes, scores, **bills)

    def samples(self) -> list[Candidates]:
        self.log.append(("samples", self.rows, self.guided))
        return [self._pool(row, (0.5, 0.5), right=row < 2) for row in self.rows]

    def grow(self, plan: TreePlan) -> list[Candidates]:
        self.log.append((plan.strategy, self.rows, self.guided))
        return [Candidates(self.world.problem(), (True,), (0,), (0.9,), generator_bill=GROWN) for _ in self.rows]

    def probe(self, samples: int) -> list[Candidates]:
        self.log.append((f"probe {samples}", self.rows, self.guided))
        return [self._pool(row, (0.9, 0.9) if row < 2 else (0.1, 0.3), right=False) for row in self.rows]

    def only(self, indices: Sequence[int]) -> Shelf:
        part = Shelf(self.world, [self.rows[index] for index in indices], self.guided)
        part.log = self.log
        return part

    def unguided(self) -> Shelf:
        part = Shelf(self.world, self.rows, guided=False)
        part.log = self.log
        return part

    greedy = None


def follow(arena: Shelf, *choices: Choice, by: str = "scores") -> ComputeOptimal:
    measure = Measure(by, 0 if by == "oracle" else 2)  # type: ignore[arg-type]
    plan = BudgetPlan(2, 100.0, choices)
    return ComputeOptimal(Policy(measure, "absolute", Bins((0.5,)), (plan,), {}, {}), plan)


def test_each_problem_gets_the_method_of_its_bin_and_only_that(world: SimpleNamespace) -> None:
    arena = Shelf(world)
    results = follow(arena, Choice("majority", 2), Choice("beam_search", 2)).evaluate(arena, 2)
    assert arena.log == [
        ("probe 2", [0, 1, 2, 3], True),
        ("samples", [0, 1], False),
        ("beam_search", [2, 3], True),
    ]
    assert [result.accuracy for result in results] == [1.0] * 4


def test_finding_the_bin_is_billed_and_said_apart(world: SimpleNamespace) -> None:
    arena = Shelf(world)
    results = follow(arena, Choice("majority", 2), Choice("beam_search", 2)).evaluate(arena, 2)
    assert [result.bill.flops for result in results] == [20.0, 20.0, 15.0, 15.0]
    assert [result.bill.difficulty_flops for result in results] == [12.0] * 4


def test_agreement_asks_no_verifier_and_the_oracle_costs_nothing(world: SimpleNamespace) -> None:
    arena = Shelf(world)
    agreed = probe(arena, Measure("agreement", 2))
    assert agreed.difficulties == (0.0, 0.0, 0.5, 0.5)
    assert {bill.flops for bill in agreed.bills} == {8.0}
    known = probe(arena, Measure("oracle"))
    assert known.difficulties == (0.0, 0.0, 1.0, 1.0)
    assert {bill.flops for bill in known.bills} == {0.0}
    assert [what for what, *_ in arena.log if what.startswith("probe")] == ["probe 2"]


def test_where_every_bin_gets_the_same_no_bin_is_looked_for(world: SimpleNamespace) -> None:
    arena = Shelf(world)
    results = follow(arena, Choice("dvts", 2), Choice("dvts", 2)).evaluate(arena, 2)
    assert arena.log == [("dvts", [0, 1, 2, 3], True)]
    assert {result.bill.flops for result in results} == {3.0}


def test_a_choice_that_this_version_does_not_have_is_refused() -> None:
    assert strategy_of(Choice("beam_search_weighted", 8)).name == "beam_search_weighted"
    with pytest.raises(ConfigError, match="chooses 'magic'"):
        strategy_of(Choice("magic", 8))
