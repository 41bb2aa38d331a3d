"""The scores of a verifier, kept: every solution is scored once, whichever benchmark asks, and however often it runs.

One file of rows for each verifier, `scores-<key>.jsonl`, the key being a hash of its weights, spec and dtype; a row's
key is a hash of problem and steps. A killed run goes on at the first missing solution.

Policy for steps that a verifier cannot read as they are, counted and reported: a separator inside a step becomes a
space (the step stays one step, with one score); a blank step is scored like the step before it, for it adds nothing;
a solution longer than the verifier's `max_length` has no scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prm.errors import ConfigError
from prm.jsonl import dumps
from prm.ledger import locked_output
from prm.progress import progress_bar
from prm.verifier import StepScores

from ..sample_store import Row, RowFile
from ..search.base import StepVerifier
from ..steps import score_safely

Item = tuple[str, tuple[str, ...]]

PER_APPEND = 32
"""Solutions between two writes: what a killed run can lose at most. A batch of a large model is no larger."""


@dataclass(frozen=True)
class ReadableSteps:
    """Steps as a verifier can read them. `places[i]` is the readable step whose score step i gets, or -1 where only
    blank steps came before."""

    steps: tuple[str, ...]
    places: tuple[int, ...]
    n_separators: int
    n_blank: int


@dataclass(frozen=True)
class Scored:
    """Scores of every step of N solutions, as they were given; `None` for one that is too long to read.

    Attributes:
        counts: what the policy did, and the verifier's tokens.
    """

    scores: list[list[float] | None]
    counts: dict[str, int]


def readable(steps: Sequence[str], separator: str) -> ReadableSteps:
    """Apply the policy for separators within steps and for blank steps. A format may have no separator."""
    kept: list[str] = []
    places = []
    n_separators = 0
    for step in steps:
        text = step
        if separator and separator in step:
            n_separators += 1
            text = step.replace(separator, " ")
        if text.strip():
            kept.append(text)
        places.append(len(kept) - 1)
    return ReadableSteps(tuple(kept), tuple(places), n_separators, len(steps) - len(kept))


def score_steps(items: Sequence[Item], verifier: StepVerifier, cache: Path, *, label: str) -> Scored:
    """One score for each step of every solution, from the cache where they are there.

    Raises:
        ConfigError: the verifier is an ORM, which scores no steps; or another process writes the cache.
    """
    if verifier.spec.kind != "prm":
        raise ConfigError(f"{verifier.name} is an ORM, which scores no steps; give a PRM")
    separator = verifier.spec.step_format.kept_from_steps
    guarded = [readable(steps, separator) for _, steps in items]
    read = [(problem, item.steps) for (problem, _), item in zip(items, guarded, strict=True)]
    found = cached_scores(read, verifier, cache, label=label)
    scores = [
        None if one is None else [1.0 if place < 0 else one.scores[place] for place in item.places]
        for item, one in zip(guarded, found, strict=True)
    ]
    counts = {
        "steps_with_separator": sum(item.n_separators for item in guarded),
        "blank_steps": sum(item.n_blank for item in guarded),
        "too_long": sum(one is None for one in found),
        "verifier_tokens": sum(one.tokens for one in found if one),
    }
    return Scored(scores, counts)


def cached_scores(
    items: Sequence[Item], verifier: StepVerifier, cache: Path, *, label: str
) -> list[StepScores | None]:
    """The scores of every solution; `None` for one that the verifier refuses. Equal solutions are scored once.

    Raises:
        ConfigError: another process writes the cache.
        DataError: a line of the cache that no kill can explain.
    """
    keys = [item_key(problem, steps) for problem, steps in items]
    file = RowFile(cache)
    with locked_output(cache.with_suffix(".lock")):
        rows = file.read()
        missing = [(key, item) for key, item in dict(zip(keys, items, strict=True)).items() if key not in rows]
        if missing:
            with progress_bar(label, len(missing), "solution") as advance:
                for start in range(0, len(missing), PER_APPEND):
                    chunk = missing[start : start + PER_APPEND]
                    found = score_safely(verifier, [item for _, item in chunk], advance)
                    made: list[Row] = [_row(key, one) for (key, _), one in zip(chunk, found, strict=True)]
                    file.append(made)
                    rows.update((str(row["key"]), row) for row in made)
    return [_from_row(rows[key]) for key in keys]


def item_key(problem: str, steps: Sequence[str]) -> str:
    """32 hex digits of a solution's content."""
    return hashlib.sha256(dumps([problem, list(steps)]).encode()).hexdigest()[:32]


def _row(key: str, found: StepScores | None) -> Row:
    return {"key": key, "scores": list(found.scores) if found else None, "tokens": found.tokens if found else 0}


def _from_row(row: Row) -> StepScores | None:
    return None if row["scores"] is None else StepScores(tuple(row["scores"]), row["tokens"])
