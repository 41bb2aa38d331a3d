"""`samples.jsonl`: one row for each problem with search-and-learn's columns, so that its notebooks keep working, and
ours.

Theirs: `problem`, `answer`, `completions`, `scores` (step scores), `agg_scores`, `pred` (the completion with the
highest score) and, for powers of two, `pred_naive@k`, `pred_weighted@k`, `pred_maj@k` (boxed answers). Theirs take the
first k samples; these take k at random, nested, by the run's seed. With several verifiers these columns are the first
one's; `verifiers` has them all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .arena import EvalArena
from .prepare import Run
from .sampling import GradedRollouts
from .search.base import Candidates
from .search.voting import heaviest, highest


def sample_rows(run: Run) -> Iterator[dict[str, Any]]:
    """The rows, in the order of the run's problems."""
    for index, graded in enumerate(run.workshop.samples):
        row: dict[str, Any] = {
            **graded.problem.to_dict(),
            "completions": [rollout.text for rollout in graded.rollouts],
            "preds": [rollout.pred for rollout in graded.rollouts],
            "correct": [rollout.correct for rollout in graded.rollouts],
            "classes": list(graded.classes),
            "stop_reasons": [rollout.stop_reason.value for rollout in graded.rollouts],
            "sources": [rollout.source for rollout in graded.rollouts],
            "completion_tokens": [rollout.cost.generated_tokens for rollout in graded.rollouts],
            "verifiers": {arena.name: _scores(arena, index) for arena in run.arenas},
        }
        pool = run.arenas[0].samples()[index] if run.arenas else None
        if pool is not None:
            first = row["verifiers"][run.arenas[0].name]
            row |= {"scores": first["scores"], "agg_scores": first["agg_scores"]}
            row["pred"] = row["completions"][highest(pool.scores)[0]]
        row |= _predictions(graded, pool, run.ns, f"{run.config.seed}/{graded.problem.unique_id}")
        yield row


def write_parquet(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write the rows as one Parquet file, which appears only once it is complete."""
    from pyarrow import Table, parquet

    beside = path.with_name(f".{path.name}")
    parquet.write_table(Table.from_pylist(list(rows)), beside)
    beside.replace(path)


def _scores(arena: EvalArena, index: int) -> dict[str, Any]:
    found = arena.step_scores[index]
    return {
        "scores": [list(scores.scores) if scores else [] for scores in found],
        "agg_scores": list(arena.samples()[index].scores),
        "tokens": [scores.tokens if scores else 0 for scores in found],
    }


def _predictions(graded: GradedRollouts, pool: Candidates | None, ns: list[int], seed: str) -> dict[str, str]:
    """The three choices among k random samples, for every k; tied winners in the random order."""
    order = list(range(len(graded.rollouts)))
    random.Random(seed).shuffle(order)
    columns = {}
    for k in ns:
        chosen = order[:k]
        classes = [graded.classes[index] for index in chosen]
        columns[f"pred_maj@{k}"] = _boxed(graded, chosen, _place(classes, [1.0] * k))
        if pool is not None:
            columns[f"pred_naive@{k}"] = _boxed(graded, chosen, highest([pool.scores[i] for i in chosen])[0])
            weights = [pool.weights[index] for index in chosen]
            columns[f"pred_weighted@{k}"] = _boxed(graded, chosen, _place(classes, weights))
    return columns


def _place(classes: list[int], weights: list[float]) -> int | None:
    """Where the first member of a winning class stands; `None` where nobody votes."""
    winners = heaviest(classes, weights)
    return classes.index(winners[0]) if winners else None


def _boxed(graded: GradedRollouts, chosen: list[int], place: int | None) -> str:
    pred = None if place is None else graded.rollouts[chosen[place]].pred
    return f"\\boxed{{{pred or ''}}}"
