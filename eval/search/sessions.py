"""A verifier for the length of one search: it reads each token of a growing tree once, where it can keep state.

Solutions are found again by their content, the problem and its steps: `score` reads what is new behind the longest
beginning that it knows, and returns all scores. A verifier that cannot keep state (a server, one in memory) reads
everything each time; the bill says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from prm.verifier import StepScores

from ..steps import score_safely
from .base import StepVerifier

Item = tuple[str, tuple[str, ...]]
"""A problem and the steps of a solution, finished or not."""


class ScoringSession(Protocol):
    """What a search asks for scores.

    `keeps_state` tells whether a beginning is read once only; `peak_cache_bytes` is the most that its caches held at a
    time, 0 where unknown.
    """

    keeps_state: bool
    peak_cache_bytes: int

    def score(self, items: Sequence[Item]) -> list[StepScores | None]:
        """All scores of every item, in order; `tokens` and `attended` count what was read now. `None` for one that the
        verifier refuses (longer than it reads)."""
        ...

    def retain(self, items: Iterable[Item]) -> None:
        """Let go of everything but what the next calls may extend."""
        ...


def scoring_session(verifier: StepVerifier) -> ScoringSession:
    """The verifier's own session, where it has one (a method `session`); else one that keeps nothing."""
    own = getattr(verifier, "session", None)
    session: ScoringSession = own() if own is not None else Rescoring(verifier)
    return session


class Rescoring:
    """A verifier that reads every solution from its beginning."""

    keeps_state = False
    peak_cache_bytes = 0

    def __init__(self, verifier: StepVerifier):
        self.verifier = verifier

    def score(self, items: Sequence[Item]) -> list[StepScores | None]:
        return score_safely(self.verifier, items)

    def retain(self, items: Iterable[Item]) -> None:
        pass
