"""Which fold of step scores a verifier starts with: by what its labels mean, or by what held-out solutions say.

A label that was counted from completions of a prefix is the value of that prefix: the last one says it all, and a low
one on the way may have been mended. A label that judges the step by itself says nothing of the others, so that one bad
step spoils the solution (Lightman et al., arXiv 2305.20050, fold those by `prod` and `min`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.aggregation import AGGREGATIONS, Aggregation
from prm.errors import DataError
from prm.stats import ranking
from prm.stats.estimators import best_of_n
from prm.stats.intervals import Estimate, bootstrap_mean, bootstrap_statistic, paired_difference

FloatArray = NDArray[np.float64]
Statistic = Callable[[Any], float]

# Sources whose label is about the step; that of any other source is about what the prefix leads to.
JUDGED_SOURCES = frozenset({"judge", "human", "prm800k", "processbench", "truth", "first_error"})
FEWEST_PROBLEMS = 20  # to leave the default for: on fewer, a bootstrap's interval is too short


@dataclass(frozen=True)
class AggregationChoice:
    """What held-out solutions say of the folds.

    Attributes:
        chosen: the default, unless another is better and the 95% interval of its gain lies above 0.
        default: what the label source suggests.
        measure: `auroc_within` a problem; `auroc` over all solutions where no problem has solutions of both outcomes;
            empty where nothing can be measured, and then the default stands.
        values: of that measure, for each fold. The chosen one's own value is optimistic: it was chosen by it.
        gains: over the default, paired.
        best_of_all: accuracy of the highest score among all solutions of a problem, over the problems with solutions
            of both outcomes; empty if there are none.
        n: solutions whose outcome is known.
    """

    chosen: Aggregation
    default: Aggregation
    measure: Literal["auroc_within", "auroc", ""]
    values: dict[Aggregation, Estimate]
    gains: dict[Aggregation, Estimate]
    best_of_all: dict[Aggregation, Estimate]
    n: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def default_aggregation(label_source: str) -> Aggregation:
    """`min` where every label is about its own step (`JUDGED_SOURCES`), else `last`: for labels that were counted from
    completions, for a mixture of both kinds, and for an unknown source.

    Args:
        label_source: one name, or several joined by `+`.
    """
    return "min" if _is_judged(label_source) else "last"


def solution_outcomes(hard_NS: ArrayLike, label_source: str) -> FloatArray:
    """Outcomes (N,) as far as step labels tell them: 1 for a correct solution, 0 for a wrong one, nan for unknown.

    Labels of a prefix's value say it with the last step, whose completion is the solution itself. Labels of single
    steps say it together: a step that is wrong makes the solution wrong, and only steps that are all known and right
    make it correct. Rows that were cut at `max_length` are judged by what is left of them.

    Args:
        hard_NS: (N, S) 0 and 1; between -100 and 0 where unknown, -100 where there is no step.
        label_source: as of `default_aggregation`.
    """
    hard = np.asarray(hard_NS, dtype=float)
    steps = hard > -100
    if _is_judged(label_source):
        all_right = (~steps | (hard == 1)).all(axis=1)
        outcomes = np.where((hard == 0).any(axis=1), 0.0, np.where(all_right, 1.0, math.nan))
    else:
        last = np.take_along_axis(hard, _last(steps)[:, None], axis=1)[:, 0]
        outcomes = np.where(last >= 0, last, math.nan)
    return np.where(steps.any(axis=1), outcomes, math.nan)


def fold_scores(scores_NS: ArrayLike, steps_NS: ArrayLike, how: Aggregation) -> FloatArray:
    """`prm.aggregation.aggregate` of many solutions at once.

    Args:
        scores_NS: (N, S) step scores.
        steps_NS: (N, S) whether there is such a step; without any, a solution scores 0.
    """
    scores, steps = np.asarray(scores_NS, dtype=float), np.asarray(steps_NS, dtype=bool)
    if how == "last":
        folded = np.take_along_axis(scores, _last(steps)[:, None], axis=1)[:, 0]
    elif how == "min":
        folded = np.where(steps, scores, math.inf).min(axis=1)
    elif how == "prod":
        folded = np.where(steps, scores, 1.0).prod(axis=1)
    else:
        folded = np.where(steps, scores, 0.0).sum(axis=1) / np.maximum(steps.sum(axis=1), 1)
    result: FloatArray = np.where(steps.any(axis=1), folded, 0.0)
    return result


def select_aggregation(
    scores_NS: ArrayLike,
    hard_NS: ArrayLike,
    groups_N: ArrayLike,
    *,
    label_source: str,
    outcomes_N: ArrayLike | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> AggregationChoice:
    """Choose the fold that best tells correct solutions of a problem from wrong ones.

    The default of the label source stands unless another fold is better beyond its noise, so that small evaluation
    sets do not decide by chance.

    Args:
        scores_NS: (N, S) step scores in [0, 1], calibrated if they are to be: `prod` and `mean` depend on it.
        hard_NS: (N, S) as of `solution_outcomes`; -100 also says that there is no step.
        groups_N: (N,) the problem of each solution.
        outcomes_N: (N,) 1, 0 or nan, where verdicts are at hand; else what `solution_outcomes` reads off the labels.

    Raises:
        DataError: other shapes.
    """
    scores, hard, groups = np.asarray(scores_NS, dtype=float), np.asarray(hard_NS, dtype=float), np.asarray(groups_N)
    outcomes = solution_outcomes(hard, label_source) if outcomes_N is None else np.asarray(outcomes_N, dtype=float)
    if scores.shape != hard.shape or scores.ndim != 2 or not len(scores) == len(groups) == len(outcomes):
        raise DataError(
            f"{len(scores)} solutions, {len(hard)} rows of labels, {len(groups)} groups, {len(outcomes)} outcomes",
            remedy="Give one row, one group and one outcome per solution",
        )
    known = np.isin(outcomes, (0, 1))
    right, groups, default = outcomes[known] == 1, groups[known], default_aggregation(label_source)
    folded = {how: fold_scores(scores[known], hard[known] > -100, how) for how in AGGREGATIONS}
    if right.all() or not right.any():
        return AggregationChoice(default, default, "", {}, {}, {}, len(right))
    if (per_problem := _within_problems(folded, right, groups)) is not None:
        values = {how: bootstrap_mean(per_problem[how], resamples=resamples, seed=seed) for how in AGGREGATIONS}
        others = {how: per_problem[how] for how in AGGREGATIONS if how != default}
        gains = {
            how: paired_difference(found, per_problem[default], resamples=resamples, seed=seed)
            for how, found in others.items()
        }
        best = {how: _best_of_all(folded[how], right, groups, resamples, seed) for how in AGGREGATIONS}
        chosen = _better(values, gains, default)
        return AggregationChoice(chosen, default, "auroc_within", values, gains, best, len(right))
    values, gains = _over_all(folded, right, groups, default, resamples, seed)
    return AggregationChoice(_better(values, gains, default), default, "auroc", values, gains, {}, len(right))


def _within_problems(
    folded: dict[Aggregation, FloatArray], right: NDArray[np.bool_], groups: NDArray[Any]
) -> dict[Aggregation, FloatArray] | None:
    """One AUROC for each problem with both outcomes, for each fold; `None` if there is no such problem."""
    found = {how: ranking.aurocs_per_group(folded[how], right, groups) for how in AGGREGATIONS}
    return found if all(len(values) for values in found.values()) else None


def _better(
    values: dict[Aggregation, Estimate], gains: dict[Aggregation, Estimate], default: Aggregation
) -> Aggregation:
    best = max(values, key=lambda how: (values[how].mean, how == default))
    if best == default or gains[best].n < FEWEST_PROBLEMS or not gains[best].low > 0:
        return default
    return best


def _over_all(
    folded: dict[Aggregation, FloatArray],
    right: NDArray[np.bool_],
    groups: NDArray[Any],
    default: Aggregation,
    resamples: int,
    seed: int,
) -> tuple[dict[Aggregation, Estimate], dict[Aggregation, Estimate]]:
    """AUROC over all solutions, and the gains of the others over the default."""

    def bar(statistic: Statistic) -> Estimate:
        return bootstrap_statistic(statistic, len(right), clusters=groups, resamples=resamples, seed=seed)

    def value(how: Aggregation) -> Statistic:
        return lambda rows: ranking.auroc(folded[how][rows], right[rows])

    def gain(how: Aggregation) -> Statistic:
        this, that = value(how), value(default)
        return lambda rows: this(rows) - that(rows)

    values = {how: bar(value(how)) for how in AGGREGATIONS}
    return values, {how: bar(gain(how)) for how in AGGREGATIONS if how != default}


def _best_of_all(
    scores: FloatArray, right: NDArray[np.bool_], groups: NDArray[Any], resamples: int, seed: int
) -> Estimate:
    _, index = np.unique(groups, return_inverse=True)
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(index[order])) + 1)
    mixed = [rows for rows in members if right[rows].any() and not right[rows].all()]
    return bootstrap_mean(
        [best_of_n(scores[rows], right[rows], len(rows)) for rows in mixed], resamples=resamples, seed=seed
    )


def _is_judged(label_source: str) -> bool:
    names = [name for name in label_source.split("+") if name]
    return bool(names) and JUDGED_SOURCES.issuperset(names)


def _last(steps_NS: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Column of the last step; 0 where there is none."""
    columns = np.arange(steps_NS.shape[1])
    found: NDArray[np.int64] = np.where(steps_NS, columns, 0).max(axis=1)
    return found
