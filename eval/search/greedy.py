"""Greedy decoding: one solution at temperature 0, what a user gets without any search."""

from __future__ import annotations

from .base import Arena, Kinds, ProblemResult


class Greedy:
    """One greedy solution; n plays no part."""

    name = "greedy"
    kinds: Kinds = frozenset()
    live = True
    fixed_n = 1

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [ProblemResult(float(any(drawn.correct)), drawn.bill) for drawn in arena.greedy()]
