"""Our `labels.jsonl`: a rollout with one label per step. It holds all that any other format does: what is not part
of a labelled rollout stands in the column `extra`, under the name of the format it came from, and comes back when the
row is converted to that format again. Every other stage ignores that column."""

from __future__ import annotations

import json
from typing import Any

from prm.labels import LabelledRollout

from .base import Record, Row, Where

EXTRA = "extra"


class LabelsFormat:
    """Rows of `prm label`."""

    name = "labels"
    columns: tuple[str, ...] = ("problem", "steps", "gaps", "sample_index", "stop_reason", "labels")

    def parse(self, row: Row, where: Where) -> list[Record]:
        row = without_nulls(without_nulls(row, "cost"), "label_cost")
        return [Record(LabelledRollout.from_dict(row, path=where.path, line=where.line), extra_of(row, where))]

    def render(self, record: Record) -> Row:
        return record.labelled.to_dict() | row_extra(record, self.name)


def extra_of(row: Row, where: Where) -> dict[str, Any]:
    """The column `extra`; Parquet holds it as JSON text, for its values have no common type.

    Raises:
        DataError: it is neither a mapping nor the JSON text of one.
    """
    value = row.get(EXTRA) or {}
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise where.error(f"{EXTRA} is not a mapping", "Delete that column, or mend the row")
    return value


def row_extra(record: Record, form: str) -> dict[str, Any]:
    """The column `extra` of a row of ours: what other formats hold beyond it."""
    others = {name: facts for name, facts in record.extra.items() if name != form}
    return {EXTRA: others} if others else {}


def without_nulls(row: Row, name: str) -> Row:
    """The row with the nulls in a mapping left out: Parquet fills them in where another row has the key."""
    value = row.get(name)
    if value is None or (isinstance(value, dict) and None in value.values()):
        value = {key: entry for key, entry in (value or {}).items() if entry is not None}
        return row | {name: value} if name in row else row
    return row
