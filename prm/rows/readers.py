"""The formats of a training row: our `labels.jsonl` and `rollouts.jsonl`, and TRL's stepwise-supervision rows.

`Reading` says how one data set is read: for which objective, under which view of the labels and which policies. Files
and datasets of the Hub are `prm.rows.training_rows`', pairs of solutions `prm.rows.pairs`'.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from prm.errors import ConfigError, DataError
from prm.labels import SHARE_RULE, LabelledRollout, StepLabel
from prm.problems import problem_id
from prm.rollouts import Outcome, Rollout, StopReason
from prm.rows.label_policies import RATINGS, AfterFirstError, Neutral, are_shares, is_neutral, under_policies
from prm.rows.step_rows import Counts, Kind, LabelScale, LabelView, StepRow
from prm.sampling_rules import FIXED_RULE

REQUIRED_COLUMNS = ("prompt", "completions", "labels")
OPTIONAL_COLUMNS = ("n_correct", "n_total", "source", "unique_id")  # the first three: one value per step
FORMATS = "labels.jsonl, rollouts.jsonl, or rows with prompt, completions and labels"

_OUTCOMES = {Outcome.CORRECT: 1.0, Outcome.WRONG: 0.0}
_UNFINISHED = {StopReason.LENGTH: "truncated", StopReason.ERROR: "error"}
_RATINGS = {-1: 0.0, 0: 0.5, 1: 1.0}
_SHARED = {0.0: 0.0, 1.0: 1.0}  # one object for each of the two values that nearly all labels have


class LabelScaleError(DataError):
    """Labels on another scale than the one they are read by: not one bad row, but a whole file misread."""


@dataclass(frozen=True)
class Place:
    """Where a row stands, for messages."""

    path: str = ""
    line: int | None = None

    def error(self, what: str, remedy: str) -> DataError:
        return DataError(what, path=self.path, line=self.line, remedy=remedy)


@dataclass(frozen=True)
class Reading:
    """How the rows of one data set are read.

    Args:
        kind: `prm` keeps every step's label; `orm` puts one on the finished solution, 1 if its outcome is correct and
            0 if it is wrong. Rollouts that are truncated, ungraded, unparsable or without steps are dropped, counted.
        label_view: `hard` (0 or 1) or `soft` (a share of right completions) targets.
        label_source: what to call the source of the labels, whatever the rows say; empty keeps what they say.
        label_scale: of the column `labels` in TRL's rows: `unit` from 0 (wrong) to 1 (right), `ratings` PRM800K's -1
            (wrong), 0 (neutral) and 1 (right).
        neutral_labels, after_first_error: see `prm.rows.label_policies.under_policies`.

    Raises:
        ConfigError: none of the choices, or step labels' policy for an outcome model.
    """

    kind: Kind = "prm"
    label_view: LabelView = "hard"
    label_source: str = ""
    label_scale: LabelScale = "unit"
    neutral_labels: Neutral = "keep"
    after_first_error: AfterFirstError = "keep"

    def __post_init__(self) -> None:
        choices = {"label_scale": LabelScale, "neutral_labels": Neutral, "after_first_error": AfterFirstError}
        for name, values in ({"kind": Kind, "label_view": LabelView} | choices).items():
            if getattr(self, name) not in get_args(values):
                raise ConfigError(f"{name} must be {' or '.join(get_args(values))}, not {getattr(self, name)!r}")
        if self.kind == "orm" and self.after_first_error != "keep":
            raise ConfigError(
                f"after_first_error: {self.after_first_error} is about the labels of steps, of which an outcome model "
                "learns none; leave it out"
            )

    @property
    def rated(self) -> bool:
        """Whether all the labels are people's ratings, whatever the rows call their source."""
        return self.label_scale == "ratings"


@dataclass
class ReadCounts:
    """Rows left out, and labels that a policy was about; see `LoadedRows`."""

    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)


