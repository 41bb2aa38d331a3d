"""Training rows: a prompt, its steps and one label per step, from any of the files that carry them.

Read are `labels.jsonl` (`prm label`), `rollouts.jsonl` (`prm rollout`, outcome models only) and TRL's
stepwise-supervision rows (`prompt`, `completions`, `labels`) as JSONL, Parquet or a dataset of the Hub. What cannot be
trained on is refused with its file and line (or, when asked to, rejected with its reason), and what a stage of ours
left undecided is dropped and counted. Splits and views of rows are `prm.row_views`', token ids `prm.batching`'s.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import problem_id
from prm.rollouts import Outcome, Rollout, StopReason

Kind = Literal["prm", "orm"]
LabelView = Literal["hard", "soft"]
BadRows = Literal["refuse", "drop"]

REQUIRED_COLUMNS = ("prompt", "completions", "labels")
OPTIONAL_COLUMNS = ("n_correct", "n_total", "source", "unique_id")  # the first three: one value per step
FORMATS = "labels.jsonl, rollouts.jsonl, or rows with prompt, completions and labels"

_OUTCOMES = {Outcome.CORRECT: 1.0, Outcome.WRONG: 0.0}
_UNFINISHED = {StopReason.LENGTH: "truncated", StopReason.ERROR: "error"}


@dataclass(frozen=True)
class StepRow:
    """One solution to learn from.

    Attributes:
        prompt: the problem, as text; the step format's template is put around it later.
        completions: the steps, in order.
        labels: for each step a target in [0, 1], or `None` where nothing is known of it. An outcome row has its one
            label on the last step.
        group: the problem's id; rows of one problem never lie on both sides of a split.
        source: what made the labels.
        hard: 0 or 1 for each step, what metrics are measured against; `None` takes the labels from 0.5 up.
        path, line: where the row was read from, for messages.
    """

    prompt: str
    completions: tuple[str, ...]
    labels: tuple[float | None, ...]
    group: str
    source: str = ""
    hard: tuple[float | None, ...] | None = None
    path: str = ""
    line: int | None = None

    @property
    def hard_labels(self) -> tuple[float | None, ...]:
        """0, 1 or `None` for each step."""
        if self.hard is not None:
            return self.hard
        return tuple(None if label is None else float(label >= 0.5) for label in self.labels)


@dataclass(frozen=True)
class RejectedRow:
    """A row that could not be read or encoded: where it stands, why, and what it holds."""

    path: str
    line: int | None
    reason: str
    row: dict[str, Any]

    @property
    def kind_of_reason(self) -> str:
        """The reason without what is this row's own, to count by."""
        return re.sub(r"'[^']*'|\d+(\.\d+)?", "…", self.reason.split(";")[0])[:100]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, whatever the row holds."""
        return {**asdict(self), "row": json.loads(json.dumps(self.row, default=str), parse_constant=str)}


@dataclass(frozen=True)
class LoadedRows:
    """Rows of one file, how many of its rows were dropped and why, and a digest of what was kept."""

    rows: tuple[StepRow, ...]
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """16 hex digits that change when any prompt, step, label or the order changes."""
        running = hashlib.sha256()
        for row in self.rows:
            running.update(repr((row.prompt, row.completions, row.labels, row.group)).encode())
        return running.hexdigest()[:16]


def load_rows(
    path_or_name: str | Path,
    *,
    kind: Kind = "prm",
    label_view: LabelView = "hard",
    split: str = "train",
    config: str | None = None,
    rejected: list[RejectedRow] | None = None,
) -> LoadedRows:
    """Load training rows from a file, or from a dataset of the Hub by name.

    Args:
        kind: `prm` keeps every step's label; `orm` puts one on the finished solution, 1 if its outcome is correct and
            0 if it is wrong. Rollouts that are truncated, ungraded, unparsable or without steps are dropped, counted.
        label_view: `hard` (0 or 1) or `soft` (a share of right completions) targets.
        split, config: of a Hub dataset; files have neither.
        rejected: takes the rows that cannot be read, which are counted as dropped too; `None` refuses them.

    Raises:
        MissingFileError: no such file.
        DataError: a row that cannot be read, with its file and line; or nothing left to train on.
    """
    if kind not in get_args(Kind) or label_view not in get_args(LabelView):
        raise ConfigError(f"kind must be prm or orm and label_view hard or soft, not {kind!r} and {label_view!r}")
    dropped: Counter[str] = Counter()
    rows = []
    for line, record in _records(path_or_name, split, config):
        try:
            row = _read_row(record, kind, label_view, str(path_or_name), line, dropped)
        except DataError as error:
            dropped[_reject(error, record, rejected).kind_of_reason] += 1
            continue
        if row is not None:
            rows.append(row)
    if not rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(
            f"no row to train on (dropped: {reasons})" if reasons else "no rows in it",
            path=path_or_name,
            remedy="Run the stage that writes it again, or check the path",
        )
    return LoadedRows(tuple(rows), dropped)


def rows_from_columns(
    dataset: Iterable[dict[str, Any]],
    *,
    kind: Kind = "prm",
    label_view: LabelView = "hard",
    name: str = "dataset",
    rejected: list[RejectedRow] | None = None,
) -> list[StepRow]:
    """Read TRL's stepwise rows from a `datasets.Dataset` or any iterable of dicts with those columns.

    Raises:
        DataError: see `load_rows`; `name` stands for the file.
    """
    rows = []
    for line, record in enumerate(map(dict, dataset), start=1):
        try:
            rows.append(_stepwise(record, kind, label_view, name, line))
        except DataError as error:
            _reject(error, record, rejected)
    return rows


def _reject(error: DataError, record: dict[str, Any], rejected: list[RejectedRow] | None) -> RejectedRow:
    """Keep a bad row with its reason, or raise the error again where nobody collects them."""
    if rejected is None:
        raise error
    rejected.append(RejectedRow(str(error.path), error.line, error.what, record))
    return rejected[-1]


def _records(path_or_name: str | Path, split: str, config: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
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


def _read_row(
    record: dict[str, Any], kind: Kind, view: LabelView, path: str, line: int, dropped: Counter[str]
) -> StepRow | None:
    if "completions" in record or "prompt" in record:
        return _stepwise(record, kind, view, path, line)
    if "gaps" not in record:
        raise DataError(f"a row with the columns {sorted(record)}", path=path, line=line, remedy=f"Give {FORMATS}")
    if kind == "orm":
        return _outcome_row(Rollout.from_dict(record, path=path, line=line), path, line, dropped)
    if "labels" not in record:
        raise DataError(
            "a rollout without step labels",
            path=path,
            line=line,
            remedy="A PRM learns from the labels.jsonl of `prm label`; an ORM (kind: orm) learns from rollouts",
        )
    return _labelled_row(LabelledRollout.from_dict(record, path=path, line=line), view, path, line, dropped)


def _labelled_row(
    labelled: LabelledRollout, view: LabelView, path: str, line: int, dropped: Counter[str]
) -> StepRow | None:
    rollout = labelled.rollout
    labels = tuple(_view(label, view, path, line) for label in labelled.labels)
    if all(label is None for label in labels):
        dropped["no steps" if not labels else "no decided label"] += 1
        return None
    return StepRow(
        prompt=rollout.problem.problem,
        completions=rollout.steps,
        labels=labels,
        group=rollout.problem.unique_id,
        source="+".join(sorted({label.source for label in labelled.labels})),
        hard=tuple(label.hard for label in labelled.labels),
        path=path,
        line=line,
    )


def _outcome_row(rollout: Rollout, path: str, line: int, dropped: Counter[str]) -> StepRow | None:
    reason = _UNFINISHED.get(rollout.stop_reason) or ("no steps" if not rollout.steps else "")
    if not reason and rollout.outcome not in _OUTCOMES:
        reason = rollout.outcome.value if rollout.outcome else "ungraded"
    if reason or rollout.outcome is None:
        dropped[reason] += 1
        return None
    labels = (None,) * (len(rollout.steps) - 1) + (_OUTCOMES[rollout.outcome],)
    return StepRow(
        prompt=rollout.problem.problem,
        completions=rollout.steps,
        labels=labels,
        group=rollout.problem.unique_id,
        source="outcome",
        path=path,
        line=line,
    )


def _view(label: StepLabel, view: LabelView, path: str, line: int) -> float | None:
    try:
        value = label.hard if view == "hard" else label.soft
    except DataError as error:
        raise DataError(error.what, path=path, line=line, remedy=error.remedy) from None
    if value is not None and not 0 <= value <= 1:
        raise DataError(f"a label of {value}", path=path, line=line, remedy="Labels lie between 0 (wrong) and 1")
    return None if value is None else float(value)


def _stepwise(record: dict[str, Any], kind: Kind, view: LabelView, path: str, line: int) -> StepRow:
    """Read one row of TRL's stepwise format; `n_correct` and `n_total`, where given, win over `labels`."""
    prompt, steps, values = _checked_columns(record, path, line)
    columns = [_per_step(record, name, steps, path, line) for name in OPTIONAL_COLUMNS[:3]]
    marks = [_mark(*mark, path=path, line=line) for mark in zip(values, *columns, strict=True)]
    labels = [_view(mark, view, path, line) for mark in marks]
    hard: list[float | None] = [mark.hard for mark in marks]
    if kind == "orm":
        unknown = [None] * (len(steps) - 1)
        labels, hard = [*unknown, labels[-1]], [*unknown, hard[-1]]
    if all(label is None for label in labels):
        what = "no label on the last step, which is the solution's" if kind == "orm" else "a row without any label"
        raise DataError(what, path=path, line=line, remedy="Label at least one step, or delete the row")
    return StepRow(
        prompt=prompt,
        completions=tuple(steps),
        labels=tuple(labels),
        group=str(record.get("unique_id") or problem_id(prompt)),
        source="+".join(sorted({mark.source for mark in marks})),
        hard=tuple(hard),
        path=path,
        line=line,
    )


