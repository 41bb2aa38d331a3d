"""Diverse verifier tree search (Beeching et al., "Scaling test-time compute with open models", 2024): n / beam_width
independent trees, each of which keeps its single best branch and expands it beam_width ways."""

from __future__ import annotations

from .base import Arena, Kinds, ProblemResult, TreePlan
from .beam_search import check_widths
from .voting import Choice, decide


class DVTS:
    """Narrow trees side by side: less greedy than one beam, because a good early score in one tree cannot crowd out
    the others. `choice` as in `BeamSearch`."""

    kinds: Kinds = frozenset({"prm"})
    live = True
    fixed_n = None

    def __init__(self, choice: Choice = "best"):
        self.choice: Choice = choice
        self.name = "dvts" if choice == "best" else f"dvts_{choice}"

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        check_widths(n, arena.beam_width)
        widths = (arena.beam_width,) * (n // arena.beam_width)
        plan = TreePlan("dvts", widths, arena.beam_width, arena.num_iterations)
        return [ProblemResult(decide(found, self.choice), found.bill) for found in arena.grow(plan)]
