"""PRM-guided beam search (Snell et al., arXiv 2408.03314, section 5.2): n branches, of which every step keeps the
n / beam_width best and expands each beam_width ways. The search itself is `frontier`'s; this file says its shape."""

from __future__ import annotations

from .base import SearchShape, TreePlan
from .tree_strategy import TreeStrategy, check_widths


class BeamSearch(TreeStrategy):
    """One tree of n branches for each problem."""

    method = "beam_search"

    def plan(self, shape: SearchShape, n: int) -> TreePlan:
        check_widths(n, shape.beam_width)
        return TreePlan(self.method, (n,), shape.beam_width, shape.num_iterations)
