"""Whether scores follow the length of a solution or the place of a step, where neither should matter.

Length: among the distinct solutions of one problem that are all right, or all wrong, a score has nothing to gain from
the number of steps or characters. Position: the steps of a right solution are right throughout, so that scores that
rise or fall along it follow the place and not the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from prm.stats.association import within_group_correlation
from prm.stats.intervals import Estimate

from .evidence import Evidence, distinct_solutions

MOST_PLACES = 12
"""Places of a step that are shown one by one."""


@dataclass(frozen=True)
class StepPlace:
    """The steps at one place of the distinct solutions, from 1 on: how many there are in right and in wrong solutions,
    and their mean scores; nan where there is none."""

    place: int
    right: int
    wrong: int
    score_of_right: float
    score_of_wrong: float


@dataclass(frozen=True)
class Bias:
    """What the scores of one verifier follow beside the truth: rank correlations, `None` where nothing varies.

    Attributes:
        steps, characters: of a solution's score with its length, among solutions of one problem that are alike right.
        position: of a step's score with its place, within right solutions; `None` for an ORM.
        places: mean scores by place.
    """

    verifier: str
    steps: Estimate | None
    characters: Estimate | None
    position: Estimate | None
    places: tuple[StepPlace, ...]


def bias(verifier: str, evidence: Sequence[Evidence], *, seed: int = 0, clusters: Sequence[str] | None = None) -> Bias:
    """How far a verifier's scores of the shared samples go with length and place.

    Args:
        evidence: of each of the repeated runs, which have the same problems.
    """
    solutions = np.array(list(_solutions(evidence)), dtype=float).reshape(-1, 5)
    steps = np.array(list(_steps(evidence)), dtype=float).reshape(-1, 5)
    group, problem, score, n_steps, n_characters = solutions.T
    right = steps[steps[:, 2] > 0]
    names = None if clusters is None else list(clusters)

    def correlation(x: np.ndarray, y: np.ndarray, groups: np.ndarray, problems: np.ndarray) -> Estimate | None:
        if not x.size:
            return None
        count = int(problems.max()) + 1
        given = None if names is None else names[:count]
        found = within_group_correlation(x, y, groups, problems, seed=seed, clusters=given)
        return None if np.isnan(found.mean) else found

    return Bias(
        verifier,
        steps=correlation(score, n_steps, group, problem),
        characters=correlation(score, n_characters, group, problem),
        position=correlation(right[:, 3], right[:, 4], right[:, 0], right[:, 1]),
        places=_places(steps),
    )


def _solutions(evidence: Sequence[Evidence]) -> Iterator[tuple[int, int, float, int, int]]:
    """Group (problem and correctness), problem, score, steps and characters of every distinct solution."""
    for one in evidence:
        for problem, pool in enumerate(one.samples):
            for index in distinct_solutions(pool):
                steps = pool.steps[index]
                group = 2 * problem + pool.correct[index]
                yield group, problem, pool.scores[index], len(steps), sum(map(len, steps))


def _steps(evidence: Sequence[Evidence]) -> Iterator[tuple[int, int, bool, float, int]]:
    """Solution, problem, whether it is right, score and place of every step of every distinct solution."""
    solution = 0
    for one in evidence:
        for problem, (pool, scored) in enumerate(zip(one.samples, one.step_scores, strict=False)):
            for index in distinct_solutions(pool):
                solution += 1
                for place, score in enumerate(scored[index] or (), start=1):
                    yield solution, problem, pool.correct[index], score, place


def _places(steps: np.ndarray) -> tuple[StepPlace, ...]:
    found = []
    for place in range(1, MOST_PLACES + 1):
        here = steps[steps[:, 4] == place]
        right, wrong = here[here[:, 2] > 0, 3], here[here[:, 2] == 0, 3]
        if here.size:
            found.append(StepPlace(place, len(right), len(wrong), _mean(right), _mean(wrong)))
    return tuple(found)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
