r"""Outcomes of sampled texts: what is truncated is left undecided, all else is graded.

A truncated text has no final answer yet, even where a `\boxed{...}` stands in it: what it states may be an
intermediate result, and a cut number would pass for a wrong one. Its answer and outcome stay `None`. Where a base
model rambles on behind its answer, a stop text is the remedy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prm.grading import Grader, extract_answer
from prm.jsonl import dumps
from prm.ledger import Ledger
from prm.rollouts import Outcome, StopReason

FINISHED = (StopReason.EOS, StopReason.STOP)
_GRADED_TOGETHER = 2048  # verdicts a kill may cost


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


def grade_once(keys: Sequence[str], texts: Sequence[SampledText], grader: Grader, ledger: Ledger) -> list[GradedText]:
    """Grade texts as `grade_texts` does, those from the ledger aside whose verdicts are there. Verdicts are keyed by
    the sample's key, the reference and the grader's version, so that a new grader samples nothing again.

    Args:
        keys: the ledger's key of each text's sample; equal keys are one sample.
    """
    names = [_verdict_key(key, text.reference, grader.version) for key, text in zip(keys, texts, strict=True)]
    missing = list({name: at for at, name in enumerate(names) if name not in ledger}.values())
    for start in range(0, len(missing), _GRADED_TOGETHER):
        some = missing[start : start + _GRADED_TOGETHER]
        graded = grade_texts([texts[at] for at in some], grader)
        ledger.append({names[at]: _verdict(one) for at, one in zip(some, graded, strict=True)})
    return [_graded(ledger[name]) for name in names]


def _verdict_key(key: str, reference: str, grader_version: str) -> str:
    return hashlib.sha256(dumps([key, reference, grader_version]).encode()).hexdigest()[:32]


def _verdict(graded: GradedText) -> dict[str, Any]:
    return {"pred": graded.pred, "outcome": graded.outcome.value if graded.outcome else None}


def _graded(record: dict[str, Any]) -> GradedText:
    return GradedText(record["pred"], Outcome(record["outcome"]) if record["outcome"] else None)
