"""RLHFlow's chat turns (RLHFlow/Mistral-PRM-Data, Deepseek-PRM-Data): `conversations`, a list of turns with `role` and
`content`. The first user turn is the problem, a space and the first step, every later one a step; the assistant
answers "+" or "-". A user turn without an answer is a step without a label.

It cannot hold soft values, counts, sources, the reference answer, the text between the steps, or costs; where the
first step does not begin with "Step 1:" (and the problem is not one question), the border between problem and first
step is lost. The last mark is that of the finished solution, and is read as its outcome.
"""

from __future__ import annotations

from typing import Any

from prm.labels import StepLabel

from .base import Record, Row, Where, column, imported, outcome_of_last
from .first_step import first_step_start

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
        start = first_step_start(steps[0], where)
        problem, steps[0] = steps[0][:start].rstrip(), steps[0][start:]
        labels = [StepLabel(self.name, value=value) for value in values]
        steps = [step.strip() for step in steps]
        return [imported(problem, steps, labels, where, source=self.name, outcome=outcome_of_last(labels))]

    def render(self, record: Record) -> Row:
        turns: list[dict[str, str]] = []
        for index, (step, label) in enumerate(zip(record.rollout.steps, record.labels, strict=True)):
            content = step if index else f"{record.problem.problem} {step}"
            turns.append({"content": content, "role": "user"})
            if label.hard is not None:
                turns.append({"content": _SIGNS[label.hard], "role": "assistant"})
        return {"conversations": turns}


def _turn(turn: Any, where: Where) -> tuple[str, str]:
    if isinstance(turn, dict) and turn.get("role") in ("user", "assistant") and isinstance(turn.get("content"), str):
        return turn["role"], turn["content"]
    raise where.error(f"the turn {str(turn)[:60]!r}", "A turn has a role, user or assistant, and a content")