def read_row(record: dict[str, Any], reading: Reading, place: Place, counts: ReadCounts) -> StepRow | None:
    """The row of a record of any of the formats, or `None` where it is one to leave out, which is counted.

    Raises:
        DataError: it cannot be read.
    """
    if "chosen" in record and "rejected" in record:
        raise place.error(
            "a pair of a chosen and a rejected solution, not one solution",
            "Pairs are learnt by an outcome model under a pairwise loss (loss: bradley_terry)",
        )
    if "completions" in record or "prompt" in record:
        return read_stepwise(record, reading, place, counts)
    if "gaps" not in record:
        raise place.error(
            f"a row with the columns {sorted(record)}",
            f"Give {FORMATS}; `prm data convert` turns other formats into these",
        )
    if reading.rated:
        raise place.error("label_scale: ratings for a row of ours", "Leave it out: it is about TRL's column `labels`")
    if reading.kind == "orm":
        return _outcome_row(Rollout.from_dict(record, path=place.path, line=place.line), reading, place, counts)
    if "labels" not in record:
        raise place.error(
            "a rollout without step labels",
            "A PRM learns from the labels.jsonl of `prm label`; an ORM (objective: orm) learns from rollouts",
        )
    labelled = LabelledRollout.from_dict(record, path=place.path, line=place.line)
    return _labelled_row(labelled, reading, place, counts)


def read_stepwise(record: dict[str, Any], reading: Reading, place: Place, counts: ReadCounts) -> StepRow | None:
    """The row of a record in TRL's stepwise format. `n_correct` and `n_total`, where given, win over `labels`; a
    number without them is right from 0.5 up, or from any success on where its source is one of `SHARES`."""
    prompt, steps, values = _checked_columns(record, reading.label_scale, place)
    columns = [_per_step(record, name, steps, place) for name in OPTIONAL_COLUMNS[:3]]
    marks = [_mark(*mark, reading=reading, place=place) for mark in zip(values, *columns, strict=True)]
    known = marks[-1:] if reading.kind == "orm" else marks
    if all(mark.value is None and not mark.n_total for mark in known):
        what = (
            "no label on the last step, which is the solution's"
            if reading.kind == "orm"
            else "a row without any label"
        )
        raise place.error(what, "Label at least one step, or delete the row")
    group = str(record.get("unique_id") or problem_id(prompt))
    return _row_of_marks(prompt, tuple(steps), marks, group, reading, place, counts)


def _labelled_row(labelled: LabelledRollout, reading: Reading, place: Place, counts: ReadCounts) -> StepRow | None:
    rollout = labelled.rollout
    if not rollout.steps:
        counts.dropped["no steps"] += 1
        return None
    problem = rollout.problem
    return _row_of_marks(problem.problem, rollout.steps, labelled.labels, problem.unique_id, reading, place, counts)


def _row_of_marks(
    prompt: str,
    steps: tuple[str, ...],
    marks: Sequence[StepLabel],
    group: str,
    reading: Reading,
    place: Place,
    counts: ReadCounts,
) -> StepRow | None:
    """The row of steps with what is known of each, under the policies and the view."""
    source = reading.label_source or "+".join(sorted({mark.source for mark in marks}))
    marks = _under_policies(marks, reading, counts)
    if reading.kind == "orm":
        marks = [*(StepLabel(mark.source) for mark in marks[:-1]), marks[-1]]
    labels = tuple(_view(mark, reading.label_view, place) for mark in marks)
    if all(label is None for label in labels):
        counts.dropped["no decided label"] += 1
        return None
    n_correct, n_total = _counts(marks) if reading.kind == "prm" else (None, None)
    return StepRow(
        prompt=prompt,
        completions=steps,
        labels=labels,
        group=group,
        source=sys.intern(source),
        hard=None if reading.label_view == "hard" else tuple(_shared(mark.hard) for mark in marks),
        path=place.path,
        line=place.line,
        n_correct=n_correct,
        n_total=n_total,
    )


def _under_policies(marks: Sequence[StepLabel], reading: Reading, counts: ReadCounts) -> Sequence[StepLabel]:
    rated = reading.rated or reading.label_source in RATINGS
    counts.changed["neutral"] += sum(is_neutral(mark, rated=rated) for mark in marks)
    if reading.after_first_error == reading.neutral_labels == "keep":
        return marks
    rerated = under_policies(marks, reading.neutral_labels, "keep", rated=rated)
    changed = under_policies(rerated, "keep", reading.after_first_error)
    counts.changed["after_first_error"] += sum(old.hard != new.hard for old, new in zip(rerated, changed, strict=True))
    return changed


def _counts(marks: Sequence[StepLabel]) -> tuple[Counts | None, Counts | None]:
    if not any(mark.n_total for mark in marks):
        return None, None
    right = tuple(mark.n_correct if mark.n_total else None for mark in marks)
    return right, tuple(mark.n_total or None for mark in marks)


