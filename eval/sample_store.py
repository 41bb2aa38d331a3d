"""The sample store: what was sampled, graded, scored and searched, kept so that nothing is ever asked for twice.

Every stage of `prm eval` appends to a file of its own, `store/<stage>-<key>.jsonl`, one row for each problem; the
key is a hash of everything that decides the rows' content (weights, prompt, sampling parameters, seed, verifier,
plan). A killed run goes on at the first missing problem, a finished run asks nobody, and a changed setting starts a
new file beside the old one. A row that is there and too small (more samples are wanted) is followed by a larger one,
and the last row of a problem counts. `store/store.json` says which version wrote the store, and what the run's models
are, so that a finished run is replayed without them. What the rows of a stage mean is that stage's business
(`prm.eval.workshop`, `prm.eval.arena`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError
from prm.jsonl import dumps, write_json
from prm.problems import Problem
from prm.progress import Tally, progress_bar
from prm.workers import Work, work_through

Row = dict[str, Any]
Enough = Callable[[int, Row], bool]
"""Whether the stored row of the problem with this index will do."""
Tell = Callable[[Tally, Sequence[int], Sequence[Row]], None]
"""Adds to the tally what the rows of these problems say of accuracy and tokens."""

SOLUTIONS_PER_CHUNK = 2048
"""Solutions between two writes to a file: what a killed run can lose at most, for each worker."""
EARLY_PROBLEMS = 4
"""In a small first chunk, at least: one problem alone may be unlike the others."""
STORE_FILE, STORE_VERSION = "store.json", 3
"""Version 1 had a file of samples for each n, and no `store.json`; 2 does not say what samples share."""


class RowFile:
    """An append-only file of rows, one for each problem."""

    def __init__(self, path: Path):
        self.path = path

    def read(self, *, mend: bool = True) -> dict[str, Row]:
        """The finished rows by `problem_key`, the last of each. A line that a kill left half written is cut off.

        Args:
            mend: cut it off in the file as well; not for a file of another run.

        Raises:
            DataError: a line that no kill can explain.
        """
        if not self.path.is_file():
            return {}
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if mend and len(whole) < len(content):
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
    """The row files of one output directory.

    Args:
        workers: processes that fill them.
        sources: other stores, whose rows are taken over where they fit.

    Raises:
        ConfigError: one of the stores was written by another version.
    """

    def __init__(self, directory: str | Path, *, workers: int = 1, sources: Sequence[str | Path] = ()):
        self.directory, self.workers = Path(directory), workers
        self.sources = [Path(source) for source in sources]
        self._facts: dict[str, Row] = {}
        for folder in (*reversed(self.sources), self.directory):
            self._facts |= _read_facts(folder)

    def file(self, stage: str, settings: Mapping[str, Any]) -> RowFile:
        return RowFile(self.directory / f"{stage}-{settings_key(settings)}.jsonl")

    def fact(self, name: str) -> Row | None:
        """What is known under a name (a model, as `prm.eval.models` calls it)."""
        return self._facts.get(name)

    def facts(self, prefix: str) -> dict[str, Row]:
        """What is known under names that begin so, without the beginning."""
        return {name.removeprefix(prefix): row for name, row in self._facts.items() if name.startswith(prefix)}

    def remember(self, name: str, fact: Row) -> None:
        """Keep what is known of something, on disk too."""
        self._facts[name] = fact
        self._mark()

    def rows(self, stage: str, settings: Mapping[str, Any]) -> dict[str, Row]:
        """The finished rows of a stage by `problem_key`, the store's own before those of its sources."""
        file = self.file(stage, settings)
        found: dict[str, Row] = {}
        for source in reversed(self.sources):
            found |= RowFile(source / file.path.name).read(mend=False)
        return found | file.read()

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
        enough: Enough | None = None,
        ready: Callable[[], object] | None = None,
        tell: Tell | None = None,
        early: bool = False,
    ) -> list[Row]:
        """One row for each problem, in order: read from the stage's file, or worked out and written to it.

        Args:
            work: makes the rows of the problems with the given indices, and calls its second argument with the number
                of solutions it finished since the last call.
            solutions: how many solutions a problem has, for the progress bar and the chunks.
            parallel: whether the work may be done in forked processes.
            enough: which stored rows will do; by default all.
            ready: called before there is work, in this process: loads what the work needs, for forked ones to share.
            tell: what the progress bar says of finished rows, beside their number.
            early: whether the first rows are wanted early, for `tell`, though a small first chunk keeps a model less
                busy than a large one.
        """
        file, keys = self.file(stage, settings), [problem_key(problem) for problem in problems]
        rows = self._taken_over(file, self.rows(stage, settings), keys) if self.sources else file.read()
        done = [key in rows and (enough is None or enough(index, rows[key])) for index, key in enumerate(keys)]
        planned = _chunks(len(problems), solutions)
        planned = [*_parted(planned[0]), *planned[1:]] if early and planned else planned
        missing = [chunk for chunk in ([i for i in plan if not done[i]] for plan in planned) if chunk]
        if missing:
            if ready:
                ready()
            self._mark()
            tally = Tally(len(problems))
            tally.add(problems=sum(done))
            with progress_bar(label, sum(map(len, missing)) * solutions, "solution", tally) as advance:
                workers = self.workers if parallel else 1
                for indices, made in work_through(missing, work, workers, advance):
                    made = [{"key": keys[i], **row} for i, row in zip(indices, made, strict=True)]
                    file.append(made)
                    rows.update((row["key"], row) for row in made)
                    tally.add(problems=len(indices))
                    if tell:
                        tell(tally, indices, made)
        return [rows[key] for key in keys]

    def keep(self, stage: str, settings: Mapping[str, Any], problems: Sequence[Problem], rows: Iterable[Row]) -> None:
        """Append rows of a stage that were made beside another's."""
        keyed = [{"key": problem_key(problem), **row} for problem, row in zip(problems, rows, strict=True)]
        self.file(stage, settings).append(keyed)

    def _taken_over(self, file: RowFile, rows: dict[str, Row], keys: Sequence[str]) -> dict[str, Row]:
        """The rows, after those of other stores were copied, so that this one is complete by itself."""
        own = file.read()
        if copied := [rows[key] for key in dict.fromkeys(keys) if key in rows and key not in own]:
            self._mark()
            file.append(copied)
        return rows

    def _mark(self) -> None:
        """Say in the directory which version writes there, and what is known."""
        write_json(self.directory / STORE_FILE, {"version": STORE_VERSION, "facts": self._facts})


