"""Compute-optimal scaling (Snell et al., arXiv 2408.03314): first a few samples to see how hard a problem is, then the
method that a policy has for such problems. The policy itself is `prm.eval.policy`'s, and where it comes from
`prm.eval.policy_fit`'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from prm.errors import ConfigError

from ..cost import Bill
from ..difficulty import Measure
from ..policy import BudgetPlan, Choice, Policy
from .base import Arena, Candidates, Kinds, ProblemResult, SearchStrategy
from .strategies import STRATEGIES


class ProbingArena(Arena, Protocol):
    """An arena that can draw a few samples beside the shared ones, and be narrowed."""

    def probe(self, samples: int) -> list[Candidates]:
        """Fresh samples of every problem, scored where a verifier is in play; never those of `samples()`."""
        ...

    def only(self, indices: Sequence[int]) -> ProbingArena:
        """The problems with these indices alone."""
        ...

    def unguided(self) -> ProbingArena:
        """The same without a verifier."""
        ...


@dataclass(frozen=True)
class Probe:
    """How hard each of P problems was found to be, and what finding out cost; the oracle is not billed."""

    measure: Measure
    difficulties: tuple[float, ...]
    bills: tuple[Bill, ...]


def probe(arena: ProbingArena, measure: Measure) -> Probe:
    """Estimate the difficulty of every problem. Its cost is billed as such, and is part of every bill with it."""
    if measure.by == "oracle":
        return Probe(measure, measure.of(arena.samples()), (Bill(),) * len(arena.samples()))
    pools = (arena if measure.by == "scores" else arena.unguided()).probe(measure.samples)
    bills = tuple(replace(pool.bill, difficulty_flops=pool.bill.flops) for pool in pools)
    return Probe(measure, measure.of(pools), bills)


def strategy_of(choice: Choice) -> SearchStrategy:
    """The strategy that a choice names.

    Raises:
        ConfigError: this version has none of that name.
    """
    for variants in STRATEGIES.values():
        for strategy in variants:
            if strategy.name == choice.method:
                return strategy
    raise ConfigError(f"the policy chooses {choice.method!r}, which this version does not have")


class ComputeOptimal:
    """One budget of a policy, called by the n of the best-of-n that costs as much."""

    kinds: Kinds = frozenset({"prm", "orm"})
    live = True

    def __init__(self, policy: Policy, plan: BudgetPlan):
        self.policy, self.plan = policy, plan
        self.name, self.fixed_n = policy.name, plan.n

    def evaluate(self, arena: ProbingArena, n: int) -> list[ProblemResult]:
        if len(set(self.plan.choices)) == 1:  # nothing depends on the bin, so none is looked for
            (choice,) = set(self.plan.choices)
            strategy = strategy_of(choice)
            return strategy.evaluate(arena if strategy.kinds else arena.unguided(), choice.n)
        found = probe(arena, self.policy.measure)
        bins = self.policy.bins.of(found.difficulties)
        results: dict[int, ProblemResult] = {}
        for choice in dict.fromkeys(self.plan.choices):
            rows = [row for row, place in enumerate(bins) if self.plan.choices[place] == choice]
            if rows:
                strategy = strategy_of(choice)
                guided = arena if strategy.kinds else arena.unguided()
                results |= zip(rows, strategy.evaluate(guided.only(rows), choice.n), strict=True)
        return [replace(results[row], bill=results[row].bill + bill) for row, bill in enumerate(found.bills)]
