"""A run with one verifier, or with none: what a strategy is given (`prm.eval.search.base.Arena`).

Scores of the shared samples and live searches are made here, once, and kept in the store. Estimators and error bars
are `prm.eval.results`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property

from prm.aggregation import aggregate
from prm.progress import Tally
from prm.rollouts import Cost, Rollout
from prm.scoring_spec import ScoringSpec
from prm.verifier import StepScores
from prm.workers import Advance

from .cost import Bill, SampleBills, bill_of, recorded_bill
from .models import NamedVerifier
from .readings import priced, readings_of, with_the_first
from .sample_store import Row, problem_key
from .sampling import GradedRollouts, make_rollout
from .search.base import UNCHOOSABLE, Candidates, Reading, StepVerifier, TreePlan
from .search.frontier import Frontier
from .search.tree import Node, TreeSearch, nodes_from_row, nodes_to_row
from .search.voting import decide
from .steps import score_safely, steps_of
from .workshop import Workshop

NOT_SCORED: Row = {"scores": [], "readings": [], "seconds": 0.0}
"""A row of scores: those of each sample, null where the verifier could not read it, and what was read for them
(`prm.eval.readings`)."""


class EvalArena:
    """The workshop with one verifier, or none: the `Arena` of every strategy.

    Args:
        unfolded: the same verifier with its step scores folded otherwise, which has read them already.
    """

    def __init__(self, workshop: Workshop, named: NamedVerifier | None = None, unfolded: EvalArena | None = None):
        self.workshop, self.named, self._unfolded = workshop, named, unfolded
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
        """The verifier, loaded; `spec` and `kind` are known without."""
        return self.need_named().verifier

    @property
    def spec(self) -> ScoringSpec:
        return self.need_named().spec

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def verifier_prices(self) -> dict[str, float]:
        """What `prm.eval.cost.bill_of` wants to know of the verifier."""
        facts = self.need_named().facts
        return {
            "verifier_parameters": facts.num_parameters,
            "verifier_attention": facts.attention_flops_per_pair,
        }

    @property
    def separator(self) -> str:
        return self.spec.step_format.text_separator

    def samples(self) -> list[Candidates]:
        return self._samples

    def greedy(self) -> list[Candidates]:
        return [_unscored(graded, self._drawn(graded)) for graded in self.workshop.greedy]

    def probe(self, samples: int) -> list[Candidates]:
        """Fresh samples of every problem, which serve no other purpose, scored where there is a verifier."""
        return EvalArena(self.workshop.probing(samples), self.named).samples()

    def only(self, indices: Sequence[int]) -> EvalArena:
        """The problems with these indices alone."""
        return EvalArena(self.workshop.only(indices), self.named)

    def unguided(self) -> EvalArena:
        """The same without a verifier."""
        return EvalArena(self.workshop)

    def grow(self, plan: TreePlan) -> list[Candidates]:
        if plan not in self._grown:
            self._grown[plan] = self._search(plan)
        return self._grown[plan]

    @property
    def grown(self) -> Mapping[TreePlan, list[Candidates]]:
        """The live searches so far."""
        return self._grown

    @cached_property
    def steps(self) -> list[list[tuple[str, ...]]]:
        """The steps of every sample of every problem, as this verifier reads them."""
        if self._unfolded is not None:
            return self._unfolded.steps
        recorded = self.workshop.recorded
        return [
            [steps_of(rollout, self.separator, recorded=recorded) for rollout in pool.rollouts]
            for pool in self.workshop.samples
        ]

    @cached_property
    def step_scores(self) -> list[list[StepScores | None]]:
        """Scores of every sample of every problem; `None` for one the verifier could not read."""
        return [_step_scores(row) for row in self._score_rows]

    @cached_property
    def _samples(self) -> list[Candidates]:
        pools = self.workshop.samples
        if self.named is None:
            return [_unscored(graded, self._sampled(graded), self._one_by_one(graded)) for graded in pools]
        return [self._scored(index, row) for index, row in enumerate(self._score_rows)]

    @cached_property
    def _score_rows(self) -> list[Row]:
        """The scores of every problem's samples: those in the store, and those that it lacks."""
        if self._unfolded is not None:
            return self._unfolded._score_rows
        named, pools = self.need_named(), self.workshop.samples
        stage = f"scores-{_file_name(named.source)}"
        key = {**self.workshop.settings.samples_key, "verifier": named.facts.store_key}
        held = self.workshop.store.rows(stage, key)
        return self.workshop.store.complete(
            stage,
            key,
            self.workshop.problems,
            lambda indices, advance: self._score_chunk(held, indices, advance),
            label=f"score with {named.source}",
            solutions=max(len(pool.rollouts) for pool in pools),
            enough=lambda index, row: len(row["scores"]) == len(pools[index].rollouts),
            ready=lambda: named.verifier,
            tell=self._tell_scores,
        )

    def _tell_scores(self, tally: Tally, indices: Sequence[int], rows: Sequence[Row]) -> None:
        """How often the best of all samples is right so far, and the tokens that were read."""
        _tell(tally, [self._scored(index, row) for index, row in zip(indices, rows, strict=True)])

    def _score_chunk(self, held: Mapping[str, Row], indices: Sequence[int], advance: Advance) -> list[Row]:
        """Score the distinct solutions of the problems with these indices in one call, but those scored before."""
        problems = [self.workshop.problems[index] for index in indices]
        before = [held.get(problem_key(problem), NOT_SCORED) for problem in problems]
        known = [
            dict(zip(self.steps[index], row["scores"], strict=False))
            for index, row in zip(indices, before, strict=True)
        ]
        asked = [
            (problem.problem, solution)
            for index, problem, scored in zip(indices, problems, known, strict=True)
            for solution in dict.fromkeys(self.steps[index])
            if solution and solution not in scored
        ]
        started = time.perf_counter()
        found = dict(zip(asked, score_safely(self.verifier, asked), strict=True))
        seconds = (time.perf_counter() - started) / len(indices)
        rows = []
        for index, problem, scored, row in zip(indices, problems, known, before, strict=True):
            solutions = self.steps[index]
            new = {s: found.get((problem.problem, s)) for s in solutions if s not in scored}
            scored |= {s: list(one.scores) if one else None for s, one in new.items()}
            readings = readings_of(self.verifier, problem.problem, solutions, scored, before=row["readings"], new=new)
            scores = [scored[solution] for solution in solutions]
            rows.append({"scores": scores, "readings": readings, "seconds": row["seconds"] + seconds})
            advance(len(self.steps[index]))
        return rows

    def trees(self, plan: TreePlan) -> list[list[Node]]:
        """Every step that a live search drew on each problem, kept or not."""
        return [nodes_from_row(row["nodes"]) for row in self._search_rows(plan)[2]]

    def _search(self, plan: TreePlan) -> list[Candidates]:
        stage, key, rows = self._search_rows(plan)
        graded = self.workshop.grade(stage, key, [[Rollout.from_dict(r) for r in row["rollouts"]] for row in rows])
        return [self._grown_candidates(pool, row) for pool, row in zip(graded, rows, strict=True)]

    def _search_rows(self, plan: TreePlan) -> tuple[str, Row, list[Row]]:
        """The stage of a search in the store, its key there, and its rows."""
        named, settings = self.need_named(), self.workshop.settings
        n = sum(plan.widths)
        stage = f"{plan.strategy}-{n}-{_file_name(named.source)}"
        key = {
            **settings.generator_key,
            **settings.sampling.to_dict(),
            "seed": settings.seed,
            "plan": asdict(plan),
            "verifier": named.facts.store_key,
            "aggregation": named.aggregation,
        }
        rows = self.workshop.store.complete(
            stage,
            key,
            self.workshop.problems,
            lambda indices, advance: self._grow_chunk(plan, indices, advance),
            label=f"{plan.strategy} n={n} with {named.name}",
            solutions=n,
            ready=lambda: (self.workshop.need_generator(plan.strategy).model, named.verifier),
            tell=lambda tally, indices, made: self._tell_grown(stage, key, tally, indices, made),
        )
        return stage, key, rows

    def _tell_grown(self, stage: str, key: Row, tally: Tally, indices: Sequence[int], rows: Sequence[Row]) -> None:
        """How often the search's best solution is right so far, and the tokens of both models."""
        pools = [[Rollout.from_dict(rollout) for rollout in row["rollouts"]] for row in rows]
        graded = self.workshop.grade_now(stage, key, indices, pools)
        _tell(tally, [self._grown_candidates(one, row) for one, row in zip(graded, rows, strict=True)])

    def _grow_chunk(self, plan: TreePlan, indices: Sequence[int], advance: Advance) -> list[Row]:
        settings = self.workshop.settings
        frontier = Frontier(
            plan,
            self.workshop.need_generator(plan.strategy).model,
            self.verifier,
            sampling=settings.sampling,
            aggregation=self.need_named().aggregation,
            base_seed=settings.seed,
            live_tokens=settings.live_tokens or None,
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
            steps=tuple(rollout.steps for rollout in graded.rollouts),
            generator_bill=bill_of(Cost(**row["cost"]), **self.workshop.generator_prices, **self.verifier_prices),
        )

    def _scored(self, index: int, row: Row) -> Candidates:
        """The samples of the problem with this index, with the scores of a row."""
        how, graded = self.need_named().aggregation, self.workshop.samples[index]
        folded = [UNCHOOSABLE if scores is None else aggregate(scores, how) for scores in row["scores"]]
        readings = self._readings(index, row)
        return Candidates(
            problem=graded.problem,
            correct=_correct(graded),
            classes=graded.classes,
            scores=_choosable(folded, graded),
            generator_bill=self._sampled(graded),
            sample_bills=self._one_by_one(graded),
            verifier_bill=Bill(
                verifier_tokens=sum(reading.tokens for reading in readings),
                verifier_flops=sum(reading.flops for reading in readings),
                seconds=row["seconds"],
            ),
            steps=tuple(self.steps[index]),
            readings=readings,
        )

    def _readings(self, index: int, row: Row) -> tuple[Reading, ...]:
        """What was read for the samples of the problem with this index, at this verifier's prices."""
        return priced(row["readings"], self.verifier_prices)

    def _sampled(self, graded: GradedRollouts) -> Bill:
        """What the shared samples of a problem cost, whoever drew them."""
        return recorded_bill(graded.rollouts) if self.workshop.recorded else self._drawn(graded)

    def _one_by_one(self, graded: GradedRollouts) -> SampleBills:
        """What each of the shared samples cost by itself."""
        if self.workshop.recorded:
            return SampleBills.recorded(graded.rollouts)
        return SampleBills.priced(graded.rollouts, **self.workshop.generator_prices)

    def _drawn(self, graded: GradedRollouts) -> Bill:
        spent = sum((rollout.cost for rollout in graded.rollouts), Cost())
        return bill_of(spent, **self.workshop.generator_prices)


def _tell(tally: Tally, found: Sequence[Candidates]) -> None:
    bills = [one.verifier_bill if one.verifier_bill.verifier_tokens else one.bill for one in found]
    tokens = sum(bill.generated_tokens + bill.verifier_tokens for bill in bills)
    tally.add(graded=len(found), right=sum(decide(one, "best") for one in found), tokens=tokens)


def _step_scores(row: Row) -> list[StepScores | None]:
    """A row of scores, sample by sample."""
    counts = with_the_first(row["readings"], len(row["scores"]))
    return [
        None if scores is None else StepScores(tuple(scores), *count)
        for scores, count in zip(row["scores"], counts, strict=True)
    ]


def _unscored(graded: GradedRollouts, bill: Bill, each: SampleBills | None = None) -> Candidates:
    return Candidates(
        graded.problem,
        _correct(graded),
        graded.classes,
        generator_bill=bill,
        sample_bills=each,
        solutions=_equal_solutions(graded),
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
        **({"verifier_parts": search.parts} if search.parts else {}),
    }


def _file_name(name: str) -> str:
    """A verifier's name as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