def _mark(value: float | None, n_correct: Any, n_total: Any, source: Any, *, path: str, line: int) -> StepLabel:
    right, total = (0 if count is None else count for count in (n_correct, n_total))
    if not all(type(count) is int for count in (right, total)) or not 0 <= right <= total:
        raise DataError(
            f"n_correct is {n_correct!r} and n_total {n_total!r}",
            path=path,
            line=line,
            remedy="Give the number of completions and how many of them were right, or drop both columns",
        )
    return StepLabel(str(source or "labels"), right, total, value=value)


def _checked_columns(record: dict[str, Any], path: str, line: int) -> tuple[str, list[str], list[float | None]]:
    def refuse(what: str, remedy: str) -> DataError:
        return DataError(what, path=path, line=line, remedy=remedy)

    if missing := [name for name in REQUIRED_COLUMNS if name not in record]:
        raise refuse(f"no {missing[0]!r} in a row with the columns {sorted(record)}", "Rename the column, or add it")
    if unknown := sorted(set(record) - {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}):
        known = ", ".join((*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))
        raise refuse(f"the unknown column {unknown[0]!r}", f"Rename or remove it; known are {known}")
    prompt, steps, labels = (record[name] for name in REQUIRED_COLUMNS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise refuse("the prompt is not a text, or is empty", "Give the problem as text")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise refuse("completions is not a list of texts, or is empty", "Give one text per step, and at least one")
    if not isinstance(labels, list):
        raise refuse("labels is not a list", "Give one label per step")
    if len(labels) != len(steps):
        raise refuse(f"{len(labels)} labels for {len(steps)} steps", "Every step needs exactly one label, or null")
    for label in labels:
        if label is not None and not (isinstance(label, bool | int | float) and 0 <= label <= 1):
            raise refuse(f"the label {label!r}", "A label is true, false, null, or from 0 (wrong) to 1 (correct)")
    return prompt, steps, [None if label is None else float(label) for label in labels]


def _per_step(record: dict[str, Any], name: str, steps: Sequence[str], path: str, line: int) -> list[Any]:
    """The column's value for each step; a single source holds for all of them."""
    values = record.get(name)
    if values is None or isinstance(values, str):
        return [values] * len(steps)
    if not isinstance(values, list) or len(values) != len(steps):
        raise DataError(f"{name} is not one value per step", path=path, line=line, remedy=f"Mend or drop {name}")
    return values
