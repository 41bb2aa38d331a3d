"""Math-Shepherd (arXiv 2312.08935; peiyi9979/Math-Shepherd): `input` is the problem and the solution with "ки" behind
each step, `label` the same text with + or - in the place of each "ки", `task` (GSM8K or MATH) becomes the subject.

    input  "...in a year? Step 1: She ... = 8 hours. ки\nStep 2: ... The answer is: 20800 ки"
    label  "...in a year? Step 1: She ... = 8 hours. +\nStep 2: ... The answer is: 20800 -"

A step without a tag is one without a label, and is read as part of the next one; behind the last tag it stands for
itself. Tags within the problem (a few rows have them, by mistake) are not labels of steps. The last mark is that of
the finished solution, and is read as its outcome.

It cannot hold soft values, counts, sources, the reference answer, or costs. Where the text alone does not show the
problem or the steps (no "Step 1:", steps without a label), a row that we write has them in the columns `problem` and
`steps` as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.labels import StepLabel

from .base import NotHeldError, Record, Row, Where, column, imported, outcome_of_last, texts
from .first_step import first_step_start, with_borders

TAG = "ки"
_VALUES = {"+": 1.0, "-": 0.0}
_SIGNS = {1: "+", 0: "-"}
_ANSWER = "The answer is:"


class MathShepherdFormat:
    """Rows of Math-Shepherd."""

    name = "math_shepherd"
    columns: tuple[str, ...] = ("input", "label", "task")

    def parse(self, row: Row, where: Where) -> list[Record]:
        text = column(row, "input", str, "a text", where)
        signs = _signs(text, column(row, "label", str, "a text", where), where)
        listed = row.get("problem") is not None and row.get("steps") is not None
        problem, steps, gaps, marks = _listed(row, text, signs, where) if listed else _cut(text, signs, where)
        labels = [StepLabel(self.name, value=_VALUES.get(mark)) for mark in marks]
        last = steps[-1] if steps else ""
        return [
            imported(
                problem,
                steps,
                labels,
                where,
                source=self.name,
                subject=column(row, "task", (str, type(None)), "a text", where) or "",
                gaps=gaps,
                outcome=outcome_of_last(labels),
                pred=last.rsplit(_ANSWER, 1)[1].strip() if _ANSWER in last else None,
            )
        ]

    def render(self, record: Record) -> Row:
        rollout = record.rollout
        if any(TAG in text for text in (record.problem.problem, *rollout.steps, *rollout.gaps)):
            raise NotHeldError(f"the text {TAG!r}, which the format keeps for its tags")
        start = f"{record.problem.problem} {rollout.gaps[0]}"
        signs = ["" if label.hard is None else _SIGNS[label.hard] for label in record.labels]
        marked = [
            "".join(
                f"{step}{' ' + mark if mark else ''}{gap}"
                for step, mark, gap in zip(rollout.steps, marks, rollout.gaps[1:], strict=True)
            )
            for marks in ([TAG if sign else "" for sign in signs], signs)
        ]
        row = {"input": start + marked[0], "label": start + marked[1], "task": record.problem.subject}
        borders = {"problem": record.problem.problem, "steps": list(rollout.steps)}
        return with_borders(self, record, row, borders)


def _signs(text: str, label: str, where: Where) -> list[str]:
    """The mark that stands in `label` for each tag of `text`."""
    signs, at = [], 0
    pieces = text.split(TAG)
    for piece in pieces[:-1]:
        at += len(piece)
        signs.append(label[at : at + 1])
        at += 1
    if not all(sign in _VALUES for sign in signs) or label != _joined(pieces, signs):
        raise where.error(f"label is not the input with + or - in the place of each {TAG!r}", "Mend or delete the row")
    return signs


def _joined(pieces: Sequence[str], signs: Sequence[str]) -> str:
    return "".join(piece + sign for piece, sign in zip(pieces, [*signs, ""], strict=True))


Parts = tuple[str, list[str], list[str], list[str]]  # problem, steps, gaps, and each step's mark: "+", "-" or ""


def _cut(text: str, signs: Sequence[str], where: Where) -> Parts:
    """The parts of a text that shows them by its words and tags."""
    start = first_step_start(text, where)
    problem = text[:start].replace(TAG, "")
    space = problem[len(problem.rstrip()) :]
    steps, gaps = _steps(text[start:], space.removeprefix(" "))
    marks = list(signs[text[:start].count(TAG) :])
    return problem.rstrip(), steps, gaps, marks + [""] * (len(steps) - len(marks))


def _listed(row: Row, text: str, signs: Sequence[str], where: Where) -> Parts:
    """The parts of a text whose problem and steps are listed beside it, found in it one behind the other."""
    problem, steps = column(row, "problem", str, "a text", where), texts(row, "steps", where)
    wrong = where.error("the input is not made of its problem and steps", "Mend both columns, or delete them")
    if not text.startswith(f"{problem} "):
        raise wrong
    left, gaps, marks = text[len(problem) + 1 :], list[str](), list[str]()
    coming = iter(signs[problem.count(TAG) :])
    for step in steps:
        if (at := left.find(step)) < 0:
            raise wrong
        gaps.append(left[:at])
        left = left[at + len(step) :]
        marks.append(next(coming) if left.startswith(f" {TAG}") else "")
        left = left.removeprefix(f" {TAG}")
    gaps.append(left)
    if any(TAG in gap for gap in gaps):
        raise wrong
    return problem, steps, gaps, marks


def _steps(solution: str, first_gap: str) -> tuple[list[str], list[str]]:
    """The steps of a tagged solution, and the texts around them without the tags and the space before each."""
    *pieces, rest = solution.split(TAG)
    steps, gaps = [], [first_gap]
    for piece in [*pieces, rest] if rest.strip() else pieces:
        step = piece.strip()
        gaps[-1] += piece[: len(piece) - len(piece.lstrip())]
        steps.append(step)
        gaps.append("")
    if not rest.strip():
        gaps[-1] += rest
    else:
        gaps[-1] += rest[len(rest.rstrip()) :]
    return steps, gaps
