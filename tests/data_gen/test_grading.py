"""Truncated texts are undecided; finished ones are graded."""

from __future__ import annotations

import pytest
from prm.data_gen.grading import GradedText, SampledText, grade_texts

from prm.grading import ExactGrader
from prm.rollouts import Outcome, StopReason


@pytest.mark.parametrize("reason", [StopReason.EOS, StopReason.STOP])
def test_finished_texts_are_graded(reason: StopReason) -> None:
    texts = [SampledText(text, reason, "42") for text in ("so\nA: 42", "so\nA: 41", "so")]
    assert grade_texts(texts, ExactGrader()) == [
        GradedText("42", Outcome.CORRECT),
        GradedText("41", Outcome.WRONG),
        GradedText(None, Outcome.UNPARSABLE),
    ]


@pytest.mark.parametrize("reason", [StopReason.LENGTH, StopReason.ERROR])
@pytest.mark.parametrize("text", ["A: 4", r"\boxed{42} but wait", ""])
def test_what_is_cut_off_is_undecided(reason: StopReason, text: str) -> None:
    finished = SampledText("A: 42", StopReason.EOS, "42")
    cut, done = grade_texts([SampledText(text, reason, "42"), finished], ExactGrader())
    assert cut == GradedText(None, None)
    assert done.outcome is Outcome.CORRECT
