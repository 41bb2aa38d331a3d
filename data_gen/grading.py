r"""Outcomes of sampled texts: what is truncated is left undecided, all else is graded.

A truncated text has no final answer yet, even where a `\boxed{...}` stands in it: what it states may be an
intermediate result, and a cut number would pass for a wrong one. Its answer and outcome stay `None`. Where a base
model rambles on behind its answer, a stop text is the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prm.grading import Grader, extract_answer
from prm.rollouts import Outcome, StopReason

FINISHED = (StopReason.EOS, StopReason.STOP)


@dataclass(frozen=True)
class SampledText:
    """A whole solution as text, why it ended, and the reference answer of its problem."""

    text: str
    stop_reason: StopReason
    reference: str


@dataclass(frozen=True)
class GradedText:
    """The final answer and its outcome; both `None` where the text is truncated."""

    pred: str | None
    outcome: Outcome | None


def grade_texts(texts: Sequence[SampledText], grader: Grader) -> list[GradedText]:
    """Grade many texts, in order. A finished text without an answer is `UNPARSABLE`."""
    finished = [i for i, text in enumerate(texts) if text.stop_reason in FINISHED]
    preds = {i: extract_answer(texts[i].text) for i in finished}
    outcomes = dict(zip(finished, grader.grade_many([(preds[i], texts[i].reference) for i in finished]), strict=True))
    return [GradedText(preds.get(i), outcomes.get(i)) for i in range(len(texts))]
