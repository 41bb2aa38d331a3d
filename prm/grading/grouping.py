"""Answers into classes that vote together.

Math-Verify's equality is not transitive (10% equals .1 and equals 10, which differ) and not symmetric, so classes
cannot simply be its equal pairs. Here the distinct spellings are put into a fixed order, plain numbers first, and each
joins the first class whose *representative*, its first member, equals it in either direction. Classes are therefore a
function of the set of answers and never of their order; and no answer links two representatives that differ, as a
closure over all equal pairs would (10 and .1, through 10%).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.grading.answers import normalise_answer, quick_outcome
from prm.grading.grader import ExactGrader, Grader
from prm.grading.plain_numbers import PlainNumber, parse_number, same_vote
from prm.rollouts import Outcome


@dataclass(frozen=True)
class _Form:
    """A distinct normalised answer, and the plain number it is, if it is one."""

    text: str
    number: PlainNumber | None

    @property
    def rank(self) -> tuple[int, int, str]:
        """Integers and fractions, decimals, percentages, all else; short before long."""
        kind = 3 if self.number is None else 2 if self.number.percent else 1 if self.number.decimal else 0
        return kind, len(self.text), self.text


def group_answers(answers: Sequence[str | None], grader: Grader | None = None) -> list[int]:
    """Class ids for voting: equal ids vote together; -1 for `None` or blank, which does not vote.

    Ids count up in order of first appearance; which answers share one does not depend on the order.

    Args:
        answers: final answers, as extracted.
        grader: decides what spelling and exact arithmetic do not (default: nothing more). Equal spellings and pairs of
            plain numbers never reach it.
    """
    forms = [None if answer is None or not answer.strip() else normalise_answer(answer) for answer in answers]
    class_of = _classes({form for form in forms if form is not None}, grader or ExactGrader())
    ids: dict[str, int] = {}
    return [-1 if form is None else ids.setdefault(class_of[form], len(ids)) for form in forms]


def _classes(texts: set[str], grader: Grader) -> dict[str, str]:
    """Map every distinct form to its class's representative."""
    remaining = sorted((_Form(text, parse_number(text)) for text in texts), key=lambda form: form.rank)
    representatives: dict[str, str] = {}
    alone: set[str] = set()
    while remaining:
        first, *rest = remaining
        representatives[first.text] = first.text
        joins = _equal_to(first, rest, grader, alone)
        representatives.update(dict.fromkeys(joins, first.text))
        remaining = [form for form in rest if form.text not in joins]
    return representatives


def _equal_to(first: _Form, rest: Sequence[_Form], grader: Grader, alone: set[str]) -> set[str]:
    """The texts among `rest` that equal `first`. Adds to `alone` what the grader cannot read or finish.

    Such an answer equals nothing but its own spelling; asking once, not once a class, keeps a vote over hostile
    answers from costing a deadline each time.
    """
    equal, unsettled = set(), []
    for form in rest:
        known = _without_grader(first, form)
        if known:
            equal.add(form.text)
        elif known is None and first.text not in alone and form.text not in alone:
            unsettled.append(form.text)
    forth = grader.grade_many([(text, first.text) for text in unsettled])
    for text, outcome in zip(unsettled, forth, strict=True):
        if outcome is Outcome.CORRECT:
            equal.add(text)
        elif outcome in (Outcome.UNPARSABLE, Outcome.TIMEOUT):
            alone.add(text)
    back = [text for text in unsettled if text not in equal and text not in alone]
    outcomes = grader.grade_many([(first.text, text) for text in back])
    return equal | {text for text, outcome in zip(back, outcomes, strict=True) if outcome is Outcome.CORRECT}


def _without_grader(a: _Form, b: _Form) -> bool | None:
    if a.number is not None and b.number is not None:
        return same_vote(a.number, b.number)
    outcome = quick_outcome(a.text, b.text)
    return None if outcome is None else outcome is Outcome.CORRECT
