"""Files of rows, whatever the rows are: JSON lines, JSON arrays, Parquet, and datasets of the Hub, read and written in
bounded memory (a JSON array alone is read at once)."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import dumps, read_jsonl, write_jsonl

READ_SUFFIXES = (".jsonl", ".json", ".parquet")
WRITE_SUFFIXES = (".jsonl", ".parquet")
_BATCH = 1000  # rows of a Parquet row group, so that one batch alone is in memory


def read_rows(path_or_name: str | Path, *, split: str = "train") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(number, row)` of a file, or of a dataset of the Hub, streamed; numbers start at 1.

    Raises:
        MissingFileError: no such file.
        DataError: it cannot be read as rows.
    """
    path = Path(path_or_name)
    if path.suffix in {".jsonl", ".json"}:
        yield from read_jsonl(path)
    elif path.suffix == ".parquet":
        yield from enumerate(_parquet_rows(path), start=1)
    elif path.exists() or not _may_be_hub_name(str(path_or_name)):
        check_readable(path_or_name)
    else:
        yield from enumerate(_hub_rows(str(path_or_name), split), start=1)


def check_readable(path_or_name: str | Path) -> None:
    """See at once that there is something to read, before any work.

    Raises:
        MissingFileError: no such file.
        DataError: a file of another kind, or a directory.
    """
    path = Path(path_or_name)
    if path.is_dir() or (path.exists() and path.suffix not in READ_SUFFIXES):
        what = "a directory" if path.is_dir() else "not a .jsonl, .json or .parquet file"
        raise DataError(what, path=path, remedy="Give a .jsonl, .json or .parquet file, or a dataset on the Hub")
    if not path.exists() and (path.suffix in READ_SUFFIXES or not _may_be_hub_name(str(path_or_name))):
        raise MissingFileError("no such file", path=path, remedy="Check the path, or run the stage that writes it")


def write_rows(path: str | Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write rows as JSON lines or Parquet, by the suffix, complete or not at all; returns how many.

    Raises:
        DataError: rows whose values have no common type, for Parquet.
    """
    path = Path(path)
    check_writable(path)
    return _write_parquet(path, rows) if path.suffix == ".parquet" else write_jsonl(path, rows)


def check_writable(path: str | Path) -> None:
    """See at once that the suffix is one that is written.

    Raises:
        ConfigError: it is not.
    """
    if Path(path).suffix not in WRITE_SUFFIXES:
        raise ConfigError(f"{path}: the output is a .jsonl or a .parquet file")


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths name one file, whether or not it is there."""
    return os.path.realpath(one) == os.path.realpath(other)


def _may_be_hub_name(name: str) -> bool:
    return name.count("/") <= 1 and not Path(name).suffix and not name.startswith((".", "/", "~"))


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path")
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                yield from batch.to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"not Parquet ({error})", path=path, remedy="Write it again, or give JSON lines") from error


def _hub_rows(name: str, split: str) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        yield from map(dict, datasets.load_dataset(name, split=split, streaming=True))
    except Exception as error:  # datasets raises a dozen unrelated classes here
        first = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"datasets could not load its split {split!r} ({type(error).__name__}: {first})",
            path=name,
            remedy="Check the path, or the dataset's name, split and the connection",
        ) from error


def _write_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Rows are first laid aside as JSON lines: a column's type is known when all its values are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.{os.getpid()}")
    count, schema = 0, pa.schema([])
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as aside:
            given = map(_parquet_row, rows)
            while batch := list(islice(given, _BATCH)):
                count += len(batch)
                schema = pa.unify_schemas([schema, _schema(batch)], promote_options="permissive")
                aside.writelines(dumps(row) + "\n" for row in batch)
            aside.seek(0)
            with pq.ParquetWriter(written, schema) as writer:
                while batch := [json.loads(line) for line in islice(aside, _BATCH)]:
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema))
        os.replace(written, path)
    except pa.ArrowException as error:
        remedy = "Write .jsonl instead"
        raise DataError(f"these rows are no Parquet ({error})", path=path, remedy=remedy) from error
    finally:
        with suppress(FileNotFoundError):
            written.unlink()
    return count


def _schema(batch: list[dict[str, Any]]) -> Any:
    """The columns of all rows: `from_pylist` by itself takes those of the first one, and drops all others."""
    import pyarrow as pa

    every = dict.fromkeys(name for row in batch for name in row)
    return pa.Table.from_pylist([{**dict.fromkeys(every), **batch[0]}, *batch[1:]]).schema


def _parquet_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what Parquet has no type for: empty mappings, and the column `extra`, which becomes JSON text."""
    kept = {name: value for name, value in row.items() if value != {}}
    if isinstance(kept.get("extra"), dict):
        kept["extra"] = dumps(kept["extra"])
    return kept
