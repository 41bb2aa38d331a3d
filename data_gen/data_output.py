"""What `prm data` leaves beside its output: a summary with the settings, the inputs' hashes and the output's, by which
a finished run is known. The same settings and untouched files mean that there is nothing to do; an output of other
settings, or of unknown origin, is replaced only where that is asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError
from prm.fingerprint import file_hash
from prm.jsonl import atomic_write, dumps, write_json
from prm.rows.training_rows import RejectedRow

from .row_files import check_readable, check_writable, same_file

REJECTED = ".rejected.jsonl"  # the suffix of the file of rows that were left out


@dataclass(frozen=True)
class DataOutput:
    """The files of one `prm data` command.

    Attributes:
        paths: the files of rows it writes, the main one first.
        summary_path: the summary, written last.
        settings: all that decides what comes out, hashes of the inputs included.
        overwrite: whether an output of other settings may be replaced.
    """

    paths: tuple[Path, ...]
    summary_path: Path
    settings: dict[str, Any]
    overwrite: bool

    def finished(self) -> dict[str, Any] | None:
        """The summary of a finished run of these settings, or `None` where there is something to do.

        Raises:
            ConfigError: another output that may not be replaced.
        """
        if not self.paths[0].exists():
            return None
        summary = self._summary()
        if summary and summary.get("settings") == self.settings and self._untouched(summary):
            return summary
        if not self.overwrite:
            known = bool(summary) and str(self.paths[0].name) in summary.get("outputs", {})
            what = "was written with other settings or inputs" if known else "is there already"
            raise ConfigError(f"{self.paths[0]} {what}; give another --output_path, or --overwrite true to replace it")
        return None

    def write_summary(self, facts: Mapping[str, Any], rows: int, left_out: Mapping[str, int]) -> dict[str, Any]:
        """Write the summary, which declares the command finished.

        Args:
            rows: that were written, to all files together.
            left_out: how many were not, by reason.

        Raises:
            DataError: none was written. The summary and the rejected rows are there then, and no empty output.
        """
        if not rows:
            for path in self.paths:
                path.unlink(missing_ok=True)
        outputs = {path.name: file_hash(path) for path in self.paths if path.exists()}
        summary = {**facts, "settings": self.settings, "outputs": outputs}
        write_json(self.summary_path, summary)
        if not rows:
            reasons = "; ".join(f"{reason} ({count:,})" for reason, count in left_out.items())
            raise DataError(
                f"no row was kept, so that it was not written. Left out: {reasons}",
                path=self.paths[0],
                remedy=f"The rows are in {beside(self.paths[0], REJECTED)}, the counts in {self.summary_path}",
            )
        return summary

    def _summary(self) -> dict[str, Any]:
        try:
            summary = json.loads(self.summary_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return summary if isinstance(summary, dict) else {}

    def _untouched(self, summary: Mapping[str, Any]) -> bool:
        outputs: dict[str, str] = summary.get("outputs", {})
        folder = self.summary_path.parent
        return all((folder / name).is_file() and file_hash(folder / name) == old for name, old in outputs.items())


def check_paths(inputs: Sequence[str], output: str, *more: Path) -> None:
    """Refuse paths that cannot work, before any work.

    Args:
        more: what is written beside the output.

    Raises:
        ConfigError: no input, an output that is an input or of an unknown kind.
        DataError: an input that is not there or cannot be read.
    """
    if not inputs:
        raise ConfigError("missing input_path: give at least one file")
    check_writable(output)
    for path in inputs:
        check_readable(path)
        for written in (Path(output), *more):
            if same_file(path, written):
                raise ConfigError(f"{written} is an input, and would be written; give another --output_path")
    doubled = [path for index, path in enumerate(inputs) if any(same_file(path, other) for other in inputs[:index])]
    if doubled:
        raise ConfigError(f"{doubled[0]} is given twice")


def beside(path: str | Path, suffix: str) -> Path:
    """The file beside another, with another suffix: `a.rejected.jsonl` beside `a.jsonl`."""
    path = Path(path)
    return path.with_name(path.stem + suffix)


def input_hash(path: str) -> str:
    """What identifies an input: a file's content; a Hub dataset stands for itself."""
    return file_hash(path) if Path(path).is_file() else path


@contextmanager
def rejected_rows(path: Path, reasons: Counter[str]) -> Iterator[Callable[[RejectedRow], None]]:
    """Open the file of rejected rows, which is there in the end if there is any; `reasons` counts their kinds."""
    count = 0
    with atomic_write(path) as stream:

        def reject(row: RejectedRow) -> None:
            nonlocal count
            count += 1
            reasons[row.kind_of_reason] += 1
            stream.write(dumps(row.to_dict()) + "\n")

        yield reject
    if not count:
        path.unlink()
