"""A prepared run of `prm eval`, walked through method by method (`prm.eval.prepare` makes it from a config). Writing
and showing the results is `prm.eval.outputs`'s."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prm.problems import Problem, clusters_of

from .analysis.analysis import Analysis
from .analysis.of_run import analysis_of
from .arena import EvalArena
from .ensemble_arena import EnsembleArena
from .exchange import Exchange, Side, exchange
from .notes import counts_of, notes_of
from .policy_run import MadePolicy, followed_notes, make_policies
from .prepare import Run
from .quality import VerifierQuality, verifier_quality
from .results import Best, MethodResult, against_controls, best_prm_method, find, method_result
from .walk import Line, mean_over_seeds, walk

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig


@dataclass(frozen=True)
class EvalResult:
    """Everything a run found out; `prm.eval.outputs` writes it.

    Attributes:
        methods: one line for each method, verifier and n.
        quality: by verifier name.
        best: the best PRM-guided method over the baseline; `None` without one.
        controls: paired differences between the PRMs and the controls, at the largest n.
        counts: samples, and how many of them were truncated or without an answer.
        seeds: of samples and searches; what stands for several is the mean over them, problem by problem.
        by_seed: the accuracy of each method (by its key) with each of the seeds.
        policies: made of the other lines, with what they are worth held out.
        exchange: search with this generator against a larger one sampled once, at equal FLOPs.
        analysis: what the lines mean: gains at equal cost, the price of choosing, where more samples stop helping.
    """

    problems: list[Problem]
    generator: dict[str, Any] | None
    verifiers: dict[str, dict[str, Any]]
    methods: list[MethodResult]
    quality: dict[str, VerifierQuality]
    best: Best | None
    controls: list[dict[str, Any]]
    counts: dict[str, int]
    seconds: float
    notes: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    by_seed: dict[str, list[float]] = field(default_factory=dict)
    policies: list[MadePolicy] = field(default_factory=list)
    exchange: Exchange | None = None
    analysis: Analysis | None = None

    @property
    def ns(self) -> list[int]:
        """The sample counts that every method on shared samples was measured at."""
        return sorted(line.n for line in self.methods if line.method == "majority")

    def find(self, method: str, n: int, verifier: str = "") -> MethodResult:
        """One line of the results; raises `ConfigError` where there is none."""
        return find(self.methods, method, n, verifier)


def evaluate(run: Run) -> EvalResult:
    """Run every method on every problem, with every seed."""
    runs = (run, *run.repeats)
    started = time.perf_counter()
    try:
        repeated = [walk(one) for one in runs]
        return _result(run, repeated, time.perf_counter() - started)
    finally:
        for one in runs:
            one.workshop.close()


def _result(run: Run, repeated: Sequence[Sequence[Line]], seconds: float) -> EvalResult:
    n, seed, clusters = max(run.ns), run.config.seed, clusters_of(run.workshop.problems)
    methods = _summarised(run, mean_over_seeds(repeated), clusters)
    baseline = next(line for line in methods if line.method == run.config.baseline and line.n == n)
    by_seed = {line.key: [lines[place].mean for lines in repeated] for place, line in enumerate(methods)}
    policies = make_policies(run, methods)
    methods += [line for made in policies for line in made.lines]
    return EvalResult(
        problems=run.workshop.problems,
        generator=_generator(run),
        verifiers={arena.name: _describe(arena, run.config) for arena in run.arenas},
        methods=methods,
        quality={arena.name: _quality(run, arena, clusters) for arena in run.arenas},
        best=best_prm_method(methods, baseline.per_problem, n, seed, clusters),
        controls=against_controls(methods, n, seed, clusters),
        counts=counts_of(run),
        seconds=seconds,
        notes=[*notes_of(run), *followed_notes(run, methods)],
        seeds=run.seeds,
        by_seed=by_seed,
        policies=policies,
        exchange=_exchange(run, methods),
        analysis=analysis_of(run, methods, by_seed),
    )


def _exchange(run: Run, methods: Sequence[MethodResult]) -> Exchange | None:
    """The run's generator under search against the larger one, where there is one to compare with."""
    lazy = run.workshop.generator
    if run.larger is None or lazy is None:
        return None
    small = Side(lazy.facts.name, lazy.facts.num_parameters, tuple(methods))
    return exchange(small, run.larger, seed=run.config.seed, clusters=clusters_of(run.workshop.problems))


def _summarised(run: Run, lines: Sequence[Line], clusters: Sequence[str] | None) -> list[MethodResult]:
    """The lines with intervals, and gains over the baseline at the same n."""
    base = {line.n: line.accuracies for line in lines if line.method == run.config.baseline}
    return [
        method_result(
            line.results,
            method=line.method,
            n=line.n,
            verifier=line.verifier,
            kind=line.kind,
            control=line.control,
            baseline=None if line.method == run.config.baseline or line.alone else base.get(line.n),
            seed=run.config.seed,
            clusters=clusters,
        )
        for line in lines
    ]


def _generator(run: Run) -> dict[str, Any] | None:
    lazy = run.workshop.generator
    if lazy is None:
        return None
    facts = lazy.facts
    return {"name": facts.name, "revision": facts.key, "num_parameters": facts.num_parameters}


def _quality(run: Run, arena: EvalArena, clusters: Sequence[str] | None) -> VerifierQuality:
    return verifier_quality(
        arena.samples(),
        arena.steps,
        arena.step_scores,
        kind=arena.kind,
        threshold=arena.spec.threshold,
        first_error=run.first_error,
        seed=run.config.seed,
        clusters=clusters,
    )


def _describe(arena: EvalArena, config: EvalConfig) -> dict[str, Any]:
    named = arena.need_named()
    return {
        "kind": arena.kind,
        "num_parameters": named.facts.num_parameters,
        "aggregation": named.aggregation,
        "control": named.source in config.controls,
        "fingerprint": named.key,
        "spec": named.spec.to_dict(),
        **(arena.composition() if isinstance(arena, EnsembleArena) else {}),
    }
