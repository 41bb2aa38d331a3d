"""Training rows: a prompt, its steps and one label per step, from any of the files that carry them.

Read are `labels.jsonl` (`prm label`), `rollouts.jsonl` (`prm rollout`, outcome models only) and TRL's
stepwise-supervision rows (`prompt`, `completions`, `labels`) as JSONL, Parquet or a dataset of the Hub. What cannot be
trained on is refused with its file and line (or, when asked to, rejected with its reason), and what a stage of ours
left undecided is dropped and counted. What a row is, is `prm.rows.step_rows`', its formats are `prm.rows.readers`';
splits and views of rows are `prm.rows.views`', several data sets at once `prm.rows.mixture`'s, token ids
`prm.training.batching`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prm.errors import DataError, MissingFileError
from prm.jsonl import read_jsonl
from prm.rows.readers import (
    FORMATS,
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    LabelScaleError,
    Place,
    ReadCounts,
    Reading,
    read_row,
    read_stepwise,
)
from prm.rows.step_rows import BadRows, Kind, LabelView, LoadedRows, RejectedRow, StepRow

__all__ = [  # noqa: RUF022 (by where they come from)
    "BadRows",
    "Kind",
    "LabelView",
    "LoadedRows",
    "RejectedRow",
    "StepRow",
    "OPTIONAL_COLUMNS",
    "REQUIRED_COLUMNS",
    "Reading",
    "load_rows",
    "read_records",
    "reject",
    "rows_from_columns",
]

logger = logging.getLogger(__name__)

OUTCOME_SOURCE = "outcome"  # of `prm label --labeler implicit`: the solution's outcome as the label of its last step


def load_rows(
    path_or_name: str | Path,
    *,
    split: str = "train",
    config: str | None = None,
    rejected: list[RejectedRow] | None = None,
    **reading: Any,
) -> LoadedRows[StepRow]:
    """Load training rows from a file, or from a dataset of the Hub by name.

    Args:
        split, config: of a Hub dataset; files have neither.
        rejected: takes the rows that cannot be read, which are counted as dropped too; `None` refuses them.
        reading: `kind`, `label_view` and whatever else `Reading` has.

    Raises:
        MissingFileError: no such file.
        DataError: a row that cannot be read, with its file and line; or nothing left to train on.
    """
    how, counts = Reading(**reading), ReadCounts()
    rows = []
    for line, record in read_records(path_or_name, split, config):
        try:
            row = read_row(record, how, Place(str(path_or_name), line), counts)
        except DataError as error:
            counts.dropped[reject(error, record, rejected).kind_of_reason] += 1
            continue
        if row is not None:
            rows.append(row)
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.dropped.items())
        raise DataError(
            f"no row to train on (dropped: {reasons})" if reasons else "no rows in it",
            path=path_or_name,
            remedy="Run the stage that writes it again, or check the path",
        )
    _check_step_labels(rows, how, str(path_or_name))
    return LoadedRows(tuple(rows), counts.dropped, +counts.changed)


def rows_from_columns(
    dataset: Iterable[dict[str, Any]],
    *,
    name: str = "dataset",
    rejected: list[RejectedRow] | None = None,
    **reading: Any,
) -> list[StepRow]:
    """Read TRL's stepwise rows from a `datasets.Dataset` or any iterable of dicts with those columns.

    Raises:
        DataError: see `load_rows`; `name` stands for the file.
    """
    how, counts = Reading(**reading), ReadCounts()
    rows = []
    for line, record in enumerate(map(dict, dataset), start=1):
        try:
            row = read_stepwise(record, how, Place(name, line), counts)
        except DataError as error:
            reject(error, record, rejected)
            continue
        if row is not None:
            rows.append(row)
    _check_step_labels(rows, how, name)
    return rows


def _check_step_labels(rows: Sequence[StepRow], reading: Reading, name: str) -> None:
    """Warn where a PRM would learn the outcome of solutions as if it were the mark of their last step.

    Raises:
        DataError: there is nothing else to learn: all labels are outcomes.
    """
    several = [row for row in rows if len(row.labels) > 1]
    last_alone = [row for row in several if not any(label is not None for label in row.labels[:-1])]
    outcomes = sum(row.source == OUTCOME_SOURCE for row in last_alone)
    if reading.kind != "prm" or not last_alone:
        return
    if outcomes == len(several):
        raise DataError(
            "outcomes alone: no row has a label before its last step, and a PRM would learn nothing of steps",
            path=name,
            remedy="Train an outcome model (orm) on them, or make step labels (prm label --labeler monte_carlo)",
        )
    if outcomes:
        logger.warning("%s: the one label of %d of %d rows is the outcome, not a step's", name, outcomes, len(rows))
    elif len(last_alone) == len(several):
        logger.warning("%s: no row has a label before its last step; a PRM learns nothing of the steps before", name)


def reject(error: DataError, record: dict[str, Any], rejected: list[RejectedRow] | None) -> RejectedRow:
    """Keep a bad row with its reason, or raise the error again where nobody collects them or all rows are misread."""
    if rejected is None or isinstance(error, LabelScaleError):
        raise error
    rejected.append(RejectedRow(str(error.path), error.line, error.what, record))
    return rejected[-1]


def read_records(path_or_name: str | Path, split: str, config: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file or of a dataset of the Hub, as they are, with their lines from 1.

    Raises:
        MissingFileError: no such file.
        DataError: it cannot be opened, or not as JSONL or Parquet.
    """
    path = Path(path_or_name)
    if path.suffix in {".jsonl", ".json"}:
        yield from read_jsonl(path)
        return
    if path.suffix == ".parquet" and not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path")
    if path.suffix != ".parquet" and path.exists():
        raise DataError("neither .jsonl nor .parquet", path=path, remedy=f"Give {FORMATS}")
    import datasets

    try:
        if path.suffix == ".parquet":
            loaded = datasets.load_dataset("parquet", data_files=str(path), split="train")
        else:
            loaded = datasets.load_dataset(str(path_or_name), config, split=split)
    except Exception as error:  # datasets raises a dozen unrelated classes here
        raise DataError(
            f"datasets could not load it ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})",
            path=path_or_name,
            remedy="Check the path, or the dataset's name, split and the connection",
        ) from error
    for line, record in enumerate(loaded, start=1):
        yield line, dict(record)
