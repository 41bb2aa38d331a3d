"""The analysis of a run that has been walked through: its lines, and what its verifiers saw, handed to `analyse`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prm.problems import clusters_of

from ..arena import EvalArena
from ..prepare import Run
from ..results import MethodResult
from ..run_settings import evaluated_on
from .analysis import Analysis, analyse
from .evidence import Evidence


def analysis_of(run: Run, methods: Sequence[MethodResult], by_seed: Mapping[str, Sequence[float]]) -> Analysis:
    """Analyse a run; its controls are lines like others, but nobody asks what misleads them."""
    runs = (run, *run.repeats)
    evidence = {
        arena.name: [evidence_of(one.arenas[place]) for one in runs]
        for place, arena in enumerate(run.arenas)
        if arena.need_named().source not in run.config.controls
    }
    return analyse(
        methods,
        dataset=evaluated_on(run.config),
        baseline=run.config.baseline,
        n=max(run.ns),
        evidence=evidence,
        seeds=run.seeds,
        by_seed=by_seed,
        clusters=clusters_of(run.workshop.problems),
        prices=run.config.prices(),
        seed=run.config.seed,
    )


def evidence_of(arena: EvalArena) -> Evidence:
    """What one verifier saw in one walk."""
    scored = [[None if one is None else one.scores for one in row] for row in arena.step_scores]
    return Evidence(
        samples=arena.samples(),
        step_scores=scored if arena.kind == "prm" else (),
        grown={(plan.strategy, sum(plan.widths)): found for plan, found in arena.grown.items()},
    )
