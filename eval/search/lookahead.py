"""Lookahead search (Snell et al., arXiv 2408.03314, section 5.2): a beam whose branches are scored by where they lead.

Every unfinished branch is extended greedily by k steps, the verifier scores the extended text, and the extension is
thrown away. Its tokens are billed, as lookahead tokens, so that n branches cost up to n (k + 1) steps.
"""

from __future__ import annotations

from prm.errors import ConfigError

from .base import SearchShape, TreePlan
from .tree_strategy import TreeStrategy, check_widths


class Lookahead(TreeStrategy):
    """Beam search with k = `lookahead` steps of foresight."""

    method = "lookahead"

    def plan(self, shape: SearchShape, n: int) -> TreePlan:
        if shape.lookahead < 1:
            raise ConfigError(
                f"lookahead={shape.lookahead} looks at nothing, which is beam_search; give --lookahead 1 or more, or "
                "use the approach beam_search"
            )
        check_widths(n, shape.beam_width)
        return TreePlan(self.method, (n,), shape.beam_width, shape.num_iterations, lookahead=shape.lookahead)
