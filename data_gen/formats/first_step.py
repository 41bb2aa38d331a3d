"""Where a text that runs problem and solution together is cut: two formats write it so and mark no border.

Rows of those projects show it by their words. A row that we write from another format may not, and then has columns
beside the format's own that say where the borders are; those who do not know them read the row as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prm.errors import DataError

from .base import Format, NotHeldError, Record, Row, Where

_FIRST_STEP = re.compile(r"step 1:", re.IGNORECASE)


def first_step_start(text: str, where: Where) -> int:
    """The index at which the first step of a solution begins.

    It is "Step 1:", as nearly all rows of Math-Shepherd and of RLHFlow's Mistral data have it; else what follows the
    only question mark. (TRL's conversion of Math-Shepherd does likewise, with a list of exceptions by hand.)

    Raises:
        DataError: neither is there.
    """
    if match := _FIRST_STEP.search(text):
        return match.start()
    head, mark, rest = text.partition("?")
    if mark and "?" not in rest and rest.strip():
        return len(head) + 1 + len(rest) - len(rest.lstrip())
    raise where.error(
        "the problem and the first step cannot be told apart: there is no 'Step 1:', nor a single question mark",
        "Write 'Step 1:' before the first step, or delete the row",
    )


def with_borders(form: Format, record: Record, row: Row, borders: Mapping[str, Any]) -> Row:
    """A rendered row, with the columns `borders` where it would not be read back as the same problem, steps and hard
    labels without them.

    Raises:
        NotHeldError: it would not be with them, either.
    """
    for candidate in (row, {**row, **borders}):
        if _reads_back(form, record, candidate):
            return candidate
    raise NotHeldError("a problem and steps whose borders are lost where they become one text")


def _reads_back(form: Format, record: Record, row: Row) -> bool:
    try:
        again = form.parse(row, Where())[0]
    except DataError:
        return False
    return _held(again) == _held(record)


def _held(record: Record) -> tuple[Any, ...]:
    return record.problem.problem, record.rollout.steps, [label.hard for label in record.labels]
