"""A run with one verifier, or with none: what a strategy is given (`prm.eval.search.base.Arena`).

Scores of the shared samples and live searches are made here, once, and kept in the store. Estimators and error bars
are `prm.eval.results`'s.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from prm.aggregation import Aggregation, aggregate
from prm.fingerprint import dtype_suffix
from prm.rollouts import Cost, Rollout
from prm.verifier import StepScores
from prm.workers import Advance

from .cost import Bill, bill_of, recorded_bill
from .sample_store import Row
from .sampling import GradedRollouts, make_rollout
from .search.base import UNCHOOSABLE, Candidates, Reading, StepVerifier, TreePlan
from .search.frontier import Frontier
from .search.tree import TreeSearch, nodes_to_row
from .steps import score_safely, steps_of
from .workshop import Workshop


@dataclass(frozen=True)
class NamedVerifier:
    """A verifier with its name in tables, what identifies its weights, and the fold of its step scores."""

    name: str
    verifier: StepVerifier
    key: str
    aggregation: Aggregation

    @property
    def store_key(self) -> str:
        """Its identity in the store: the weights, and the dtype they compute in."""
        return self.key + dtype_suffix(getattr(self.verifier, "model", None))


class EvalArena:
    """The workshop with one verifier, or none: the `Arena` of every strategy."""

    def __init__(self, workshop: Workshop, named: NamedVerifier | None = None):
        self.workshop, self.named = workshop, named
        settings = workshop.settings
        self.beam_width, self.num_iterations = settings.beam_width, settings.num_iterations
        self.lookahead, self.subsets, self.seed = settings.lookahead, settings.subsets, settings.seed
        self._grown: dict[TreePlan, list[Candidates]] = {}

    def need_named(self) -> NamedVerifier:
        """The verifier; only strategies that have one may ask for what depends on it."""
        assert self.named is not None
        return self.named

    @property
    def name(self) -> str:
        return self.need_named().name

    @property
    def verifier(self) -> StepVerifier:
        return self.need_named().verifier

    @property
    def kind(self) -> str:
        return self.verifier.spec.kind

    @property
    def separator(self) -> str:
        return self.verifier.spec.step_format.step_separator

    def samples(self) -> list[Candidates]:
        return self._samples

    def greedy(self) -> list[Candidates]:
        return [_unscored(graded, self._drawn(graded)) for graded in self.workshop.greedy]

    def grow(self, plan: TreePlan) -> list[Candidates]:
        if plan not in self._grown:
            self._grown[plan] = self._search(plan)
        return self._grown[plan]

    @cached_property
    def steps(self) -> list[list[tuple[str, ...]]]:
        """The steps of every sample of every problem, as this verifier reads them."""
        recorded = self.workshop.recorded
        return [
            [steps_of(rollout, self.separator, recorded=recorded) for rollout in pool.rollouts]
            for pool in self.workshop.samples
        ]

    @cached_property
    def step_scores(self) -> list[list[StepScores | None]]:
        """Scores of every sample of every problem; `None` for one the verifier could not read."""
        rows = self._score_rows
        return [
            [None if s is None else StepScores(tuple(s), t) for s, t in zip(row["scores"], row["tokens"], strict=True)]
            for row in rows
        ]

    @cached_property
    def _samples(self) -> list[Candidates]:
        pools = self.workshop.samples
        if self.named is None:
            return [_unscored(graded, self._sampled(graded)) for graded in pools]
        return [
            self._scored(graded, solutions, scores, seconds=row["seconds"])
            for graded, solutions, scores, row in zip(
                pools, self.steps, self.step_scores, self._score_rows, strict=True
            )
        ]

    @cached_property
    def _score_rows(self) -> list[Row]:
        named = self.need_named()
        return self.workshop.store.complete(
            f"scores-{_file_name(named.name)}",
            {**self.workshop.settings.samples_key, "verifier": named.store_key},
            self.workshop.problems,
            self._score_chunk,
            label=f"score with {named.name}",
            solutions=max(len(pool.rollouts) for pool in self.workshop.samples),
        )

    def _score_chunk(self, indices: Sequence[int], advance: Advance) -> list[Row]:
        """Score the distinct solutions of the problems with these indices in one call."""
        asked = [
            (self.workshop.problems[index].problem, solution)
            for index in indices
            for solution in dict.fromkeys(self.steps[index])
            if solution
        ]
        started = time.perf_counter()
        found = dict(zip(asked, score_safely(self.verifier, asked), strict=True))
        seconds = (time.perf_counter() - started) / len(indices)
        rows = []
        for index in indices:
            problem = self.workshop.problems[index].problem
            scored = [found.get((problem, solution)) for solution in self.steps[index]]
            rows.append(
                {
                    "scores": [list(s.scores) if s else None for s in scored],
                    "tokens": [s.tokens if s else 0 for s in scored],
                    "seconds": seconds,
                }
            )
            advance(len(scored))
        return rows

    def _search(self, plan: TreePlan) -> list[Candidates]:
        named, settings = self.need_named(), self.workshop.settings
        n = sum(plan.widths)
        stage = f"{plan.strategy}-{n}-{_file_name(named.name)}"
        key = {
            **settings.generator_key,
            **settings.sampling.to_dict(),
            "seed": settings.seed,
            "plan": asdict(plan),
            "verifier": named.store_key,
            "aggregation": named.aggregation,
        }
        rows = self.workshop.store.complete(
            stage,
            key,
            self.workshop.problems,
            lambda indices, advance: self._grow_chunk(plan, indices, advance),
            label=f"{plan.strategy} n={n} with {named.name}",
            solutions=n,
        )
        graded = self.workshop.grade(stage, key, [[Rollout.from_dict(r) for r in row["rollouts"]] for row in rows])
        return [self._grown_candidates(pool, row) for pool, row in zip(graded, rows, strict=True)]

    def _grow_chunk(self, plan: TreePlan, indices: Sequence[int], advance: Advance) -> list[Row]:
        settings = self.workshop.settings
        frontier = Frontier(
            plan,
            self.workshop.need_generator(plan.strategy),
            self.verifier,
            sampling=settings.sampling,
            aggregation=self.need_named().aggregation,
            base_seed=settings.seed,
        )
        started = time.perf_counter()
        searches = frontier.run([self.workshop.problems[i] for i in indices], advance)
        seconds = (time.perf_counter() - started) / len(indices)
        return [_search_row(search, seconds, source=plan.strategy, separator=self.separator) for search in searches]

    def _grown_candidates(self, graded: GradedRollouts, row: Row) -> Candidates:
        return Candidates(
            problem=graded.problem,
            correct=_correct(graded),
            classes=graded.classes,
            scores=_choosable(row["agg_scores"], graded),
            generator_bill=bill_of(
                Cost(**row["cost"]),
                generator_parameters=self.workshop.generator_parameters,
                verifier_parameters=self.verifier.num_parameters,
            ),
        )

    def _scored(
        self,
        graded: GradedRollouts,
        solutions: Sequence[tuple[str, ...]],
        scores: Sequence[StepScores | None],
        *,
        seconds: float,
    ) -> Candidates:
        how = self.need_named().aggregation
        folded = [aggregate(found.scores, how) if found else UNCHOOSABLE for found in scores]
        copies = Counter(solutions)
        tokens = {solution: found.tokens for solution, found in zip(solutions, scores, strict=True) if found}
        cost = Cost(verifier_tokens=sum(tokens.values()), seconds=seconds)
        return Candidates(
            problem=graded.problem,
            correct=_correct(graded),
            classes=graded.classes,
            scores=_choosable(folded, graded),
            generator_bill=self._sampled(graded),
            verifier_bill=bill_of(cost, generator_parameters=0, verifier_parameters=self.verifier.num_parameters),
            readings=tuple(Reading(count, copies[solution]) for solution, count in tokens.items()),
        )

    def _sampled(self, graded: GradedRollouts) -> Bill:
        """What the shared samples of a problem cost, whoever drew them."""
        return recorded_bill(graded.rollouts) if self.workshop.recorded else self._drawn(graded)

    def _drawn(self, graded: GradedRollouts) -> Bill:
        spent = sum((rollout.cost for rollout in graded.rollouts), Cost())
        return bill_of(spent, generator_parameters=self.workshop.generator_parameters, verifier_parameters=0)


def _unscored(graded: GradedRollouts, bill: Bill) -> Candidates:
    return Candidates(
        graded.problem, _correct(graded), graded.classes, generator_bill=bill, solutions=_equal_solutions(graded)
    )


def _equal_solutions(graded: GradedRollouts) -> tuple[int, ...]:
    """Equal numbers for equal texts; -1 where there is no answer."""
    numbers: dict[tuple[str, ...], int] = {}
    return tuple(
        -1 if label < 0 else numbers.setdefault(rollout.steps, len(numbers))
        for rollout, label in zip(graded.rollouts, graded.classes, strict=True)
    )


def _correct(graded: GradedRollouts) -> tuple[bool, ...]:
    return tuple(rollout.correct for rollout in graded.rollouts)


def _choosable(scores: Sequence[float], graded: GradedRollouts) -> tuple[float, ...]:
    """The scores of candidates that have an answer; the others cannot be chosen before these."""
    return tuple(s if label >= 0 else UNCHOOSABLE for s, label in zip(scores, graded.classes, strict=True))


def _search_row(search: TreeSearch, seconds: float, *, source: str, separator: str) -> Row:
    branches = [*search.finished, *search.unfinished]
    rollouts = [
        make_rollout(
            search.problem,
            branch.text,
            branch.stop_reason,
            index=index,
            source=source,
            separator=separator,
            cost=Cost(generated_tokens=branch.n_generated),
        )
        for index, branch in enumerate(branches)
    ]
    return {
        "rollouts": [rollout.to_dict() for rollout in rollouts],
        "scores": [list(branch.step_scores) for branch in branches],
        "agg_scores": [branch.score for branch in branches],
        "cost": {**search.cost.to_dict(), "seconds": seconds},
        "leaves": [branch.node for branch in branches],
        "nodes": nodes_to_row(search.nodes),
    }


def _file_name(name: str) -> str:
    """A verifier's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
