"""What every live tree search has in common: it grows its trees, and then chooses among the finished branches.

A strategy of this kind is its name and its plan, nothing else; see `beam_search`, `dvts`, `rebase` and `lookahead`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from prm.errors import ConfigError

from .base import Arena, Kinds, ProblemResult, SearchShape, TreePlan
from .voting import Choice, decide


class TreeStrategy(ABC):
    """A `SearchStrategy` that searches live, guided by a PRM.

    `choice` makes the final answer from the finished branches: `best` takes the one with the highest aggregated score
    (the default, under the method's own name), `weighted` the answer with the largest summed score.
    """

    method: str
    kinds: Kinds = frozenset({"prm"})
    live = True
    fixed_n = None

    def __init__(self, choice: Choice = "best"):
        self.choice: Choice = choice

    @property
    def name(self) -> str:
        return self.method if self.choice == "best" else f"{self.method}_{self.choice}"

    @abstractmethod
    def plan(self, shape: SearchShape, n: int) -> TreePlan:
        """The trees that n branches make; both choices share them.

        Raises:
            ConfigError: n branches cannot be searched in this shape.
        """

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        grown = arena.grow(self.plan(arena, n))
        return [ProblemResult(decide(found, self.choice), found.bill) for found in grown]


def check_widths(n: int, beam_width: int) -> None:
    """See that n branches can be expanded `beam_width` ways each.

    Raises:
        ConfigError: they cannot; the widths that divide n are named, and the nearest n that this one divides.
    """
    if beam_width < 1 or n < beam_width or n % beam_width:
        raise ConfigError(
            f"n={n} is not divisible by beam_width={beam_width}; a tree search keeps n / beam_width branches and "
            f"expands each beam_width ways. {_what_fits(n, beam_width)}"
        )


def _what_fits(n: int, beam_width: int) -> str:
    widths = [str(width) for width in range(2, n + 1) if n % width == 0]
    below = n - n % beam_width if beam_width > 0 else 0
    ns = [f"n={one}" for one in (below, below + beam_width) if one > 1]
    given = [f"--beam_width {' or '.join(widths)}"] if widths else []
    return f"Give {', or '.join([*given, ' or '.join(ns)] if ns else given)}"
