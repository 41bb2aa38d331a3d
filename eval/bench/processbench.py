"""ProcessBench (arXiv 2412.06559): how well a PRM finds the first wrong step.

The verifier's first error is its first step below the threshold. F1 is the harmonic mean of the accuracy on wrong
solutions (the first error named exactly) and on right ones (every step accepted), and the headline is the mean over
subsets, as in the paper. The paper fitted thresholds on its GSM8K subset, which it then reported; here the verifier's
own counts unless another is given, is fitted on other files, or is cross-fitted over the problems. A solution that is
too long to read counts as "no error found", for a verifier that says nothing has found none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.errors import ConfigError
from prm.stats.intervals import Estimate
from prm.stats.ranking import f1_of_accuracies, first_error_from_scores

from .config import BenchConfig
from .quality import Judged, quality_of
from .resample import Draw, FloatArray, IntArray, Statistic, intervals, rows_per_problem, share
from .rows import NO_ERROR, BenchRow, read_subsets, sample_of
from .scores import Scored, item_key, score_steps
from .thresholds import Choice, CrossFitted, FittedOn, Fixed, Solutions
from .verifiers import Opened

MEAN = "mean"
MEASURES = ("first_error_f1", "first_error_accuracy", "all_correct_accuracy")
"""The metric module's names of the F1 and of the accuracies on wrong and on right solutions."""


def read(config: BenchConfig) -> tuple[dict[str, list[BenchRow]], list[BenchRow]]:
    """The rows of each subset, and those to fit a threshold on.

    Raises:
        ConfigError, MissingFileError, DataError: a file that cannot be read, or problems that are in both.
    """
    subsets = {
        name: sample_of(rows, config.num_problems, config.seed) for name, rows in read_subsets(config.files).items()
    }
    fit = [row for rows in read_subsets(config.fit_files).values() for row in rows] if config.fit_files else []
    common = {row.problem for row in fit} & {row.problem for rows in subsets.values() for row in rows}
    if common:
        raise ConfigError(
            f"{len(common)} problems of files are in fit_files too, so the threshold would be fitted to what is "
            "measured; give other fit_files, or cross_fit"
        )
    return subsets, fit


def measure(config: BenchConfig, opened: Opened) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score the files; returns a record for each solution, and the summary.

    Raises:
        ConfigError: the verifier is an ORM, which scores no steps.
    """
    subsets, fit = read(config)
    rows = [row for part in subsets.values() for row in part]
    names = [name for name, part in subsets.items() for _ in part]
    scored = {name: _score(part, opened, name) for name, part in subsets.items()}
    scores = [one for part in scored.values() for one in part.scores]
    solutions = Solutions.of(scores, [row.label for row in rows], [row.problem for row in rows])
    choice = _choice(config, opened, solutions, fit)
    thresholds = choice.thresholds(np.arange(len(rows)), None)
    found = intervals(_statistic(solutions, choice, names), names, solutions.problems, seed=config.seed)
    records = [
        _record(name, row, one, threshold)
        for name, row, one, threshold in zip(names, rows, scores, thresholds, strict=True)
    ]
    judged = {name: judged_steps(part, scored[name].scores) for name, part in subsets.items()}
    summary = {
        "thresholds": _chosen(thresholds),
        "threshold_choice": choice.words(thresholds),
        "solutions": len(rows),
        "subsets": {
            name: {
                "solutions": len(part),
                **scored[name].counts,
                **_subset(found, name),
                "quality": quality_row(judged[name], config.seed),
            }
            for name, part in subsets.items()
        },
        "notes": [
            f"rows of {name} that repeat a solution (it counts once): {repeats}"
            for name, part in subsets.items()
            if (repeats := sum(row.repeats for row in part))
        ],
        "mean_f1": number_of(found[MEAN].mean),
        "mean_interval": bar_of(found[MEAN]),
        "quality": quality_row(judged_steps(rows, scores), config.seed),
    }
    return records, summary


def _chosen(thresholds: FloatArray) -> list[float] | None:
    """The distinct thresholds of a run, from low to high: one, or those of a cross-fit; `None` where one is
    undefined. Which a solution was judged at is in its record."""
    return None if np.isnan(thresholds).any() else [float(one) for one in np.unique(thresholds)]


def judged_steps(rows: Sequence[BenchRow], scores: Sequence[Sequence[float] | None]) -> Judged:
    """Steps up to the first wrong one, with the truth: what comes after it was never judged."""
    judged = Judged.nothing()
    for row, one in zip(rows, scores, strict=True):
        if one is None:
            continue
        known = len(row.steps) if row.label == NO_ERROR else row.label + 1
        for place, score in enumerate(one[:known]):
            judged.add_item(score, int(place != row.label), row.problem)
        judged.add_length("right" if row.label == NO_ERROR else "wrong", min(one), row.steps, row.problem)
        if row.label == NO_ERROR:
            judged.add_places(one, row.problem)
    return judged


def _score(rows: Sequence[BenchRow], opened: Opened, label: str) -> Scored:
    return score_steps([(row.problem, row.steps) for row in rows], opened.verifier, opened.cache, label=label)


def _choice(config: BenchConfig, opened: Opened, solutions: Solutions, fit: Sequence[BenchRow]) -> Choice:
    if fit:
        scores = _score(fit, opened, "fit").scores
        return FittedOn(Solutions.of(scores, [row.label for row in fit], [row.problem for row in fit]))
    if config.cross_fit:
        return CrossFitted.of(solutions, config.cross_fit, config.seed)
    return Fixed(opened.verifier.spec.threshold if config.threshold is None else config.threshold)


def _statistic(solutions: Solutions, choice: Choice, names: Sequence[str]) -> Statistic:
    """The measures of every subset, and the mean F1, of some rows."""
    classes = _Classes.of(names, solutions.wrong_N, solutions.problems)

    def statistic(rows: IntArray, draw: Draw) -> Mapping[str, float]:
        thresholds = choice.thresholds(rows, draw)
        found = classes.measures(rows, solutions.hits(rows, thresholds), draw)
        return dict.fromkeys(found, math.nan) if np.isnan(thresholds).any() else found

    return statistic


def compared(records: Sequence[Mapping[str, Any]]) -> Statistic:
    """The measures of some of a run's records, each at the threshold that the run chose for it."""
    hits = np.array([record["predicted"] == record["label"] for record in records], dtype=bool)
    wrong = np.array([record["label"] != NO_ERROR for record in records], dtype=bool)
    classes = _Classes.of([one["subset"] for one in records], wrong, [str(one["problem"]) for one in records])
    return lambda rows, draw: classes.measures(rows, hits[rows], draw)


