"""PRMBench (arXiv 2501.03124): which steps of solutions with a planted error are wrong, by the kind of error.

A step is held to be wrong below the threshold: the verifier's own, or a given one. PRMScore pools the steps of a
category, and all steps for the overall number; a dimension is the mean of its categories. The original solutions,
which the files carry beside the modified ones, are not counted, as in the authors' program. A solution that is too
long to read counts as accepted throughout.

A row has `modified_question`, `modified_process`, `error_steps` (from 1 on) and `classification`, as published in
hitsmy/PRMBench_Preview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prm.errors import ConfigError, DataError
from prm.jsonl import read_jsonl
from prm.stats.intervals import Estimate
from prm.stats.step_f1 import CATEGORIES, DIMENSIONS, StepCounts, score_of_counts

from .config import BenchConfig
from .processbench import MEAN, bar_of, number_of, quality_row
from .quality import Judged
from .resample import Draw, IntArray, Statistic, half_a_problem, intervals
from .rows import check_solution, sample_of
from .scores import item_key, score_steps
from .verifiers import Opened


@dataclass(frozen=True)
class PlantedRow:
    """A modified solution; `wrong` are the indices of its wrong steps, from 0 on."""

    id: str
    problem: str
    steps: tuple[str, ...]
    wrong: frozenset[int]
    category: str


def read(config: BenchConfig) -> list[PlantedRow]:
    """The rows of all files, each (category, idx) once.

    Raises:
        ConfigError, MissingFileError, DataError: no files, or a row that is not one of PRMBench's.
    """
    if not config.files:
        raise ConfigError("no files; give PRMBench's .jsonl files")
    rows: dict[tuple[str, str], PlantedRow] = {}
    for path in config.files:
        for number, record in read_jsonl(path):
            row = _row(record, Path(path), number)
            rows.setdefault((row.category, row.id), row)
    if not rows:
        raise DataError("no rows in it", path=config.files[0], remedy="Give a file with at least one solution")
    return sample_of(list(rows.values()), config.num_problems, config.seed)


def measure(config: BenchConfig, opened: Opened) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score the files; returns a record for each solution, and the summary.

    Raises:
        ConfigError: the verifier is an ORM, which scores no steps.
    """
    rows = read(config)
    items = [(row.problem, row.steps) for row in rows]
    scored = score_steps(items, opened.verifier, opened.cache, label="prmbench")
    threshold = opened.verifier.spec.threshold if config.threshold is None else config.threshold
    records = [_record(row, scores, threshold) for row, scores in zip(rows, scored.scores, strict=True)]
    categories, problems = [row.category for row in rows], [row.problem for row in rows]
    found = intervals(compared(records), categories, problems, seed=config.seed)
    summary = {
        "thresholds": [threshold],
        "threshold_choice": f"fixed at {threshold:.3f}",
        "counts": scored.counts,
        "solutions": len(rows),
        "subsets": {name: _part(rows, name, found[name]) for name in CATEGORIES if name in found},
        "dimensions": {name: _estimate(found[name]) for name in DIMENSIONS if name in found},
        "prm_score": number_of(found[MEAN].mean),
        "mean_interval": bar_of(found[MEAN]),
        "quality": quality_row(_judged(rows, scored.scores), config.seed),
    }
    return records, summary


def compared(records: Sequence[Mapping[str, Any]]) -> Statistic:
    """PRMScore of some of a run's records: of each category and dimension, and overall."""
    present = {record["subset"] for record in records}
    names = [name for name in CATEGORIES if name in present]
    category = np.array([names.index(record["subset"]) for record in records])
    counts = np.array([record["counts"] for record in records], dtype=float)
    sizes = {name: _steps_per_problem(records, name) for name in names}

    def statistic(rows: IntArray, draw: Draw) -> Mapping[str, float]:
        parts = {name: counts[rows[category[rows] == index]].sum(axis=0) for index, name in enumerate(names)}
        more = {name: np.concatenate([half_a_problem(draw, size) for size in sizes[name]]) for name in names}
        score = score_of_counts({name: StepCounts(*(part + more[name]).tolist()) for name, part in parts.items()})
        return {**score.categories, **score.dimensions, MEAN: score.overall}

    return statistic


def _steps_per_problem(records: Sequence[Mapping[str, Any]], category: str) -> tuple[float, float]:
    """Right and wrong steps of a category's problems, in the mean."""
    own = [record for record in records if record["subset"] == category]
    right, wrong = np.array([record["counts"] for record in own]).sum(axis=0).reshape(2, 2).sum(axis=1)
    problems = len({record["problem"] for record in own})
    return float(right) / problems, float(wrong) / problems


def _row(record: Any, path: Path, number: int) -> PlantedRow:
    try:
        problem, steps, wrong = record["modified_question"], record["modified_process"], record["error_steps"]
        check_solution(problem, steps)
        if not isinstance(wrong, list) or not all(type(step) is int and 1 <= step <= len(steps) for step in wrong):
            raise ValueError(f"error_steps {wrong!r} are not numbers of its {len(steps)} steps, from 1 on")
        if record["classification"] not in CATEGORIES:
            raise ValueError(f"classification {record['classification']!r} is none of {', '.join(CATEGORIES)}")
        name = str(record.get("idx", number))
        return PlantedRow(name, problem, tuple(steps), frozenset(s - 1 for s in wrong), record["classification"])
    except KeyError as error:
        what = f"no {error.args[0]!r} in the row"
    except (TypeError, ValueError) as error:
        what = f"not a PRMBench row: {error}"
    remedy = "Rows need modified_question, modified_process, error_steps and classification"
    raise DataError(what, path=path, line=number, remedy=remedy)


def _record(row: PlantedRow, scores: Sequence[float] | None, threshold: float) -> dict[str, Any]:
    """`counts` are those of `StepCounts`, in order."""
    accepted = [score >= threshold for score in scores] if scores is not None else [True] * len(row.steps)
    cells = [0, 0, 0, 0]
    for place, verdict in enumerate(accepted):
        cells[2 * (place in row.wrong) + (not verdict)] += 1
    return {
        "subset": row.category,
        "id": row.id,
        "key": item_key(row.problem, row.steps),
        "problem": item_key(row.problem, ()),
        "wrong": sorted(row.wrong),
        "counts": cells,
        "scores": list(scores or ()),
    }


def _judged(rows: Sequence[PlantedRow], scores: Sequence[Sequence[float] | None]) -> Judged:
    judged = Judged.nothing()
    for row, one in zip(rows, scores, strict=True):
        if one is None:
            continue
        for place, score in enumerate(one):
            judged.add_item(score, int(place not in row.wrong), row.problem)
        judged.add_length("wrong" if row.wrong else "right", min(one), row.steps, row.problem)
        if not row.wrong:
            judged.add_places(one, row.problem)
    return judged


def _part(rows: Sequence[PlantedRow], category: str, found: Estimate) -> dict[str, Any]:
    solutions = sum(row.category == category for row in rows)
    return {"solutions": solutions, "headline": number_of(found.mean), "interval": bar_of(found)}


def _estimate(found: Estimate) -> dict[str, Any]:
    return {"prm_score": number_of(found.mean), "interval": bar_of(found)}
