"""Where the first wrong step of a rollout truly is, for the rollouts of which that is known.

It is known of the arithmetic world, whose every step can be recomputed, and of solutions that people have judged: rows
of ProcessBench, of PRM800K, or any other file of labelled steps (`data_gen.formats`). How well labels agree with it is
`data_gen.label_quality`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prm.errors import DataError
from prm.labels import first_wrong
from prm.rollouts import Rollout
from prm.worlds.arithmetic import step_truth

from .formats import recognised
from .formats.base import Record, Where
from .formats.exchange import read_records
from .row_files import read_rows

Truth = tuple[bool | None, ...]
"""For each step whether the solution is right up to it, `None` where that is not known."""

TruthOf = Callable[[Rollout], Truth | None]


def arithmetic_truth(rollout: Rollout) -> Truth | None:
    """The truth of a solution of the arithmetic world, `None` of any other."""
    if rollout.problem.subject != "arithmetic":
        return None
    return tuple(step_truth(rollout.problem.problem, rollout.steps))


def first_error_in(truth: Truth) -> int | None:
    """The index of the first wrong step, -1 where every step is right, `None` where an unknown one comes first."""
    for index, right in enumerate(truth):
        if not right:
            return None if right is None else index
    return -1


def read_truth(path: str | Path) -> TruthOf:
    """The truth about the solutions in a file of labelled steps, found by problem and steps; those that are not in it
    have the arithmetic world's.

    What follows the first wrong step counts as unknown: people judge a step there by itself, or not at all.

    Raises:
        MissingFileError: no such file.
        DataError: rows of no known format, or none of them judged up to a first wrong step or the end.
    """
    known: dict[tuple[str, tuple[str, ...]], Truth] = {}
    for line, row in read_rows(path):
        where = Where(str(path), line)
        form = recognised(row)
        if form is None:
            raise where.error(
                f"a row with the columns {sorted(row)}", "Give ProcessBench rows, a labels.jsonl, or PRM800K"
            )
        for record in read_records(form, row, where, keep_form=False):
            if (truth := _judged(record)) is not None:
                known[_name(record.rollout)] = truth
    if not known:
        raise DataError("no solution in it is judged", path=path, remedy="Give rows whose steps have labels")
    return lambda rollout: known.get(_name(rollout)) or arithmetic_truth(rollout)


def _judged(record: Record) -> Truth | None:
    first, steps = first_wrong(record.labels), len(record.rollout.steps)
    if first is None or not steps:
        return None
    return (True,) * steps if first < 0 else (True,) * first + (False,) + (None,) * (steps - first - 1)


def _name(rollout: Rollout) -> tuple[str, tuple[str, ...]]:
    return rollout.problem.problem.strip(), tuple(step.strip() for step in rollout.steps)
