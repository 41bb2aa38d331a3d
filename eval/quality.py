"""How well a verifier tells right from wrong on the samples of a run, whatever a search makes of it.

AUROC over everything also rewards knowing which problems are hard; AUROC *within a problem* is what choosing among
its samples needs, and 0.5 is chance. Calibration asks whether a score of 0.8 is right eight times in ten. Equal
samples count once, for a verifier chooses among distinct solutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from prm.stats.calibration import ReliabilityBin, brier_score, expected_calibration_error, reliability_table
from prm.stats.intervals import Estimate, bootstrap_mean, bootstrap_statistic
from prm.stats.ranking import (
    NO_ERROR,
    auprc_of_wrong,
    auroc,
    aurocs_per_group,
    f1_of_accuracies,
    first_error_f1,
    first_error_from_scores,
)
from prm.verifier import StepScores

from .bench.resample import Draw, IntArray, intervals, rows_per_problem, share
from .search.base import Candidates

FirstError = Callable[[str, Sequence[str]], int]
"""The truth about a solution, where a world knows it: problem and steps -> index of the first wrong step, or -1."""


@dataclass(frozen=True)
class Calibration:
    """Scores read as the chance to be right.

    Attributes:
        n: items with a score and a truth.
        ece: expected calibration error over bins of equal mass.
        brier: mean squared difference of score and truth.
        auprc_of_wrong: average precision at finding the wrong items among the lowest scores; `None` without any.
        wrong: the share of wrong items, which is what a scorer without skill gets.
        bins: the reliability table.
    """

    n: int
    ece: float
    brier: float
    auprc_of_wrong: float | None
    wrong: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class VerifierQuality:
    """What a verifier's scores are worth by themselves. The estimates' `n` counts problems; `None`: undefined,
    because right or wrong items are missing, or because no truth about steps is known.

    Attributes:
        n_solutions: distinct finished solutions that were scored.
        solution_auroc, solution_auroc_within: aggregated score against the final answer's verdict.
        step_auroc, step_auroc_within: step scores against the truth of each step up to the first wrong one, behind
            which benchmarks judge nothing and verifiers are trained in different ways; PRMs only.
        first_error: the F1 of finding the first wrong step in these samples, its two accuracies and their counts, as
            ProcessBench defines them, at the verifier's threshold; PRMs only.
        solution_calibration, step_calibration: the same scores and truths, read as chances.
        first_error_intervals: of the F1 and the accuracies, those that are defined.
    """

    n_solutions: int
    solution_auroc: Estimate | None
    solution_auroc_within: Estimate | None
    step_auroc: Estimate | None = None
    step_auroc_within: Estimate | None = None
    first_error: dict[str, float | None] | None = None
    solution_calibration: Calibration | None = None
    step_calibration: Calibration | None = None
    first_error_intervals: dict[str, Estimate] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> VerifierQuality:
        """Inverse of `to_dict`."""
        values = dict(found)
        for name in ("solution_auroc", "solution_auroc_within", "step_auroc", "step_auroc_within"):
            values[name] = Estimate(**values[name]) if values[name] else None
        for name in ("solution_calibration", "step_calibration"):
            if values[name]:
                bins = tuple(ReliabilityBin(**row) for row in values[name]["bins"])
                values[name] = Calibration(**{**values[name], "bins": bins})
        if bars := values.get("first_error_intervals"):
            values["first_error_intervals"] = {name: Estimate(**bar) for name, bar in bars.items()}
        return cls(**values)


def verifier_quality(
    pools: Sequence[Candidates],
    steps: Sequence[Sequence[tuple[str, ...]]],
    step_scores: Sequence[Sequence[StepScores | None]],
    *,
    kind: str,
    threshold: float,
    first_error: FirstError | None,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> VerifierQuality:
    """Measure a verifier on the scored samples of every problem; the three sequences run over the same problems.

    Args:
        clusters: names of what problems share; those of one cluster are drawn together in the error bars.
    """
    scores, labels, groups = [], [], []
    marks: list[float] = []
    step_labels: list[int] = []
    step_groups: list[int] = []
    predicted, true = [], []
    names: list[str] = []
    for group, (pool, solutions, scored) in enumerate(zip(pools, steps, step_scores, strict=True)):
        # The last index of each set of equal solutions; any would do.
        for solution, index in {solution: index for index, solution in enumerate(solutions)}.items():
            found = scored[index]
            if found is None or pool.classes[index] < 0:
                continue
            scores.append(pool.scores[index])
            labels.append(int(pool.correct[index]))
            groups.append(group)
            if first_error is None or kind != "prm":
                continue
            error = first_error(pool.problem.problem, solution)
            judged = len(solution) if error == NO_ERROR else error + 1
            marks += found.scores[:judged]
            step_labels += [int(place != error) for place in range(judged)]
            step_groups += [group] * judged
            predicted.append(first_error_from_scores(found.scores, threshold))
            true.append(error)
            names.append(str(group) if clusters is None else clusters[group])
    return VerifierQuality(
        len(scores),
        _overall(scores, labels, groups, seed, clusters),
        _within(scores, labels, groups, seed, clusters),
        _overall(marks, step_labels, step_groups, seed, clusters),
        _within(marks, step_labels, step_groups, seed, clusters),
        _first_error(predicted, true),
        _calibration(scores, labels),
        _calibration(marks, step_labels),
        _first_error_intervals(predicted, true, names, seed),
    )


def _overall(
    scores: list[float], labels: list[int], groups: list[int], seed: int, clusters: Sequence[str] | None
) -> Estimate | None:
    if len(set(labels)) < 2:
        return None
    values, right = np.array(scores), np.array(labels)
    drawn_together = groups if clusters is None else [clusters[group] for group in groups]
    return bootstrap_statistic(
        lambda rows: auroc(values[rows], right[rows]), len(scores), resamples=200, seed=seed, clusters=drawn_together
    )


def _within(
    scores: list[float], labels: list[int], groups: list[int], seed: int, clusters: Sequence[str] | None
) -> Estimate | None:
    if len(set(labels)) < 2:
        return None
    found = aurocs_per_group(scores, labels, groups)
    kinds: dict[int, set[int]] = {}
    for group, label in zip(groups, labels, strict=True):
        kinds.setdefault(group, set()).add(label)
    names = None if clusters is None else [clusters[group] for group in sorted(kinds) if len(kinds[group]) > 1]
    return bootstrap_mean(found, seed=seed, clusters=names) if found.size else None


def _calibration(scores: list[float], labels: list[int]) -> Calibration | None:
    if not scores:
        return None
    found = auprc_of_wrong(scores, labels)
    return Calibration(
        n=len(scores),
        ece=expected_calibration_error(scores, labels),
        brier=brier_score(scores, labels),
        auprc_of_wrong=None if math.isnan(found.value) else found.value,
        wrong=found.base_rate,
        bins=tuple(reliability_table(scores, labels)),
    )


def _first_error(predicted: list[int], true: list[int]) -> dict[str, float | None] | None:
    """The numbers of the metric module `first_error_f1`, from the same function, without its library's import."""
    if not true:
        return None
    found = asdict(first_error_f1(predicted, true))
    return {name: None if math.isnan(value) else value for name, value in found.items()}


def _first_error_intervals(
    predicted: list[int], true: list[int], clusters: list[str], seed: int
) -> dict[str, Estimate] | None:
    """Of what `_first_error` gives the numbers that are defined, with problems drawn whole."""
    if not true:
        return None
    hits, wrong = np.array(predicted) == np.array(true), np.array(true) != NO_ERROR
    sizes = {kind: rows_per_problem(np.array(clusters)[wrong == kind].tolist()) for kind in (True, False)}

    def statistic(rows: IntArray, draw: Draw) -> Mapping[str, float]:
        drawn, kinds = hits[rows], wrong[rows]
        on_wrong, on_right = (share(drawn[kinds == kind], draw, sizes[kind]) for kind in (True, False))
        f1 = f1_of_accuracies(on_wrong, on_right)
        return {"f1": f1, "accuracy_wrong": on_wrong, "accuracy_correct": on_right}

    found = intervals(statistic, [""] * len(true), clusters, resamples=200, seed=seed)
    return {name: bar for name, bar in found.items() if not math.isnan(bar.mean)} or None
