"""The rows of ProcessBench (Qwen/ProcessBench): a solution, and where its first wrong step is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import read_jsonl

NO_ERROR = -1

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class BenchRow:
    """One solution of ProcessBench; `label` is the index of its first wrong step, or -1. `repeats`: how many more rows
    of its file are the same solution."""

    id: str
    problem: str
    steps: tuple[str, ...]
    label: int
    final_answer_correct: bool
    repeats: int = 0


def read_processbench(path: str | Path) -> list[BenchRow]:
    """Read a ProcessBench file, each solution once.

    Raises:
        MissingFileError, DataError: no such file, or a row that is not one of ProcessBench's, with its number; or one
            whose solution has another label above.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path; the sets are Qwen/ProcessBench's")
    rows: dict[tuple[str, tuple[str, ...]], BenchRow] = {}
    for number, record in read_jsonl(path):
        row = _row(record, path, number)
        first = rows.setdefault((row.problem, row.steps), row)
        if first.label != row.label:
            raise DataError(
                f"solution {row.id!r} is {first.id!r} once more, whose label is {first.label} and not {row.label}",
                path=path,
                line=number,
                remedy="A solution has one first wrong step; correct one of the rows, or delete it",
            )
        if first is not row:
            rows[row.problem, row.steps] = replace(first, repeats=first.repeats + 1)
    if not rows:
        raise DataError("no rows in it", path=path, remedy="Give a file with at least one solution")
    return list(rows.values())


def read_subsets(files: Sequence[str]) -> dict[str, list[BenchRow]]:
    """The rows of each file, under the file's name.

    Raises:
        ConfigError, MissingFileError, DataError: no files, two of one name, or one that cannot be read.
    """
    if not files:
        raise ConfigError("no files; give ProcessBench's .json files, one per subset")
    names = {Path(path).stem: path for path in files}
    if len(names) < len(files):
        raise ConfigError("two files have the same name; the name is the subset's, so rename one")
    return {name: read_processbench(path) for name, path in names.items()}


def sample_of(rows: Sequence[RowT], count: int, seed: int) -> list[RowT]:
    """A random sample in the file's order, or all rows. The published files are sorted by label, so that their first
    rows all hold an error."""
    if not count or count >= len(rows):
        return list(rows)
    return [rows[index] for index in sorted(random.Random(seed).sample(range(len(rows)), count))]


def _row(record: Any, path: Path, number: int) -> BenchRow:
    try:
        problem, steps, label = record["problem"], record["steps"], record["label"]
        check_solution(problem, steps)
        if type(label) is not int:
            raise ValueError(f"label {label!r} is not a whole number")
        if not NO_ERROR <= label < len(steps):
            raise ValueError(f"label {label} is not -1 or the index of one of its {len(steps)} steps")
        return BenchRow(
            str(record.get("id", number)), problem, tuple(steps), label, bool(record["final_answer_correct"])
        )
    except KeyError as error:
        what = f"no {error.args[0]!r} in the row"
    except (TypeError, ValueError, AttributeError) as error:
        what = f"not a ProcessBench row: {error}"
    raise DataError(what, path=path, line=number, remedy="Rows need problem, steps, label and final_answer_correct")


def check_solution(problem: Any, steps: Any) -> None:
    """Raise a `ValueError` for what is no problem with steps."""
    if not isinstance(problem, str) or not isinstance(steps, list) or not all(isinstance(s, str) for s in steps):
        raise ValueError("problem must be a text and steps a list of texts")
    if not any(step.strip() for step in steps):
        raise ValueError("it has no steps")
