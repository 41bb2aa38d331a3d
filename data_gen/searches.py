"""Many searches that advance together, so that every call of the generator is one large batch.

A search is a Python generator: it yields the completions it wants next (so many of each prefix, in all), goes on once
the pool has them, and returns what it found. It holds no thread and no batch of its own; thousands of them advance in
rounds, and what they want in one round is drawn in one call.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TypeVar

from .prefixes import CompletionPool, Prefix

T = TypeVar("T")
Wants = Mapping[Prefix, int]
Search = Generator[Wants, None, T]


def advance_together(searches: Sequence[Search[T]], pool: CompletionPool) -> list[T]:
    """Run searches to their ends; returns what each found, in order.

    Several searches may want the same prefix: the largest number counts.
    """
    found: dict[int, T] = {}
    waiting = dict(enumerate(searches))
    while waiting:
        wants: dict[Prefix, int] = {}
        for number, search in list(waiting.items()):
            try:
                wanted = next(search)
            except StopIteration as stop:
                found[number] = stop.value
                del waiting[number]
                continue
            for prefix, count in wanted.items():
                wants[prefix] = max(count, wants.get(prefix, 0))
        if wants:
            pool.grow(wants)
    return [found[number] for number in range(len(searches))]
