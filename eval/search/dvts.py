"""Diverse verifier tree search (Beeching et al., "Scaling test-time compute with open models", 2024): n / beam_width
independent trees, each of which keeps its single best branch and expands it beam_width ways."""

from __future__ import annotations

from .base import SearchShape, TreePlan
from .tree_strategy import TreeStrategy, check_widths


class DVTS(TreeStrategy):
    """Narrow trees side by side: less greedy than one beam, because a good early score in one tree cannot crowd out
    the others."""

    method = "dvts"

    def plan(self, shape: SearchShape, n: int) -> TreePlan:
        check_widths(n, shape.beam_width)
        widths = (shape.beam_width,) * (n // shape.beam_width)
        return TreePlan(self.method, widths, shape.beam_width, shape.num_iterations)
