"""PRM-guided beam search (Snell et al., arXiv 2408.03314, section 5.2): n branches, of which every step keeps the
n / beam_width best and expands each beam_width ways. The search itself is `frontier`'s; this file says its shape."""

from __future__ import annotations

from prm.errors import ConfigError

from .base import Arena, Kinds, ProblemResult, TreePlan
from .voting import Choice, decide


class BeamSearch:
    """One tree of n branches for each problem.

    `choice` makes the final answer from the finished branches: `best` takes the one with the highest aggregated score
    (the default, named `beam_search`), `weighted` the answer with the largest summed score.
    """

    kinds: Kinds = frozenset({"prm"})
    live = True
    fixed_n = None

    def __init__(self, choice: Choice = "best"):
        self.choice: Choice = choice
        self.name = "beam_search" if choice == "best" else f"beam_search_{choice}"

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        check_widths(n, arena.beam_width)
        plan = TreePlan("beam_search", (n,), arena.beam_width, arena.num_iterations)
        return [ProblemResult(decide(found, self.choice), found.bill) for found in arena.grow(plan)]


def check_widths(n: int, beam_width: int) -> None:
    """Raises:
    ConfigError: n branches cannot be expanded `beam_width` ways each.
    """
    if beam_width < 1 or n < beam_width or n % beam_width:
        raise ConfigError(
            f"n={n} is not divisible by beam_width={beam_width}; a tree search keeps n / beam_width branches and "
            "expands each beam_width ways. Change one of them"
        )