@dataclass(frozen=True)
class _Classes:
    """The wrong and the right solutions of each subset, and how many of them one problem has."""

    names: tuple[str, ...]
    subset_N: IntArray
    wrong_N: NDArray[np.bool_]
    per_problem: Mapping[tuple[int, bool], float]

    @classmethod
    def of(cls, subsets: Sequence[str], wrong: NDArray[np.bool_], problems: Sequence[str]) -> _Classes:
        names = tuple(dict.fromkeys(subsets))
        kinds = [(names.index(subset), bool(one)) for subset, one in zip(subsets, wrong, strict=True)]
        members: dict[tuple[int, bool], list[str]] = {}
        for kind, problem in zip(kinds, problems, strict=True):
            members.setdefault(kind, []).append(problem)
        sizes = {kind: rows_per_problem(some) for kind, some in members.items()}
        return cls(names, np.array([subset for subset, _ in kinds]), wrong, sizes)

    def measures(self, rows: IntArray, hits: NDArray[np.bool_], draw: Draw) -> dict[str, float]:
        """Of rows, and whether each is judged right."""
        found: dict[str, float] = {}
        subset, wrong = self.subset_N[rows], self.wrong_N[rows]
        for index, name in enumerate(self.names):
            on_wrong, on_right = (
                share(
                    hits[(subset == index) & (wrong == kind)], draw, per_problem=self.per_problem.get((index, kind), 1)
                )
                for kind in (True, False)
            )
            both = (f1_of_accuracies(on_wrong, on_right), on_wrong, on_right)
            found |= {f"{name}/{key}": value for key, value in zip(MEASURES, both, strict=True)}
        return {**found, MEAN: sum(found[f"{name}/{MEASURES[0]}"] for name in self.names) / len(self.names)}


def _record(name: str, row: BenchRow, scores: Sequence[float] | None, threshold: float) -> dict[str, Any]:
    known = scores is not None and not math.isnan(threshold)
    return {
        "subset": name,
        "id": row.id,
        "key": item_key(row.problem, row.steps),
        "problem": item_key(row.problem, ()),
        "label": row.label,
        "predicted": first_error_from_scores(scores or (), threshold) if known else NO_ERROR,
        "threshold": number_of(float(threshold)),
        "scores": list(scores or ()),
    }


def _subset(found: Mapping[str, Estimate], name: str) -> dict[str, Any]:
    """Numbers under the metric module's names, and their intervals; `interval` is the F1's."""
    estimates = {key: found[f"{name}/{key}"] for key in MEASURES}
    values = {key: number_of(one.mean) for key, one in estimates.items()}
    bars = {key: bar_of(one) for key, one in estimates.items()}
    f1 = "first_error_f1"
    return {**values, "headline": values[f1], "interval": bars[f1], "intervals": bars}


def quality_row(judged: Judged, seed: int) -> dict[str, Any] | None:
    """`Quality.to_dict` of items; `None` without any."""
    found = quality_of(judged, seed=seed)
    return found.to_dict() if found else None


def number_of(value: float) -> float | None:
    """For JSON; `None` where it is undefined."""
    return None if math.isnan(value) else value


def bar_of(found: Estimate) -> list[float] | None:
    """The ends of an interval; `None` where it is undefined."""
    return None if math.isnan(found.mean) or math.isnan(found.low) else [found.low, found.high]
