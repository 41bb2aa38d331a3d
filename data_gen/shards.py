"""`--shard i/n`: one of n parts of the work, for several clients of the same servers.

A shard takes every n-th problem, by first appearance: shards are then of equal size to one problem, the solutions of a
problem stay together, and problems that are appended later move none. What a shard holds of the whole is written into
its report (`shard_facts`), so that `prm data merge` restores the order of an undivided run and knows what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from prm.errors import ConfigError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def parse_shard(text: str) -> Shard | None:
    """Read `2/8`; an empty text means that the work is not divided.

    Raises:
        ConfigError: not i/n with 1 <= i <= n.
    """
    if not text:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"shard {text!r} is not i/n with 1 <= i <= n, such as 2/8")
    return Shard(int(match[1]), int(match[2]))


def shard_positions(items: Iterable[Item], shard: Shard | None, problem_of: Callable[[Item], str]) -> list[int]:
    """Where the shard's items stand among all of them, in order; all items without a shard.

    Args:
        items: problems, or rollouts: all of the undivided run, in its order.
        problem_of: an item's problem id; items of one problem are never parted.
    """
    numbers: dict[str, int] = {}
    chosen = []
    for position, item in enumerate(items):
        number = numbers.setdefault(problem_of(item), len(numbers))
        if shard is None or number % shard.count == shard.index - 1:
            chosen.append(position)
    return chosen


def shard_facts(shard: Shard, positions: Sequence[int], items: int, rows: int | Sequence[int] = 1) -> dict[str, Any]:
    """What a stage writes as `shard` into its report.

    Args:
        positions: of the shard's items among all, ascending, as `shard_positions` gives them.
        items: how many items the undivided run has.
        rows: lines of the data file that each item made, in order: one number for all, or one each.
    """
    if not isinstance(rows, int) and len(rows) != len(positions):
        raise ValueError(f"{len(rows)} numbers of rows for {len(positions)} items")
    return {
        "index": shard.index,
        "count": shard.count,
        "items": items,
        "positions": _runs(positions),
        "rows": rows if isinstance(rows, int) else list(rows),
    }


def placed_rows(facts: dict[str, Any]) -> list[tuple[int, int]]:
    """Inverse of `shard_facts`: each item's position and its number of rows, in the order of the shard's file."""
    runs = (range(first, first + step * length, step) for first, step, length in facts["positions"])
    positions = list(chain.from_iterable(runs))
    rows = facts["rows"]
    return list(zip(positions, [rows] * len(positions) if isinstance(rows, int) else rows, strict=True))


def _runs(positions: Sequence[int]) -> list[list[int]]:
    """Positions as arithmetic runs [first, step, length]: every n-th of a million is one run."""
    runs: list[list[int]] = []
    for position in positions:
        if runs and (runs[-1][2] == 1 or position == runs[-1][0] + runs[-1][1] * runs[-1][2]):
            if runs[-1][2] == 1:
                runs[-1][1] = position - runs[-1][0]
            runs[-1][2] += 1
        else:
            runs.append([position, 1, 1])
    return runs
