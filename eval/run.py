"""A prepared run of `prm eval`, walked through method by method (`prm.eval.prepare` makes it from a config). Writing
and showing the results is `prm.eval.outputs`'s."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prm.problems import Problem

from .arena import EvalArena
from .cost import recorded_bill
from .prepare import Run
from .quality import VerifierQuality, verifier_quality
from .results import Best, MethodResult, against_controls, best_prm_method, find, method_result
from .sampling import UNFINISHED
from .search.base import ProblemResult, SearchStrategy
from .search.majority import Majority
from .search.no_skill import NoSkill
from .search.pass_at_n import PassAtN

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

    @property
    def ns(self) -> list[int]:
        """The sample counts that every method on shared samples was measured at."""
        return sorted(line.n for line in self.methods if line.method == "majority")

    def find(self, method: str, n: int, verifier: str = "") -> MethodResult:
        """One line of the results; raises `ConfigError` where there is none."""
        return find(self.methods, method, n, verifier)


def evaluate(run: Run) -> EvalResult:
    """Run every method on every problem."""
    try:
        return _evaluate(run)
    finally:
        run.workshop.close()


def _evaluate(run: Run) -> EvalResult:
    started = time.perf_counter()
    methods = _without_verifier(run)
    baselines = {line.n: line.per_problem for line in methods if line.method == run.config.baseline}
    for arena in run.arenas:
        methods += _with_verifier(run, arena, baselines)
    n = max(run.ns)
    seed = run.config.seed
    generator = run.workshop.generator
    return EvalResult(
        problems=run.workshop.problems,
        generator=None
        if generator is None
        else {"name": generator.name, "revision": generator.revision, "num_parameters": generator.num_parameters},
        verifiers={arena.name: _describe(arena, run.config) for arena in run.arenas},
        methods=methods,
        quality={arena.name: _quality(run, arena) for arena in run.arenas},
        best=best_prm_method(methods, baselines[n], n, seed),
        controls=against_controls(methods, n, seed),
        counts=_counts(run),
        seconds=time.perf_counter() - started,
        notes=_notes(run),
    )


def _without_verifier(run: Run) -> list[MethodResult]:
    arena, seed = EvalArena(run.workshop), run.config.seed
    majority = {n: Majority().evaluate(arena, n) for n in run.ns}
    oracle = {n: PassAtN().evaluate(arena, n) for n in run.ns}
    base = {n: [r.accuracy for r in (majority if run.config.baseline == "majority" else oracle)[n]] for n in run.ns}
    lines = _members(run) if run.config.panel else []
    for strategy in run.strategies:
        if not strategy.kinds:
            for n in [strategy.fixed_n] if strategy.fixed_n else run.ns:
                results = strategy.evaluate(arena, n)
                lines.append(method_result(results, method=strategy.name, n=n, baseline=base.get(n), seed=seed))
    for name, found in (("majority", majority), ("pass_at_n", oracle)):
        for n in run.ns:
            baseline = None if name == run.config.baseline else base[n]
            lines.append(method_result(found[n], method=name, n=n, baseline=baseline, seed=seed))
    if run.arenas:
        for n in run.ns[1:]:  # with one sample there is nothing to pick
            lines.append(
                method_result(NoSkill().evaluate(arena, n), method="no_skill", n=n, baseline=base[n], seed=seed)
            )
    return lines


def _members(run: Run) -> list[MethodResult]:
    """Each system of a panel by itself: its one sample of every problem."""
    by_source: dict[str, list[ProblemResult]] = {}
    for graded in run.workshop.samples:
        for rollout in graded.rollouts:
            by_source.setdefault(rollout.source, []).append(
                ProblemResult(float(rollout.correct), recorded_bill([rollout]))
            )
    return [
        method_result(results, method=f"alone: {source}", n=1, seed=run.config.seed)
        for source, results in by_source.items()
    ]


def _with_verifier(run: Run, arena: EvalArena, baselines: Mapping[int, Sequence[float]]) -> list[MethodResult]:
    lines = []
    for strategy in run.strategies:
        if arena.kind not in strategy.kinds:
            continue
        for n in _widths(run, arena, strategy):
            lines.append(
                method_result(
                    strategy.evaluate(arena, n),
                    method=strategy.name,
                    n=n,
                    verifier=arena.name,
                    kind=arena.kind,
                    control=arena.name in run.config.controls,
                    baseline=baselines.get(n),
                    seed=run.config.seed,
                )
            )
    return lines


def _widths(run: Run, arena: EvalArena, strategy: SearchStrategy) -> list[int]:
    """The sample counts of a strategy. A control searches at the largest alone: it is there to be compared."""
    if not strategy.live:
        return run.ns
    return run.search_ns[-1:] if arena.name in run.config.controls else run.search_ns


def _quality(run: Run, arena: EvalArena) -> VerifierQuality:
    return verifier_quality(
        arena.samples(),
        arena.steps,
        arena.step_scores,
        kind=arena.kind,
        threshold=arena.verifier.spec.threshold,
        first_error=run.first_error,
        seed=run.config.seed,
    )


def _describe(arena: EvalArena, config: EvalConfig) -> dict[str, Any]:
    named = arena.need_named()
    return {
        "kind": arena.kind,
        "num_parameters": named.verifier.num_parameters,
        "aggregation": named.aggregation,
        "control": named.name in config.controls,
        "fingerprint": named.key,
        "spec": named.verifier.spec.to_dict(),
    }


def _counts(run: Run) -> dict[str, int]:
    rollouts = [rollout for graded in run.workshop.samples for rollout in graded.rollouts]
    outcomes = Counter(rollout.outcome.value for rollout in rollouts if rollout.outcome)
    return {
        "problems": len(run.workshop.problems),
        "samples": len(rollouts),
        "truncated": sum(rollout.stop_reason in UNFINISHED for rollout in rollouts),
        "no_answer": sum(rollout.pred is None for rollout in rollouts),
        "timeout": outcomes["timeout"],
    }


def _notes(run: Run) -> list[str]:
    notes = []
    for arena in run.arenas:
        unread = sum(1 for scores in arena.step_scores for found in scores if found is None)
        if unread:
            notes.append(
                f"{arena.name} could not read {unread} samples (no step in them, or longer than its max_length); "
                "they rank below every other"
            )
    counts = _counts(run)
    if counts["no_answer"] == counts["samples"]:
        notes.append("no sample has an answer that could be extracted; check the prompt and max_new_tokens")
        warnings.warn(notes[-1], stacklevel=2)
    return notes
