"""What becomes of neutral ratings, and of the labels behind the first wrong step: the same words and the same rule for
`prm data curate`, which writes the result, and `prm train`, which only learns from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from prm.labels import StepLabel

AfterFirstError = Literal["keep", "drop", "wrong"]
Neutral = Literal["keep", "right", "wrong", "drop"]

AFTER_FIRST_ERROR = "after_first_error"  # the source of labels that were set by the policy, not found
# Sources whose value without counts is a share of completions; a label of it is right from any success on.
SHARES = frozenset({"monte_carlo", "mc_values"})
RATINGS = frozenset({"prm800k"})  # sources whose value of 0.5 is a person's "neutral", not an estimate
_NEUTRAL_VALUES = {"right": 1.0, "wrong": 0.0, "drop": None}


def are_shares(source: str) -> bool:
    """Whether values that came without counts are shares of Monte Carlo completions, by what made them. Such a share
    is right from any success on, as counts are (Math-Shepherd, arXiv 2312.08935, eq. 3; `prm.labels.SHARE_RULE`); a
    verdict, a vote or a rating from 0.5 up.

    Args:
        source: one name, or several joined by `+`, which are of shares only where each of them is.
    """
    return bool(source) and set(source.split("+")) <= SHARES


def is_neutral(label: StepLabel, *, rated: bool = False) -> bool:
    """Whether a person called the step neither right nor wrong (PRM800K's rating 0, arXiv 2305.20050).

    Args:
        rated: the label is known to be a rating, whatever its source is called.
    """
    return (rated or label.source in RATINGS) and not label.n_total and label.value == 0.5


def under_policies(
    labels: Sequence[StepLabel], neutral: Neutral, after_first_error: AfterFirstError, *, rated: bool = False
) -> tuple[StepLabel, ...]:
    """Labels under both policies: neutral ratings first, for one that counts as wrong is a first error.

    Args:
        neutral: `keep` leaves the value 0.5 (which is right as a hard label), `right` and `wrong` say so, `drop`
            forgets it.
        after_first_error: `drop` forgets what is known behind the first wrong step, as PRM800K does: what follows a
            mistake may be right by itself, and a verifier that judges each step, folded by `min`, need not learn
            otherwise. `wrong` calls all of it wrong, with `AFTER_FIRST_ERROR` as the source.
        rated: see `is_neutral`.
    """
    marks = tuple(labels)
    if neutral != "keep":
        value = _NEUTRAL_VALUES[neutral]
        marks = tuple(replace(mark, value=value) if is_neutral(mark, rated=rated) else mark for mark in marks)
    if after_first_error == "keep":
        return marks
    end = end_of_first_error([mark.hard for mark in marks])
    if after_first_error == "drop":
        return (*marks[:end], *(StepLabel(mark.source) for mark in marks[end:]))
    return (*marks[:end], *(StepLabel(AFTER_FIRST_ERROR, value=0.0) for _ in marks[end:]))


def end_of_first_error(hard: Sequence[float | None]) -> int:
    """How many steps there are up to the first wrong one, that one included; all of them where none is wrong."""
    return next((index + 1 for index, label in enumerate(hard) if label is not None and label < 0.5), len(hard))
