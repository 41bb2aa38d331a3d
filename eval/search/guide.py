"""The verifier's part of a tree search: scores of branches, each text read and billed once, and what may be forgotten.

The session decides what is read anew (`prm.eval.search.sessions`); this file turns texts into steps, folds step scores
and writes the bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from prm.aggregation import Aggregation, aggregate
from prm.verifier import StepScores

from ..steps import split_by
from .base import UNCHOOSABLE, StepVerifier
from .sessions import Item, scoring_session
from .tree import Branch, TreeSearch

REMEMBERED_TEXTS = 1 << 16

Score = Callable[[Sequence[Item]], list[StepScores | None]]


@dataclass(frozen=True)
class Question:
    """A branch to be scored by a text: its own, or what it was looked ahead to."""

    search: TreeSearch
    branch: Branch
    text: str


class Guide:
    """Scores the branches of one run; `aggregation` folds step scores into what ranks them."""

    def __init__(self, verifier: StepVerifier, aggregation: Aggregation):
        self.session, self.aggregation = scoring_session(verifier), aggregation
        self.separator = verifier.spec.step_format.text_separator
        self._steps = lru_cache(REMEMBERED_TEXTS)(self._split)  # a text is asked about, scored and kept

    def scored(self, open_ones: Sequence[Question], finished: Sequence[Question]) -> list[Branch]:
        """The branches with their scores, the open ones first; one call for all of them, unless finished solutions
        are scored otherwise than beginnings (by an ensemble with an ORM in it)."""
        finish = getattr(self.session, "score_finished", None)
        questions = [*open_ones, *finished]
        if finish is None:
            found = self._answers(questions, self.session.score)
        else:
            found = self._answers(open_ones, self.session.score) + self._answers(finished, finish)
        return [self._scored(question, answer) for question, answer in zip(questions, found, strict=True)]

    def retain(self, branches: Iterable[tuple[TreeSearch, Branch]]) -> None:
        """Let the session forget everything but the beginnings of these."""
        items = {(search.problem.problem, branch.text): None for search, branch in branches}
        self.session.retain([(problem, self._steps(text)) for problem, text in items])

    def _answers(self, questions: Sequence[Question], score: Score) -> list[StepScores | None]:
        """What the session says to each question; equal texts of a problem are asked, and billed, once."""
        asked: dict[tuple[int, str], tuple[TreeSearch, Item]] = {}
        for one in questions:
            steps = self._steps(one.text)
            if steps:
                asked.setdefault((id(one.search), one.text), (one.search, (one.search.problem.problem, steps)))
        answers = score([item for _, item in asked.values()]) if asked else []
        for (search, _), answer in zip(asked.values(), answers, strict=True):
            if answer:
                search.bill_reading(answer)
        found = dict(zip(asked, answers, strict=True))
        return [found.get((id(one.search), one.text)) for one in questions]

    def _scored(self, question: Question, answer: StepScores | None) -> Branch:
        scores = answer.scores if answer else ()
        score = aggregate(scores, self.aggregation) if scores else UNCHOOSABLE
        branch = replace(question.branch, step_scores=scores, score=score)
        if answer:
            question.search.note_scores(branch, step=len(self._steps(branch.text)) - 1)
        return branch

    def _split(self, text: str) -> tuple[str, ...]:
        return split_by(text, self.separator).steps
