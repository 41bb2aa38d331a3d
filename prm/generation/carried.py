"""Generators that keep what they have read: a search continues its branches without reading them again.

A `Carrier` is a generator for the length of one search. Between two calls it keeps the key-value cache of what it
sampled, found again by the token ids themselves, until `retain` says which prompts may still be continued. A generator
that cannot keep state between calls (a server's cache is its own) reads its prompts again; the bill says so, for these
tokens are counted as prefilled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams


class Carrier(Protocol):
    """A generator that may keep caches from one call to the next.

    `keeps_state` tells whether it does; `peak_cache_bytes` is the most that its caches held at a time, 0: unknown.
    """

    @property
    def keeps_state(self) -> bool: ...

    @property
    def peak_cache_bytes(self) -> int: ...

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """As `Generator.generate`."""
        ...

    def retain(self, prompts: Iterable[Sequence[int]]) -> None:
        """Let go of everything but what the next calls may continue: prompts of requests to come, token by token."""
        ...


def carry(generator: Generator) -> Carrier:
    """The generator's own carrier, where it has one (a method `carry`); else one that keeps nothing."""
    own = getattr(generator, "carry", None)
    carrier: Carrier = own() if own is not None else Uncarried(generator)
    return carrier


class Uncarried:
    """A generator that reads every prompt anew."""

    keeps_state = False
    peak_cache_bytes = 0

    def __init__(self, generator: Generator):
        self.generator = generator

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        return self.generator.generate(requests, sampling, progress)

    def retain(self, prompts: Iterable[Sequence[int]]) -> None:
        pass
