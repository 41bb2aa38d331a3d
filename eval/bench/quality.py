"""What scores are worth whatever is made of them: ranking, calibration, and whether they follow place or length.

AUROC: the chance that a right item scores above a wrong one. AUPRC: of finding the wrong ones, to be held against
their share. Calibration: whether a score of .8 is right eight times in ten. Place: whether the scores of right steps
rise or fall along a right solution. Length: whether, among solutions that are alike right or wrong, long ones score
otherwise. Intervals draw problems whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.stats.association import within_group_correlation
from prm.stats.calibration import ReliabilityBin, Scored
from prm.stats.intervals import Estimate, bootstrap_mean, bootstrap_statistic, reflected
from prm.stats.ranking import Ranked, aurocs_per_group

_RESAMPLES = 200


@dataclass(frozen=True)
class Judged:
    """Scored items with the truth, flat: the steps of solutions, or solutions.

    Attributes:
        scores, labels: 1 is right, 0 wrong.
        problems: whose item it is.
        lengths: group, score, and number of steps and of characters of every solution; solutions of one group are
            alike right, the problem is in `length_problems`.
        places: (solution, place, score) of the steps of right solutions.
    """

    scores: list[float]
    labels: list[int]
    problems: list[str]
    lengths: list[tuple[str, float, tuple[int, int]]]
    length_problems: list[str]
    places: list[tuple[int, int, float]]
    place_problems: list[str]

    @classmethod
    def nothing(cls) -> Judged:
        return cls([], [], [], [], [], [], [])

    def add_item(self, score: float, label: int, problem: str) -> None:
        self.scores.append(score)
        self.labels.append(label)
        self.problems.append(problem)

    def add_length(self, group: str, score: float, steps: Sequence[str], problem: str) -> None:
        """A solution, by its score and its length."""
        self.lengths.append((group, score, (len(steps), sum(map(len, steps)))))
        self.length_problems.append(problem)

    def add_places(self, scores: Sequence[float], problem: str) -> None:
        """The steps of a solution that is right throughout."""
        solution = self.places[-1][0] + 1 if self.places else 0
        self.places.extend((solution, place, score) for place, score in enumerate(scores))
        self.place_problems.extend([problem] * len(scores))


@dataclass(frozen=True)
class Quality:
    """The measures of one set of items; `None`: undefined, because right or wrong items are missing, or because
    nothing varies. Estimates count problems.

    Attributes:
        n, wrong: items, and the share of wrong ones, which is the AUPRC of a scorer without skill.
        auroc, auroc_within: over all pairs, and over pairs of one problem.
        ece, brier: calibration error over bins of equal mass, and mean squared error.
        place, steps, characters: rank correlation of the score with a step's place in right solutions, and of a
            solution's score with its length.
    """

    n: int
    wrong: float
    auroc: Estimate | None
    auroc_within: Estimate | None
    auprc_of_wrong: Estimate | None
    ece: Estimate
    brier: Estimate
    place: Estimate | None
    steps: Estimate | None
    characters: Estimate | None
    bins: tuple[ReliabilityBin, ...]

    def to_dict(self) -> dict[str, Any]:
        row = asdict(self)
        return {**row, "bins": list(row["bins"])}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Quality:
        """Inverse of `to_dict`."""
        names = ("auroc", "auroc_within", "auprc_of_wrong", "ece", "brier", "place", "steps", "characters")
        estimates = {name: Estimate(**row[name]) if row[name] else None for name in names}
        return cls(**{**row, **estimates, "bins": tuple(ReliabilityBin(**one) for one in row["bins"])})


def quality_of(judged: Judged, *, seed: int = 0) -> Quality | None:
    """Measure items; `None` without any."""
    if not judged.scores:
        return None
    scores, labels = np.array(judged.scores), np.array(judged.labels)
    within = aurocs_per_group(scores, labels, np.array(judged.problems))
    ranked, scored = Ranked.of(scores, labels), Scored.of(scores, labels)
    both = len(set(judged.labels)) == 2

    def over(measure: Callable[[NDArray[np.int64]], float]) -> Estimate:
        n = len(scores)
        return bootstrap_statistic(
            lambda rows: measure(np.bincount(rows, minlength=n)),
            n,
            resamples=_RESAMPLES,
            seed=seed,
            clusters=judged.problems,
        )

    place, steps, characters = _associations(judged, seed)
    return Quality(
        len(scores),
        float((labels == 0).mean()),
        over(ranked.auroc) if both else None,
        bootstrap_mean(within, seed=seed) if within.size else None,
        over(lambda weights: ranked.auprc_of_wrong(weights).value) if both else None,
        reflected(over(lambda weights: scored.calibration_error(weights=weights))),
        over(lambda weights: float(np.average((scores - labels) ** 2, weights=weights))),
        place,
        steps,
        characters,
        tuple(scored.table()),
    )


def _associations(judged: Judged, seed: int) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Of scores with a step's place, and with a solution's number of steps and of characters."""
    place = _correlation(
        [score for _, _, score in judged.places],
        [place for _, place, _ in judged.places],
        [solution for solution, _, _ in judged.places],
        judged.place_problems,
        seed,
    )
    scores, groups = [row[1] for row in judged.lengths], [row[0] for row in judged.lengths]
    steps, characters = (
        _correlation(scores, [row[2][column] for row in judged.lengths], groups, judged.length_problems, seed)
        for column in (0, 1)
    )
    return place, steps, characters


def _correlation(
    x: Sequence[float], y: Sequence[float], groups: Sequence[Any], problems: Sequence[str], seed: int
) -> Estimate | None:
    if not x:
        return None
    _, index = np.unique(np.array(problems), return_inverse=True)
    found = within_group_correlation(x, y, np.array(groups), index, seed=seed)
    return None if math.isnan(found.mean) or math.isnan(found.low) else found
