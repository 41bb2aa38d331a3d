"""What every format of step-labelled data is: rows that are parsed into records, and records rendered as rows.

A record is a labelled rollout, and beside it, under the format's name, what that format holds beyond one. Files,
command lines and counts are `data_gen.row_files`' and `data_gen.convert`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from prm.errors import DataError
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem, problem_id
from prm.rollouts import Outcome, Rollout, StopReason

STEP_GAP = "\n\n"  # formats that list their steps do not say what stood between them; an empty line is assumed

Row = dict[str, Any]


class NotHeldError(ValueError):
    """A record that a format cannot hold at all; the text says why, in one clause that fits all such records."""


@dataclass(frozen=True)
class Where:
    """Where a row stands, for messages and to number rollouts by."""

    path: str = ""
    line: int | None = None

    @property
    def index(self) -> int:
        """The row's number, from 0."""
        return (self.line or 1) - 1

    def error(self, what: str, remedy: str) -> DataError:
        return DataError(what, path=self.path or None, line=self.line, remedy=remedy)


@dataclass(frozen=True)
class Record:
    """A labelled rollout, and under a format's name what that format holds beyond it."""

    labelled: LabelledRollout
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rollout(self) -> Rollout:
        return self.labelled.rollout

    @property
    def problem(self) -> Problem:
        return self.labelled.rollout.problem

    @property
    def labels(self) -> tuple[StepLabel, ...]:
        return self.labelled.labels


class Format(Protocol):
    """One layout of rows. `columns` are those that every row has, by which it is also recognised."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def parse(self, row: Row, where: Where) -> list[Record]:
        """The records of a row that has the columns; the first one is the row's own.

        Raises:
            DataError: a value that cannot be read, with its place.
        """
        ...

    def render(self, record: Record) -> Row:
        """The row of a record.

        Raises:
            NotHeldError: the format cannot hold it.
        """
        ...


def imported(
    problem: str,
    steps: Sequence[str],
    labels: Sequence[StepLabel],
    where: Where,
    *,
    source: str,
    answer: str = "",
    unique_id: str = "",
    subject: str = "",
    gaps: Sequence[str] | None = None,
    outcome: Outcome | None = None,
    pred: str | None = None,
    stop_reason: StopReason = StopReason.EOS,
    extra: Mapping[str, Any] | None = None,
) -> Record:
    """A record of another project's row. `sample_index` is the row's number, so that keys differ within a file.

    Raises:
        DataError: no problem, or another number of labels than steps.
    """
    if not isinstance(problem, str) or not problem.strip():
        raise where.error("the problem is not a text, or is empty", "Fill it in, or delete the row")
    if len(labels) != len(steps):
        raise where.error(f"{len(labels)} labels for {len(steps)} steps", "Every step needs exactly one label")
    rollout = Rollout(
        problem=Problem(problem, answer, unique_id or problem_id(problem), subject=subject),
        steps=tuple(steps),
        gaps=tuple(gaps) if gaps is not None else default_gaps(len(steps)),
        sample_index=where.index,
        stop_reason=stop_reason,
        source=source,
        pred=pred,
        outcome=outcome,
    )
    return Record(LabelledRollout(rollout, tuple(labels)), extra or {})


def default_gaps(n_steps: int) -> tuple[str, ...]:
    """The gaps of a solution whose format only lists its steps."""
    return ("", *[STEP_GAP] * (n_steps - 1), "") if n_steps else ("",)


def column(row: Row, name: str, kind: type | tuple[type, ...], what: str, where: Where) -> Any:
    """A column's value, checked to be of a type.

    Raises:
        DataError: it is something else.
    """
    value = row[name]
    if not isinstance(value, kind):
        raise where.error(f"{name} is {_short(value)}, not {what}", "Mend or delete the row")
    return value


def texts(row: Row, name: str, where: Where) -> list[str]:
    """A column that is a list of texts.

    Raises:
        DataError: it is something else.
    """
    value: list[str] = column(row, name, list, "a list of texts", where)
    if not all(isinstance(text, str) for text in value):
        raise where.error(f"{name} is not a list of texts", "Mend or delete the row")
    return value


def in_unit_interval(value: Any) -> bool:
    """Whether it is a number from 0 to 1, and no truth value."""
    return type(value) in (int, float) and 0 <= value <= 1


def hard_value(label: StepLabel) -> float | None:
    """The hard label as a number."""
    return None if label.hard is None else float(label.hard)


def soft_value(label: StepLabel) -> float | None:
    """The soft value.

    Raises:
        NotHeldError: the sampling stopped by a rule that biases it.
    """
    try:
        return label.soft
    except DataError:
        raise NotHeldError(f"a soft value that the rule {label.rule.split(':')[0]!r} would bias") from None


def outcome_of_last(labels: Sequence[StepLabel]) -> Outcome | None:
    """The outcome, where the last step's mark is that of the finished solution (completing it adds nothing)."""
    hard = labels[-1].hard if labels else None
    return None if hard is None else Outcome.CORRECT if hard else Outcome.WRONG


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
