"""Best-of-n from recorded samples, as PRM800K's authors did it (arXiv 2305.20050): the highest score is taken.

Samples are rollouts, or a file in search-and-learn's columns; they are graded here where they are not. Accuracies are
means over every subset of n of a problem's M samples, beside majority voting, which is the bar, and pass@n, which no
selection beats. A sample that is too long for the verifier is taken only where there is no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from prm.aggregation import AGGREGATIONS, Aggregation, aggregate
from prm.errors import ConfigError
from prm.rollouts import Rollout
from prm.stats.estimators import best_of_n, majority_at_n, pass_at_n
from prm.stats.intervals import Estimate, bootstrap_mean, paired_difference

from ..inputs import check_recorded
from ..sampling import GradedRollouts, grade_rollouts, read_recorded
from ..search.base import UNCHOOSABLE
from ..steps import steps_of
from .config import BenchConfig
from .processbench import MEAN, quality_row
from .quality import Judged
from .resample import Draw, IntArray, Statistic, share
from .rows import sample_of
from .scores import cached_scores, item_key
from .verifiers import Opened

METHODS = ("best_of_n", "majority", "pass_at_n")


def read(config: BenchConfig) -> tuple[list[list[Rollout]], int]:
    """The samples of each problem, and how many of them a method may use.

    Raises:
        ConfigError, MissingFileError, DataError: no single file, an unknown aggregation, or samples that are not
            draws of one distribution.
    """
    if len(config.files) != 1:
        raise ConfigError(f"best_of_n reads one file of samples, not {len(config.files)}")
    if config.agg_strategy is not None and config.agg_strategy not in AGGREGATIONS:
        raise ConfigError(f"agg_strategy must be one of {', '.join(AGGREGATIONS)}, not {config.agg_strategy!r}")
    _, pools = read_recorded(config.files[0])
    pools = sample_of(pools, config.num_problems, config.seed)
    smallest = min(len(pool) for pool in pools)
    return pools, check_recorded(pools, smallest, panel=config.panel, path=config.files[0])


def measure(config: BenchConfig, opened: Opened) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Grade and score the samples; returns a record for each problem, and the summary."""
    from prm.grading import MathGrader

    pools, n = read(config)
    grader = MathGrader()
    try:
        graded = grade_rollouts(pools, grader)
    finally:
        grader.close()
    how = cast(Aggregation, config.agg_strategy or opened.verifier.spec.aggregation)
    scores, too_long = _scores(graded, opened, how)
    sizes = [n] if config.panel else _sizes(n)
    records = [_record(pool, one, sizes) for pool, one in zip(graded, scores, strict=True)]
    subsets = {f"n={size}": _part(records, size, config.seed) for size in sizes}
    best = subsets[f"n={sizes[-1]}"]
    kind = f"score (step scores folded by {how!r})" if opened.verifier.spec.kind == "prm" else "score"
    summary = {
        "thresholds": [],
        "threshold_choice": f"no threshold: the highest {kind} is taken",
        "solutions": len(records),
        "subsets": subsets,
        "best_of_n": best["headline"],
        "mean_interval": best["interval"],
        "too_long": too_long,
        "notes": _limit(pools, n),
        "quality": quality_row(_judged(graded, scores), config.seed),
    }
    return records, summary


def compared(records: Sequence[Mapping[str, Any]]) -> Statistic:
    """Best-of-n of some of a run's problems at each n, and at the largest."""
    values = {name: np.array([record["best_of_n"][name] for record in records]) for name in records[0]["best_of_n"]}
    last = list(values)[-1]

    def statistic(rows: IntArray, draw: Draw) -> Mapping[str, float]:
        found = {name: share(one[rows], draw) for name, one in values.items()}
        return {**found, MEAN: found[last]}

    return statistic


def _limit(pools: Sequence[Sequence[Rollout]], n: int) -> list[str]:
    """What is to be said where some problems have fewer samples than others, and so bound n for all."""
    short = [pool[0].problem.unique_id for pool in pools if len(pool) == n]
    most = max(len(pool) for pool in pools)
    if most == n:
        return []
    others = f" and {len(short) - 1} other have" if len(short) > 1 else " has"
    return [f"n ends at {n}, for problem {short[0]}{others} no more samples; others have up to {most}"]


def _sizes(n: int) -> list[int]:
    """Powers of two up to n, and n."""
    return sorted({*(1 << i for i in range(n.bit_length()) if 1 << i <= n), n})


def _scores(pools: Sequence[GradedRollouts], opened: Opened, how: Aggregation) -> tuple[list[list[float]], int]:
    """One score of each sample; what cannot be an answer, or is too long, lies below all others."""
    separator = opened.verifier.spec.step_format.text_separator
    steps = [[steps_of(rollout, separator, recorded=True) for rollout in pool.rollouts] for pool in pools]
    asked = {
        (pool.problem.problem, solution): None
        for pool, solutions in zip(pools, steps, strict=True)
        for solution, label in zip(solutions, pool.classes, strict=True)
        if solution and label >= 0
    }
    found = cached_scores(list(asked), opened.verifier, opened.cache, label="best_of_n")
    scores = {item: aggregate(one.scores, how) if one else UNCHOOSABLE for item, one in zip(asked, found, strict=True)}
    too_long = sum(one is None for one in found)
    return [
        [
            scores[(pool.problem.problem, solution)] if solution and label >= 0 else UNCHOOSABLE
            for solution, label in zip(solutions, pool.classes, strict=True)
        ]
        for pool, solutions in zip(pools, steps, strict=True)
    ], too_long


def _record(pool: GradedRollouts, scores: Sequence[float], sizes: Sequence[int]) -> dict[str, Any]:
    correct = [rollout.correct for rollout in pool.rollouts]
    texts = [rollout.text for rollout in pool.rollouts]
    return {
        "subset": "samples",
        "id": pool.problem.unique_id,
        "key": item_key(pool.problem.problem, texts),
        "problem": item_key(pool.problem.problem, ()),
        "scores": list(scores),
        "correct": correct,
        "best_of_n": {f"n={n}": best_of_n(scores, correct, n) for n in sizes},
        "majority": {f"n={n}": majority_at_n(pool.classes, correct, n) for n in sizes},
        "pass_at_n": {f"n={n}": pass_at_n(correct, n) for n in sizes},
    }


def _part(records: Sequence[Mapping[str, Any]], n: int, seed: int) -> dict[str, Any]:
    values = {method: [record[method][f"n={n}"] for record in records] for method in METHODS}
    bars = {method: _row(bootstrap_mean(values[method], seed=seed)) for method in METHODS}
    gain = paired_difference(values["best_of_n"], values["majority"], seed=seed)
    best = bars["best_of_n"]
    return {
        "solutions": len(records),
        "headline": best[0],
        "interval": best[1:],
        **{method: bars[method] for method in METHODS},
        "gain_over_majority": _row(gain),
    }


def _judged(pools: Sequence[GradedRollouts], scores: Sequence[Sequence[float]]) -> Judged:
    """Distinct solutions that were scored."""
    judged = Judged.nothing()
    for pool, row in zip(pools, scores, strict=True):
        problem = pool.problem.problem
        distinct = {rollout.text: (rollout, score) for rollout, score in zip(pool.rollouts, row, strict=True)}
        for rollout, score in distinct.values():
            if score != UNCHOOSABLE:
                judged.add_item(score, int(rollout.correct), problem)
                judged.add_length(f"{problem}\0{rollout.correct}", score, rollout.steps, problem)
    return judged


def _row(found: Estimate) -> list[float]:
    return [found.mean, found.low, found.high]
