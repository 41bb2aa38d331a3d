"""What a verifier reads of the shared samples of a problem: the rows that the store keeps of it, and their price.

A verifier that reads the beginnings which samples share once (`prm.token_tree`) says itself what it reads (a method
`readings`); any other reads each distinct solution from its prompt on. Samples that are added later change what the
earlier ones share, so that it is always said of all samples of a row: what they have in common is billed once, whether
they were scored in one run or in two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from prm.rollouts import Cost
from prm.verifier import StepScores

from .cost import bill_of
from .search.base import Reading, StepVerifier

Solution = tuple[str, ...]
ReadingRow = tuple[int, int, list[int]]
"""Tokens, what they attend to, themselves included, summed, and the numbers of the samples that they are read for."""


def readings_of(
    verifier: StepVerifier,
    problem: str,
    solutions: Sequence[Solution],
    scored: Mapping[Solution, object],
    *,
    before: Sequence[ReadingRow],
    new: Mapping[Solution, StepScores | None],
) -> list[ReadingRow]:
    """What is read for the samples of a problem.

    Args:
        solutions: the steps of each sample.
        scored: of each solution what is known of its scores; `None` where the verifier cannot read it.
        before: what was read for the first of the samples, where they were scored before.
        new: what was scored now.
    """
    places: dict[Solution, list[int]] = {}
    for index, solution in enumerate(solutions):
        places.setdefault(solution, []).append(index)
    plan = getattr(verifier, "readings", None)
    if plan is not None:
        readable = [solution for solution in places if scored[solution] is not None]
        return [
            (part.tokens, part.attended, sorted(chain(*(places[readable[member]] for member in part.members))))
            for part in plan(problem, readable)
        ]
    read = {solutions[members[0]]: (tokens, attended) for tokens, attended, members in before}
    read |= {solution: (found.tokens, found.attended) for solution, found in new.items() if found and found.tokens}
    return [(tokens, attended, places[solution]) for solution, (tokens, attended) in read.items()]


def priced(rows: Sequence[ReadingRow], prices: Mapping[str, float]) -> tuple[Reading, ...]:
    """The readings with their FLOPs, at the verifier's prices (`prm.eval.cost.bill_of`)."""
    return tuple(
        Reading(
            tokens,
            tuple(members),
            bill_of(Cost(verifier_tokens=tokens, verifier_attended_tokens=attended), **prices).verifier_flops,
        )
        for tokens, attended, members in rows
    )


def with_the_first(rows: Sequence[ReadingRow], samples: int) -> list[tuple[int, int]]:
    """Tokens and attended tokens of each sample: what is read for several is counted with the first."""
    found = [(0, 0)] * samples
    for tokens, attended, members in rows:
        before = found[members[0]]
        found[members[0]] = (before[0] + tokens, before[1] + attended)
    return found
