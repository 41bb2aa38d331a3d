"""The walk through the methods of a run: every strategy, with every verifier that can guide it, at every n.

What comes out is unsummarised, one result for each problem (`Line`). Runs repeated with other seeds are repeated
measures of the same problems: their lines become one, the mean over seeds of each problem. Intervals and gains are
`prm.eval.results`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum

from .arena import EvalArena
from .cost import mean_bill, recorded_bill
from .policy_run import followed
from .prepare import Run
from .search.base import ProblemResult, SearchStrategy
from .search.majority import Majority
from .search.no_skill import NoSkill
from .search.pass_at_n import PassAtN


@dataclass(frozen=True)
class Line:
    """One method at one n, problem by problem in the order of the run's; the fields are `MethodResult`'s."""

    method: str
    n: int
    results: tuple[ProblemResult, ...]
    verifier: str = ""
    kind: str = ""
    control: bool = False

    @property
    def alone(self) -> bool:
        """One system of a panel, which has no n to be compared at."""
        return self.method.startswith("alone")

    @property
    def accuracies(self) -> list[float]:
        return [result.accuracy for result in self.results]

    @property
    def mean(self) -> float:
        """The accuracy over problems."""
        return fsum(self.accuracies) / len(self.results)


def walk(run: Run) -> list[Line]:
    """Every method of a run with its own seed alone, those without a verifier first."""
    lines = list(_members(run)) if run.config.panel else []
    lines += _without_verifier(run)
    for arena in run.arenas:
        lines += _with_verifier(run, arena)
    for strategy, arena in followed(run):
        results = tuple(strategy.evaluate(arena, strategy.fixed_n))
        lines.append(Line(strategy.name, strategy.fixed_n, results, arena.name, arena.kind))
    return lines


def mean_over_seeds(repeated: Sequence[Sequence[Line]]) -> list[Line]:
    """One line for each method: each problem's mean over the walks, which have the same lines in the same order."""
    if len(repeated) == 1:
        return list(repeated[0])
    return [
        replace(same[0], results=tuple(map(_mean, zip(*(line.results for line in same), strict=True))))
        for same in zip(*repeated, strict=True)
    ]


def _mean(results: Sequence[ProblemResult]) -> ProblemResult:
    samples = [result.samples for result in results if result.samples is not None]
    return ProblemResult(
        fsum(result.accuracy for result in results) / len(results),
        mean_bill(result.bill for result in results),
        fsum(samples) / len(samples) if samples else None,
    )


def _without_verifier(run: Run) -> Iterator[Line]:
    arena = EvalArena(run.workshop)
    for strategy in run.strategies:
        if not strategy.kinds:
            for n in [strategy.fixed_n] if strategy.fixed_n else run.ns:
                yield _line(strategy, arena, n)
    for always in (Majority(), PassAtN()):
        for n in run.ns:
            yield _line(always, arena, n)
    if run.arenas:
        for n in run.ns[1:]:  # with one sample there is nothing to pick
            yield _line(NoSkill(), arena, n)


def _members(run: Run) -> Iterator[Line]:
    """Each system of a panel by itself: its one sample of every problem."""
    by_source: dict[str, list[ProblemResult]] = {}
    for graded in run.workshop.samples:
        for rollout in graded.rollouts:
            result = ProblemResult(float(rollout.correct), recorded_bill([rollout]))
            by_source.setdefault(rollout.source, []).append(result)
    for source, results in by_source.items():
        yield Line(f"alone: {source}", 1, tuple(results))


def _with_verifier(run: Run, arena: EvalArena) -> Iterator[Line]:
    named = arena.need_named()
    control = named.source in run.config.controls
    for strategy in run.strategies:
        if arena.kind not in strategy.kinds or (strategy.live and named.name not in run.guides):
            continue
        # A control searches at the largest width alone: it is there to be compared.
        for n in (run.search_ns[-1:] if control else run.search_ns) if strategy.live else run.ns:
            yield replace(_line(strategy, arena, n), verifier=named.name, kind=arena.kind, control=control)


def _line(strategy: SearchStrategy, arena: EvalArena, n: int) -> Line:
    return Line(strategy.name, n, tuple(strategy.evaluate(arena, n)))
