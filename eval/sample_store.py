"""The sample store: what was sampled, graded, scored and searched, kept so that nothing is ever asked for twice.

Every stage of `prm eval` appends to a file of its own, `store/<stage>-<key>.jsonl`, one row for each problem; the
key is a hash of everything that decides the rows' content (weights, prompt, sampling parameters, seed, verifier,
plan). A killed run goes on at the first missing problem, a finished run asks nobody, and a changed setting starts a
new file beside the old one. What the rows of a stage mean is that stage's business (`prm.eval.workshop`,
`prm.eval.arena`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.jsonl import dumps
from prm.problems import Problem
from prm.progress import progress_bar
from prm.workers import Work, work_through

Row = dict[str, Any]
SOLUTIONS_PER_CHUNK = 2048
"""Solutions between two writes to a file: what a killed run can lose at most, for each worker."""


class RowFile:
    """An append-only file of rows, one for each problem."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> dict[str, Row]:
        """The finished rows by `problem_key`. A line that a kill left half written is cut off.

        Raises:
            DataError: a line that no kill can explain.
        """
        if not self.path.is_file():
            return {}
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.path, len(whole))
        rows = {}
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
                rows[str(row["key"])] = row
            except (ValueError, KeyError, TypeError):
                raise DataError(
                    "not a row of the sample store",
                    path=self.path,
                    line=number,
                    remedy="Delete this file and run again",
                ) from None
        return rows

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows and wait until they are on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write("".join(dumps(row) + "\n" for row in rows))
            stream.flush()
            os.fsync(stream.fileno())


class SampleStore:
    """The row files of one output directory; `workers` processes fill them."""

    def __init__(self, directory: str | Path, *, workers: int = 1):
        self.directory, self.workers = Path(directory), workers

    def file(self, stage: str, settings: Mapping[str, Any]) -> RowFile:
        return RowFile(self.directory / f"{stage}-{settings_key(settings)}.jsonl")

    def complete(
        self,
        stage: str,
        settings: Mapping[str, Any],
        problems: Sequence[Problem],
        work: Work,
        *,
        label: str,
        solutions: int,
        parallel: bool = True,
    ) -> list[Row]:
        """One row for each problem, in order: read from the stage's file, or worked out and written to it.

        Args:
            work: makes the rows of the problems with the given indices, and calls its second argument with the number
                of solutions it finished since the last call.
            solutions: how many solutions a problem has, for the progress bar and the chunks.
            parallel: whether the work may be done in forked processes.
        """
        file = self.file(stage, settings)
        rows = file.read()
        keys = [problem_key(problem) for problem in problems]
        planned = _chunks(len(problems), solutions)
        missing = [chunk for chunk in ([i for i in plan if keys[i] not in rows] for plan in planned) if chunk]
        if missing:
            with progress_bar(label, sum(map(len, missing)) * solutions, "solution") as advance:
                workers = self.workers if parallel else 1
                for indices, made in work_through(missing, work, workers, advance):
                    made = [{"key": keys[i], **row} for i, row in zip(indices, made, strict=True)]
                    file.append(made)
                    rows.update((row["key"], row) for row in made)
        return [rows[key] for key in keys]


def _chunks(problems: int, solutions: int) -> list[range]:
    """The indices of all problems in chunks of about equal size. Their number is a multiple of four, so that a few
    workers finish together. Neither it nor the rows depend on the number of workers or on what an earlier run has
    finished."""
    count = 4 * ceil(problems * solutions / (4 * SOLUTIONS_PER_CHUNK))
    bounds = [problems * number // count for number in range(count + 1)]
    return [range(low, high) for low, high in pairwise(bounds)]


def problem_key(problem: Problem) -> str:
    """Identifies a problem by its id, text and reference answer: a corrected answer is another problem."""
    digest = hashlib.sha256(f"{problem.problem}\0{problem.answer}".encode()).hexdigest()
    return f"{problem.unique_id}:{digest[:12]}"


def settings_key(settings: Mapping[str, Any]) -> str:
    """12 hex digits of the settings' SHA-256; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
