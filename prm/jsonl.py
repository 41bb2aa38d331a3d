"""JSON lines in and out: one record a line (read also from one array), errors that name file and line, and writes
that are never half done."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from prm.errors import DataError, MissingFileError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # some editors begin UTF-8 files with it


class RowNumber(int):
    """The number of an element of a JSON array, which has no line of its own; `prm.errors` calls it a row."""

    unit = "row"


def read_jsonl(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(line_number, record)` for every non-blank line of a file of JSON lines, or `(number, record)` for every
    element of a file that is one JSON array; numbers start at 1.

    Raises:
        MissingFileError: the file is not there.
        DataError: a line or an element is not a JSON object, or the file is not UTF-8 text.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path, or run the stage that writes it")
    with path.open("rb") as stream:
        if _starts_an_array(stream):
            records = _parse(_decode(stream.read(), path, None), path, None)
            numbered = ((RowNumber(index), record) for index, record in enumerate(records, start=1))
            yield from ((number, _object(record, path, number)) for number, record in numbered)
            return
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _object(_parse(_decode(line, path, number), path, number), path, number)


def _starts_an_array(stream: IO[bytes]) -> bool:
    start = b""
    while not start and (line := stream.readline()):
        start = line.removeprefix(_BYTE_ORDER_MARK).lstrip()
    stream.seek(0)
    return start.startswith(b"[")


def _decode(content: bytes, path: Path, line: int | None) -> str:
    try:
        return content.removeprefix(_BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        line = line or 1 + content.count(b"\n", 0, error.start)
        raise DataError(
            f"not UTF-8 text ({error.reason})", path=path, line=line, remedy="Re-save it as UTF-8"
        ) from None


def _parse(text: str, path: Path, line: int | None) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON ({error.msg} at column {error.colno})",
            path=path,
            line=line or error.lineno,  # of the array's text
            remedy="Give one JSON object a line, or one array of objects; mend or delete this line",
        ) from None


def _object(record: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(record, dict):
        what = f"a JSON {type(record).__name__}, not an object"
        raise DataError(what, path=path, line=number, remedy="Give one JSON object a line, or one array of objects")
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
