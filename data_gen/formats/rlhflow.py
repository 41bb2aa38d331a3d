"""RLHFlow's chat turns (RLHFlow/Mistral-PRM-Data, Deepseek-PRM-Data): `conversations`, a list of turns with `role` and
`content`. The first user turn is the problem, a space and the first step, every later one a step; the assistant
answers "+" or "-". A user turn without an answer is a step without a label.

It cannot hold soft values, counts, sources, the reference answer, the text between the steps, or costs. Where the
turns alone do not show the problem and the steps (no "Step 1:", a step with space around it), a row that we write has
the problem in the column `problem` as well, and its turns are read to the letter. The last mark is that of the
finished solution, and is read as its outcome.
"""

from __future__ import annotations

from typing import Any

from prm.labels import StepLabel

from .base import NotHeldError, Record, Row, Where, column, imported, outcome_of_last
from .first_step import first_step_start, with_borders

_VALUES = {"+": 1.0, "-": 0.0}
_SIGNS = {1: "+", 0: "-"}


class RlhflowFormat:
    """Rows of RLHFlow's process reward data."""

    name = "rlhflow"
    columns: tuple[str, ...] = ("conversations",)

    def parse(self, row: Row, where: Where) -> list[Record]:
        steps: list[str] = []
        values: list[float | None] = []
        for turn in column(row, "conversations", list, "a list of turns", where):
            role, content = _turn(turn, where)
            if role == "user":
                steps.append(content)
                values.append(None)
            elif content.strip() in _VALUES and steps and values[-1] is None:
                values[-1] = _VALUES[content.strip()]
            else:
                raise where.error(
                    f"the assistant's turn {content[:40]!r} is no mark of a step", 'Answer each step with "+" or "-"'
                )
        if not steps:
            raise where.error("no user turn in it", "Give the problem and the first step, or delete the row")
        problem, steps = _listed(row, steps, where) if row.get("problem") is not None else _cut(steps, where)
        labels = [StepLabel(self.name, value=value) for value in values]
        return [imported(problem, steps, labels, where, source=self.name, outcome=outcome_of_last(labels))]

    def render(self, record: Record) -> Row:
        if not record.rollout.steps:
            raise NotHeldError("a solution without steps")
        turns: list[dict[str, str]] = []
        for index, (step, label) in enumerate(zip(record.rollout.steps, record.labels, strict=True)):
            content = step if index else f"{record.problem.problem} {step}"
            turns.append({"content": content, "role": "user"})
            if label.hard is not None:
                turns.append({"content": _SIGNS[label.hard], "role": "assistant"})
        return with_borders(self, record, {"conversations": turns}, {"problem": record.problem.problem})


def _cut(turns: list[str], where: Where) -> tuple[str, list[str]]:
    """The problem and the steps of turns that show them by their words."""
    start = first_step_start(turns[0], where)
    return turns[0][:start].rstrip(), [step.strip() for step in (turns[0][start:], *turns[1:])]


def _listed(row: Row, turns: list[str], where: Where) -> tuple[str, list[str]]:
    """The same of turns to the letter, whose problem stands beside them."""
    start = f"{column(row, 'problem', str, 'a text', where)} "
    if not turns[0].startswith(start):
        raise where.error("the first turn does not begin with the problem", "Mend the column problem, or delete it")
    return start[:-1], [turns[0].removeprefix(start), *turns[1:]]


def _turn(turn: Any, where: Where) -> tuple[str, str]:
    if isinstance(turn, dict) and turn.get("role") in ("user", "assistant") and isinstance(turn.get("content"), str):
        return turn["role"], turn["content"]
    raise where.error(f"the turn {str(turn)[:60]!r}", "A turn has a role, user or assistant, and a content")
