"""What every search strategy is given and gives back.

A strategy says how test-time compute is spent. Some choose among one shared set of samples (sampled and scored once,
whatever the number of strategies), others search live; both read candidates and return one result per problem. Where
samples come from, how they are stored and graded is the arena's business (`prm.eval.arena`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from prm.problems import Problem
from prm.scoring_spec import ScoringSpec
from prm.stats.estimators import subset_shares
from prm.stats.sequential import Stopped
from prm.verifier import StepScores

from ..cost import Bill, SampleBills
from .allotment import Allotment

Kinds = frozenset[str]
NOTHING = Bill()

UNCHOOSABLE = -1.0
"""The score of a candidate that cannot be an answer: unfinished, without an answer, or longer than the verifier reads.
It lies below every real score, which are in [0, 1], so such a candidate is chosen only where there is no other."""


class StepVerifier(Protocol):
    """What search needs of a verifier; `prm.verifier.Verifier` is one."""

    name: str
    spec: ScoringSpec
    num_parameters: int

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]: ...


@dataclass(frozen=True)
class Reading:
    """What the verifier read once: its tokens, which of the M candidates it stands for, and its FLOPs; 0 where all
    tokens cost the same."""

    tokens: int
    members: tuple[int, ...]
    flops: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """The M solutions of one problem, graded. Tuples without another remark have length M.

    Attributes:
        correct: whether the final answer is right; false for an unfinished one.
        classes: equivalence class of the answer; -1 for a candidate that does not vote.
        scores: aggregated verifier score, `UNCHOOSABLE` where there is none; empty without a verifier.
        generator_bill: what sampling all M cost.
        sample_bills: what each sample costs by itself; `None` where all are billed alike.
        verifier_bill: what scoring all M cost.
        readings: what was scored, for what several samples have in common is read once; empty where M is the only n.
        solutions: equal numbers for equal texts; -1 for a candidate that does not vote; empty where nobody asks.
        steps: of each solution, as the verifier reads them; empty without a verifier.
    """

    problem: Problem
    correct: tuple[bool, ...]
    classes: tuple[int, ...]
    scores: tuple[float, ...] = ()
    generator_bill: Bill = NOTHING
    sample_bills: SampleBills | None = None
    verifier_bill: Bill = NOTHING
    readings: tuple[Reading, ...] = ()
    solutions: tuple[int, ...] = ()
    steps: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def bill(self) -> Bill:
        return self.generator_bill + self.verifier_bill

    @property
    def read_together(self) -> tuple[tuple[int, ...], ...]:
        """The members of each reading: sets of samples, one of which drawn makes the verifier read for all."""
        return tuple(reading.members for reading in self.readings)

    @cached_property
    def own_bill(self) -> Bill:
        """What all samples cost without their prompt, as far as each has a bill of its own."""
        return self.sample_bills.drawn([1.0] * len(self)) if self.sample_bills else NOTHING

    @cached_property
    def shared_bill(self) -> Bill:
        """The rest of what sampling cost: the prompt, read once or more often."""
        return self.generator_bill + self.own_bill.scaled(-1)

    @property
    def weights(self) -> tuple[float, ...]:
        """The scores as weights of a vote: what the verifier could not read weighs nothing."""
        return tuple(max(score, 0.0) for score in self.scores)


@dataclass(frozen=True)
class ProblemResult:
    """What a strategy reached on one problem: the probability of a right answer (over subsets of samples and over
    ties, so not only 0 or 1), and what it cost. `samples` is how many solutions it drew on average, where it may stop
    before n."""

    accuracy: float
    bill: Bill
    samples: float | None = None


@dataclass(frozen=True)
class TreePlan:
    """The shape of a live search.

    Attributes:
        strategy: whose plan it is; part of the store's key.
        widths: one independent tree for each entry, with that many branches; their sum is n.
        beam_width: ways in which a kept branch is expanded, where `allotment` does not say otherwise.
        num_iterations: steps after which a branch is no longer scored step by step.
        lookahead: greedy steps by which an unfinished branch is extended before it is scored; they are thrown away.
        allotment: how the places of a tree are shared among its scored branches; `None` keeps the best of every
            `beam_width`.
    """

    strategy: str
    widths: tuple[int, ...]
    beam_width: int
    num_iterations: int
    lookahead: int = 0
    allotment: Allotment | None = None


class SearchShape(Protocol):
    """The settings that shape a live search; an arena has them, and so has the config of `prm eval`, so that a shape
    that cannot work is refused before anything is sampled."""

    beam_width: int
    num_iterations: int
    lookahead: int


class Arena(SearchShape, Protocol):
    """What a strategy may use. `subsets` and `seed` are for Monte Carlo estimates over subsets of samples."""

    subsets: int
    seed: int

    def samples(self) -> list[Candidates]:
        """The shared samples of every problem, scored where a verifier is in play."""
        ...

    def greedy(self) -> list[Candidates]:
        """The one greedy solution of every problem."""
        ...

    def grow(self, plan: TreePlan) -> list[Candidates]:
        """Search every problem live; all problems advance together."""
        ...


class SearchStrategy(Protocol):
    """How compute is spent."""

    @property
    def name(self) -> str:
        """As in every table."""
        ...

    @property
    def kinds(self) -> Kinds:
        """Verifier kinds that can guide it, among `prm` and `orm`; empty for a strategy without a verifier."""
        ...

    @property
    def live(self) -> bool:
        """It draws solutions of its own, so that recorded samples cannot serve it."""
        ...

    @property
    def fixed_n(self) -> int | None:
        """The only n it can run with, where there is only one."""
        ...

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        """Run on every problem with `n` generated solutions each; one result per problem, in order.

        Raises:
            ConfigError: it cannot run with these settings.
        """
        ...


def at_n(candidates: Candidates, n: int) -> Bill:
    """What n of the M candidates cost, on average over all subsets.

    Every sample has to be generated, so the generator's bill grows with n, all but the prompt, which is read once. The
    verifier reads once what several of them have in common: a reading for m samples is made for n of them with the
    chance 1 - C(M-m, n) / C(M, n).
    """
    total = len(candidates)
    lacking = subset_shares(total, n)
    generated = candidates.own_bill.scaled(n / total) + candidates.shared_bill.of_some(n, total)
    return generated + _read(candidates, (1 - lacking[total - len(one.members)] for one in candidates.readings))


def at_stop(candidates: Candidates, stopped: Stopped) -> Bill:
    """What a rule costs that stops by what it has drawn, on average over its orders: each sample by its own chance to
    be drawn, the prompt by how many are, each reading by the chance that one of its members is.

    Args:
        stopped: what the rule did on these candidates, with their `readings` as its groups.
    """
    total = len(candidates)
    own = candidates.sample_bills.drawn(stopped.drawn) if candidates.sample_bills else NOTHING
    shared = (
        candidates.shared_bill.of_some(k, total).scaled(share)
        for k, share in enumerate(stopped.shares, start=1)
        if share > 0
    )
    return sum(shared, own) + _read(candidates, stopped.touched)


def _read(candidates: Candidates, chances: Iterable[float]) -> Bill:
    """What the verifier costs where it makes each of the readings with a chance of its own."""
    tokens = sum(reading.tokens for reading in candidates.readings)
    if not tokens:
        return NOTHING
    expected = flops = 0.0
    for one, chance in zip(candidates.readings, chances, strict=True):
        expected += one.tokens * chance
        flops += one.flops * chance
    bill = candidates.verifier_bill.scaled(expected / tokens)
    return replace(bill, verifier_flops=flops) if flops else bill
