"""REBASE, reward-balanced search (Wu et al., arXiv 2408.00724): every branch is continued in proportion to the softmax
of its score, and what finishes leaves the others less to share."""

from __future__ import annotations

from prm.errors import ConfigError

from .allotment import Softmax
from .base import SearchShape, TreePlan
from .tree_strategy import TreeStrategy

TEMPERATURE = 0.2  # the paper's, for scores in [0, 1]


class Rebase(TreeStrategy):
    """One tree of n branches. Between sampling, which continues every branch once, and beam search, which drops all
    but the best: a branch that scores .2 lower than another gets 1/e of its places. `beam_width` plays no part."""

    method = "rebase"

    def plan(self, shape: SearchShape, n: int) -> TreePlan:
        if n < 1:
            raise ConfigError(f"rebase needs at least one branch, not n={n}")
        return TreePlan(self.method, (n,), 1, shape.num_iterations, allotment=Softmax(TEMPERATURE))