def _outcome_row(rollout: Rollout, reading: Reading, place: Place, counts: ReadCounts) -> StepRow | None:
    reason = _UNFINISHED.get(rollout.stop_reason) or ("no steps" if not rollout.steps else "")
    if not reason and rollout.outcome not in _OUTCOMES:
        reason = rollout.outcome.value if rollout.outcome else "ungraded"
    if reason or rollout.outcome is None:
        counts.dropped[reason] += 1
        return None
    return StepRow(
        prompt=rollout.problem.problem,
        completions=rollout.steps,
        labels=(None,) * (len(rollout.steps) - 1) + (_OUTCOMES[rollout.outcome],),
        group=rollout.problem.unique_id,
        source=reading.label_source or "outcome",
        path=place.path,
        line=place.line,
    )


def _view(mark: StepLabel, view: LabelView, place: Place) -> float | None:
    try:
        value = mark.hard if view == "hard" else mark.soft
    except DataError as error:
        raise place.error(error.what, error.remedy) from None
    if value is not None and not 0 <= value <= 1:
        raise place.error(f"a label of {value}", "Labels lie between 0 (wrong) and 1")
    return _shared(value)


def _shared(value: float | None) -> float | None:
    return None if value is None else _SHARED.get(value, float(value))


def _mark(
    value: float | None, n_correct: Any, n_total: Any, source: Any, *, reading: Reading, place: Place
) -> StepLabel:
    right, total = (0 if count is None else count for count in (n_correct, n_total))
    if not (type(right) is int and type(total) is int and 0 <= right <= total):
        raise place.error(
            f"n_correct is {n_correct!r} and n_total {n_total!r}",
            "Give the number of completions and how many of them were right, or drop both columns",
        )
    rule = SHARE_RULE if not total and are_shares(reading.label_source or str(source or "")) else FIXED_RULE
    return StepLabel(str(source or "labels"), right, total, rule=rule, value=value)


def _checked_columns(
    record: dict[str, Any], scale: LabelScale, place: Place
) -> tuple[str, list[str], list[float | None]]:
    if missing := [name for name in REQUIRED_COLUMNS if name not in record]:
        raise place.error(
            f"no {missing[0]!r} in a row with the columns {sorted(record)}", "Rename the column, or add it"
        )
    if unknown := sorted(set(record) - {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS}):
        known = ", ".join((*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS))
        raise place.error(f"the unknown column {unknown[0]!r}", f"Rename or remove it; known are {known}")
    prompt, steps, labels = (record[name] for name in REQUIRED_COLUMNS)
    if not isinstance(prompt, str) or not prompt.strip():
        raise place.error("the prompt is not a text, or is empty", "Give the problem as text")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        raise place.error("completions is not a list of texts, or is empty", "Give one text per step, one or more")
    if not isinstance(labels, list):
        raise place.error("labels is not a list", "Give one label per step")
    if len(labels) != len(steps):
        raise place.error(f"{len(labels)} labels for {len(steps)} steps", "Every step needs one label, or null")
    return prompt, steps, [_value(label, scale, place) for label in labels]


def _value(label: Any, scale: LabelScale, place: Place) -> float | None:
    """The value in [0, 1] of a label as written."""
    if label is None:
        return None
    number = isinstance(label, int | float) and not isinstance(label, bool)
    if scale == "ratings":
        if number and label in _RATINGS:
            return _RATINGS[label]
        raise place.error(
            f"the rating {label!r}", "With label_scale: ratings a label is -1 (wrong), 0 (neutral), 1 (right) or null"
        )
    if number and label == -1:
        raise LabelScaleError(
            "the label -1",
            path=place.path,
            line=place.line,
            remedy="A label is true, false, null, or from 0 (wrong) to 1 (right). If these are ratings (-1 wrong, 0 "
            "neutral, 1 right), set label_scale: ratings, and neutral_labels for what becomes of 0",
        )
    if isinstance(label, bool) or (number and 0 <= label <= 1):
        return float(label)
    raise place.error(f"the label {label!r}", "A label is true, false, null, or from 0 (wrong) to 1 (correct)")


def _per_step(record: dict[str, Any], name: str, steps: Sequence[str], place: Place) -> list[Any]:
    """The column's value for each step; a single source holds for all of them."""
    values = record.get(name)
    if values is None or isinstance(values, str):
        return [values] * len(steps)
    if not isinstance(values, list) or len(values) != len(steps):
        raise place.error(f"{name} is not one value per step", f"Mend or drop {name}")
    return values
