"""Rows in, records out, and back: what every format shares.

A row says some things in its own way (a truth value for a number, two spaces for one, a column of its own). What
rendering the record would not give back is kept in the record's `extra` and is put back as long as the record still
says the same, so that a row survives the way through any of our files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from prm.errors import DataError
from prm.labels import FIXED_RULE, SHARE_RULE, StepLabel

from . import recognised
from .base import Format, NotHeldError, Record, Row, Where

FORM = "as_written"
BORDER = "the border between the problem and its steps"


def read_records(form: Format, row: Row, where: Where, *, keep_form: bool = True) -> list[Record]:
    """The records of a row; `keep_form` remembers how it was written.

    Raises:
        DataError: missing columns, or a value that cannot be read.
    """
    if missing := [name for name in form.columns if name not in row]:
        other = recognised(row)
        remedy = f"It looks like {other.name}: set the format to that" if other else "Rename the column, or add it"
        raise where.error(f"no {missing[0]!r} for {form.name} in a row with the columns {sorted(row)}", remedy)
    try:
        records = form.parse(row, where)
    except (KeyError, IndexError, TypeError, AttributeError) as error:  # a nested value that is not what it should be
        raise where.error(f"not a row of {form.name} ({type(error).__name__}: {error})", "Mend it") from error
    if keep_form:
        records[0] = _with_form(form, row, records[0])
    return records


def write_row(form: Format, record: Record) -> Row:
    """The row of a record, in its old form where the record came from this format and says the same.

    Raises:
        NotHeldError: the format cannot hold it.
    """
    row = form.render(record)
    kept = record.extra.get(form.name, {}).get(FORM)
    if kept is None:
        return row
    old = {name: value for name, value in row.items() if name not in kept["absent"]} | kept["columns"]
    try:
        again = form.parse(old, Where(line=record.rollout.sample_index + 1))[0]
    except (DataError, KeyError, IndexError, TypeError, AttributeError):
        return row
    return old if again.labelled == record.labelled else row


def lost_fields(form: Format, record: Record, row: Row) -> Iterator[str]:
    """What of a record a row does not hold, found by reading it back. What the record does not say is not lost."""
    try:
        again = form.parse(row, Where(line=record.rollout.sample_index + 1))[0]
    except DataError:
        yield BORDER
        return
    if (record.problem.problem, record.rollout.steps) != (again.problem.problem, again.rollout.steps):
        yield BORDER
    else:
        yield from _lost_of_rollout(record, again)
    if len(record.labels) == len(again.labels):
        lost = {kind for old, new in zip(record.labels, again.labels, strict=True) for kind in _lost_of(old, new)}
        yield from sorted(lost)
    if record.labelled.cost != again.labelled.cost:
        yield "the cost of labelling"
    if any(name != form.name and set(facts) - {FORM} for name, facts in record.extra.items()) and not again.extra:
        yield "facts of the original format"


def _lost_of_rollout(record: Record, again: Record) -> Iterator[str]:
    for name in ("answer", "unique_id", "level", "subject"):
        if getattr(record.problem, name) not in ("", getattr(again.problem, name)):
            yield name
    for name, words in _ROLLOUT_FIELDS.items():
        if getattr(record.rollout, name) not in (None, getattr(again.rollout, name)):
            yield words


_ROLLOUT_FIELDS = {
    "gaps": "the text between steps",
    "stop_reason": "stop_reason",
    "source": "source of the rollout",
    "pred": "pred",
    "outcome": "outcome",
    "seed": "seed",
    "cost": "the cost of sampling",
}


def _lost_of(old: StepLabel, new: StepLabel) -> Iterator[str]:
    if old.hard != new.hard:
        yield "hard labels"
    if _soft(old) != _soft(new):
        yield "soft values"
    if _counts(old) != _counts(new):
        yield "counts of completions"
    if old.source != new.source:
        yield "source of the labels"


def _counts(label: StepLabel) -> tuple[int, int, int, str]:
    """A share without counts loses none; what its rule says is the hard label."""
    rule = FIXED_RULE if label.rule.startswith(SHARE_RULE) else label.rule
    return label.n_correct, label.n_total, label.n_undecided, rule


def _soft(label: StepLabel) -> float | None:
    try:
        return label.soft
    except DataError:
        return None


def _with_form(form: Format, row: Row, record: Record) -> Record:
    try:
        plain = form.render(record)
    except NotHeldError:
        plain = {}
    if plain == row and _dumped(plain) == _dumped(row):
        return record
    columns = {name: row[name] for name in row if name not in plain or _dumped(plain[name]) != _dumped(row[name])}
    absent = [name for name in plain if name not in row]
    if not columns and not absent:
        return record
    own = {**record.extra.get(form.name, {}), FORM: {"columns": columns, "absent": absent}}
    return replace(record, extra={**record.extra, form.name: own})


def _dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