def _read_facts(folder: Path) -> dict[str, Row]:
    """The facts in a store's `store.json`; nothing where there is no store yet.

    Raises:
        ConfigError: another version wrote it.
    """
    try:
        found = json.loads((folder / STORE_FILE).read_text(encoding="utf-8"))
        version = found["version"]
    except FileNotFoundError:
        version, found = (1 if next(folder.glob("*.jsonl"), None) else STORE_VERSION), {"facts": {}}
    except (OSError, ValueError, KeyError, TypeError):
        version = "of unknown number"
    if version != STORE_VERSION:
        raise ConfigError(
            f"{folder} is a sample store of version {version}, and this program reads version {STORE_VERSION}; "
            "nothing in it was touched. Give another --output_dir, move the store away, or use the prm-toolkit that "
            "wrote it"
        )
    return dict(found["facts"])


def _chunks(problems: int, solutions: int) -> list[range]:
    """The indices of all problems in chunks of about equal size. Their number is a multiple of four, so that a few
    workers finish together. Neither it nor the rows depend on the number of workers or on what an earlier run has
    finished."""
    count = 4 * ceil(problems * solutions / (4 * SOLUTIONS_PER_CHUNK))
    bounds = [problems * number // count for number in range(count + 1)]
    return [range(low, high) for low, high in pairwise(bounds)]


def _parted(first: range) -> list[range]:
    """A first chunk as a small one, of a few problems at least, and the rest."""
    cut = max(EARLY_PROBLEMS, ceil(len(first) / 4))
    return [first[:cut], first[cut:]] if 2 * cut <= len(first) else [first]


def problem_key(problem: Problem) -> str:
    """Identifies a problem by its id, text and reference answer: a corrected answer is another problem."""
    digest = hashlib.sha256(f"{problem.problem}\0{problem.answer}".encode()).hexdigest()
    return f"{problem.unique_id}:{digest[:12]}"


def settings_key(settings: Mapping[str, Any]) -> str:
    """12 hex digits of the settings' SHA-256; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
