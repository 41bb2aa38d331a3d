"""Where a text that runs problem and solution together is cut: two formats write it so and mark no border."""

from __future__ import annotations

import re

from .base import Where

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
