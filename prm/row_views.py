"""Training rows split by problem, and views of their labels: controls, and steps of which nothing is to be learnt."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from prm.errors import ConfigError
from prm.label_policies import end_of_first_error
from prm.training_rows import StepRow


def split_by_group(
    rows: Sequence[StepRow], eval_fraction: float, seed: int
) -> tuple[tuple[StepRow, ...], tuple[StepRow, ...]]:
    """Split into training and evaluation rows *by problem*: every row of a problem goes to the same side.

    At least one problem goes to each side when `eval_fraction` is not 0; the order of rows is kept.

    Raises:
        ConfigError: a fraction outside [0, 1), or a single problem to split.
    """
    if not 0 <= eval_fraction < 1:
        raise ConfigError(f"eval_fraction must be in [0, 1), not {eval_fraction}")
    if not eval_fraction:
        return tuple(rows), ()
    groups = sorted({row.group for row in rows})
    if len(groups) < 2:
        raise ConfigError("eval_fraction needs at least two problems to split; set it to 0")
    random.Random(seed).shuffle(groups)
    held_out = set(groups[: min(len(groups) - 1, max(1, round(eval_fraction * len(groups))))])
    train = tuple(row for row in rows if row.group not in held_out)
    return train, tuple(row for row in rows if row.group in held_out)


def drop_after_first_error(rows: Sequence[StepRow]) -> tuple[StepRow, ...]:
    """Forget the labels of the steps behind the first wrong one, as PRM800K does (arXiv 2305.20050): what follows a
    mistake may be right by itself, and a verifier that judges each step, folded by `min`, need not learn otherwise."""
    dropped = []
    for row in rows:
        hard = row.hard if row.hard is not None else row.labels
        end = end_of_first_error(hard)
        rest = (None,) * (len(hard) - end)
        kept = None if row.hard is None else row.hard[:end] + rest
        dropped.append(replace(row, labels=row.labels[:end] + rest, hard=kept))
    return tuple(dropped)


def shuffle_labels(rows: Sequence[StepRow], seed: int) -> list[StepRow]:
    """Permute all known labels over all labelled steps: a control that keeps the texts and the base rate and nothing
    of what the labels say."""
    pool = [label for row in rows for label in row.labels if label is not None]
    random.Random(seed).shuffle(pool)
    labels = iter(pool)
    return [
        replace(row, labels=tuple(None if old is None else next(labels) for old in row.labels), hard=None)
        for row in rows
    ]
