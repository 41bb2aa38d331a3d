"""JSON lines in and out: one record a line, errors that name file and line, and writes that are never half done."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from prm.errors import DataError, MissingFileError


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(line_number, record)` for every non-blank line; line numbers start at 1.

    Raises:
        MissingFileError: the file is not there.
        DataError: a line is not a JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path, or run the stage that writes it")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(_decoded(lines, path), start=1):
            if line.strip():
                yield number, _parse(line, path, number)


def _decoded(lines: IO[str], path: Path) -> Iterator[str]:
    number = 0
    try:
        for line in lines:
            number += 1
            yield line
    except UnicodeDecodeError as error:
        raise DataError(
            f"not UTF-8 text ({error.reason})", path=path, line=number + 1, remedy="Re-save it as UTF-8"
        ) from None


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON ({error.msg} at column {error.colno})",
            path=path,
            line=number,
            remedy="Each line must be one JSON object; mend or delete this line",
        ) from None
    if not isinstance(record, dict):
        raise DataError(
            f"a JSON {type(record).__name__}, not an object", path=path, line=number, remedy="Write one object a line"
        )
    return record


def dumps(record: Any) -> str:
    """One line of JSON: UTF-8 kept readable, NaN refused, key order as given."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[IO[str]]:
    """Open a text file that appears under `path` only once it is complete and on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_jsonl(path: str | Path, records: Iterable[dict[str, Any]]) -> int:
    """Write records atomically; returns how many."""
    count = 0
    with atomic_write(path) as stream:
        for record in records:
            stream.write(dumps(record) + "\n")
            count += 1
    return count


def write_json(path: str | Path, value: Any) -> None:
    """Write one indented JSON document atomically."""
    with atomic_write(path) as stream:
        stream.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
