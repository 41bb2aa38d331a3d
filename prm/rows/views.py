"""Training rows split by problem, and with their labels shuffled, the control."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from prm.errors import ConfigError
from prm.rows.step_rows import RowT, StepRow


def split_by_group(rows: Sequence[RowT], eval_fraction: float, seed: int) -> tuple[tuple[RowT, ...], tuple[RowT, ...]]:
    """Split into training and evaluation rows *by problem*: every row of a problem goes to the same side.

    At least one problem goes to each side when `eval_fraction` is not 0; the order of rows is kept.

    Raises:
        ConfigError: a fraction outside [0, 1), or a single problem to split.
    """
    held_out = held_out_groups({row.group for row in rows}, eval_fraction, seed)
    train = tuple(row for row in rows if row.group not in held_out)
    return train, tuple(row for row in rows if row.group in held_out)


def held_out_groups(groups: Iterable[str], eval_fraction: float, seed: int) -> set[str]:
    """The problems to evaluate on: that share of them, and at least one where the share is not 0.

    Raises:
        ConfigError: see `split_by_group`.
    """
    if not 0 <= eval_fraction < 1:
        raise ConfigError(f"eval_fraction must be in [0, 1), not {eval_fraction}")
    if not eval_fraction:
        return set()
    shuffled = sorted(groups)
    if len(shuffled) < 2:
        raise ConfigError("eval_fraction needs at least two problems to split; set it to 0")
    random.Random(seed).shuffle(shuffled)
    return set(shuffled[: min(len(shuffled) - 1, max(1, round(eval_fraction * len(shuffled))))])


def shuffle_labels(rows: Sequence[StepRow], seed: int) -> list[StepRow]:
    """Permute all known labels, with the counts behind them, over all labelled steps: a control that keeps the texts
    and the base rate and nothing of what the labels say."""
    pool = [known for row in rows for known in _of_steps(row) if known[0] is not None]
    random.Random(seed).shuffle(pool)
    labels = iter(pool)
    return [_with_labels(row, [old if old[0] is None else next(labels) for old in _of_steps(row)]) for row in rows]


_OfStep = tuple[float | None, float | None, int | None, int | None]


def _of_steps(row: StepRow) -> Iterator[_OfStep]:
    nothing = (None,) * len(row.labels)
    return zip(row.labels, row.hard_labels, row.n_correct or nothing, row.n_total or nothing, strict=True)


def _with_labels(row: StepRow, steps: Sequence[_OfStep]) -> StepRow:
    labels, hard, n_correct, n_total = zip(*steps, strict=True)
    counts = {"n_correct": n_correct, "n_total": n_total} if any(n_total) else {"n_correct": None, "n_total": None}
    plain = replace(row, labels=labels, hard=None, **counts)
    return plain if plain.hard_labels == hard else replace(plain, hard=hard)
