"""The steps a verifier reads in a text, and asking it without one odd solution stopping a whole run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress

from prm.errors import FormatError
from prm.rollouts import Rollout
from prm.splitting import Split, split_steps
from prm.verifier import StepScores

from .search.base import StepVerifier


def split_by(text: str, separator: str) -> Split:
    """The steps between separators, as a verifier with that separator was trained on. A blank one is no step, so a
    trailing separator makes no phantom step."""
    return split_steps(text, f"separator:{separator}")


def steps_of(rollout: Rollout, separator: str, *, recorded: bool) -> tuple[str, ...]:
    """The steps of a rollout for a verifier with this separator.

    What was drawn here is split by the separator. Recorded steps stand as they are (they may have been split by
    sentence, or at numbers) unless one of them contains the separator; then the text is split by it.
    """
    if not recorded or any(separator in step for step in rollout.steps):
        return split_by(rollout.text, separator).steps
    return tuple(step for step in rollout.steps if step.strip())


def score_safely(
    verifier: StepVerifier,
    items: Sequence[tuple[str, Sequence[str]]],
    progress: Callable[[int], None] | None = None,
) -> list[StepScores | None]:
    """Score every item; `None` for one that the verifier refuses (longer than it reads).

    A verifier that says beforehand what it refuses (`can_read`) is asked for the rest in one call. Any other raises
    before a forward pass, so halving the items until the refused ones stand alone is cheap.
    """
    if not items:
        return []
    can_read = getattr(verifier, "can_read", None)
    if can_read is not None:
        able = [can_read(*item) for item in items]
        scores = iter(verifier.score_solutions([*compress(items, able)], progress))
        if progress and not all(able):
            progress(able.count(False))
        return [next(scores) if one else None for one in able]
    try:
        return list(verifier.score_solutions(items, progress))
    except FormatError:
        if len(items) == 1:
            if progress:
                progress(1)
            return [None]
    half = len(items) // 2
    return score_safely(verifier, items[:half], progress) + score_safely(verifier, items[half:], progress)
