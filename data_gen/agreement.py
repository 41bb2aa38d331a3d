"""How far two labelers agree about the same rollouts: where they see the first wrong step, and what they say of each
step, beyond what chance would have them agree on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.labels import StepLabel, first_wrong
from prm.rollouts import Rollout
from prm.stats.intervals import bootstrap_statistic

from .estimates import over_problems

SAME, BOTH_RIGHT, EARLIER, LATER = "same_step", "both_none", "second_earlier", "second_later"
ONLY_FIRST, ONLY_SECOND, UNDECIDED = "only_first", "only_second", "undecided"
PLACES = (SAME, BOTH_RIGHT, EARLIER, LATER, ONLY_FIRST, ONLY_SECOND, UNDECIDED)


@dataclass(frozen=True)
class LabelledTwice:
    """A rollout and what two labelers said of its steps."""

    rollout: Rollout
    first: Sequence[StepLabel]
    second: Sequence[StepLabel]


def agreement_report(pairs: Sequence[LabelledTwice], names: tuple[str, str]) -> dict[str, Any]:
    """Agreement of two labelers, ready for JSON, with 95% intervals over problems.

    Returns:
        `labelers`; `first_wrong_step`, the number of rollouts by what the two say of the first wrong step (`PLACES`);
        `same_first_wrong_step`, their share among the decided ones; `steps`, a table [first wrong/right][second
        wrong/right] of the steps both know; `step_agreement`; `kappa` (Cohen, 1960), `None` where it is undefined.
    """
    places = Counter(place_of(pair) for pair in pairs)
    steps = [
        (pair.rollout.problem.unique_id, one.hard, other.hard)
        for pair in pairs
        for one, other in zip(pair.first, pair.second, strict=True)
        if one.hard is not None and other.hard is not None
    ]
    table = np.zeros((2, 2), dtype=np.int64)
    for _, one, other in steps:
        table[one, other] += 1
    return {
        "labelers": list(names),
        "rollouts": len(pairs),
        "first_wrong_step": {place: places[place] for place in PLACES},
        "same_first_wrong_step": over_problems(
            (pair.rollout.problem.unique_id, place in (SAME, BOTH_RIGHT))
            for pair in pairs
            if (place := place_of(pair)) != UNDECIDED
        ),
        "steps": table.tolist(),
        "step_agreement": over_problems((problem, one == other) for problem, one, other in steps),
        "kappa": _kappa_estimate(steps),
    }


def place_of(pair: LabelledTwice) -> str:
    """What two labelers say of a rollout's first wrong step: one of `PLACES`."""
    one, other = first_wrong(pair.first), first_wrong(pair.second)
    if one is None or other is None:
        return UNDECIDED
    if one == other:
        return BOTH_RIGHT if one < 0 else SAME
    if one < 0 or other < 0:
        return ONLY_SECOND if one < 0 else ONLY_FIRST
    return EARLIER if other < one else LATER


def cohens_kappa(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Cohen's kappa (1960) of two series of 0 and 1, nan where both say the same of everything.

    Args:
        first, second: (N,) what each said.
    """
    observed = float((first == second).mean())
    one, other = float(first.mean()), float(second.mean())
    by_chance = one * other + (1 - one) * (1 - other)
    return (observed - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _kappa_estimate(steps: Sequence[tuple[str, int, int]]) -> dict[str, Any] | None:
    if not steps:
        return None
    problems, first, second = (np.array(column) for column in zip(*steps, strict=True))
    found = bootstrap_statistic(lambda drawn: cohens_kappa(first[drawn], second[drawn]), len(steps), clusters=problems)
    if math.isnan(found.mean):
        return None
    alone = len(set(problems)) == 1 or math.isnan(found.low)
    return vars(found) | {"n": len(steps)} | ({"low": None, "high": None} if alone else {})
