"""Solutions of one problem side by side in rows of tokens, what they begin with alike once.

A row holds the trie of its solutions' token ids in depth-first order. A token sees itself and what stands before it on
its own path, at the position that is its depth, so that every output is the one that it has in its solution alone
(tree attention: SpecInfer, arXiv 2305.09781). Its attention runs over the whole row, most of it masked; where that
costs more than the sharing saves, a row is cut. What reads the rows is `prm.verifier`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.training.batch_layout import BatchLayout

if TYPE_CHECKING:
    import torch

Ids = Sequence[int]


@dataclass(frozen=True)
class SharedTokens:
    """Tokens that some of the solutions have in common: how many, what they attend to, themselves included, summed,
    and the numbers of these solutions."""

    tokens: int
    attended: int
    members: tuple[int, ...]


@dataclass(frozen=True)
class ReadingCost:
    """What reading a row costs: FLOPs of each token, and of each pair of a token and one that it attends to.

    `tokens` is the most that a row may have, but for one with a single solution.
    """

    per_token: float
    per_pair: float
    tokens: int

    def of_tree(self, tokens: int) -> float:
        """Masked pairs are computed."""
        return self.per_token * tokens + self.per_pair * tokens**2

    def alone(self, tokens: int) -> float:
        """Under causal attention half of the pairs are."""
        return self.per_token * tokens + self.per_pair * tokens**2 / 2


@dataclass(frozen=True)
class TokenRow:
    """Solutions in one row.

    Attributes:
        members: their numbers, in the order of their token ids.
        lengths: tokens of each. `starts`: how many of these are those of the one before it.
    """

    members: tuple[int, ...]
    lengths: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """How many the row has: the nodes of the trie."""
        return sum(self.lengths) - sum(self.starts)

    def own(self) -> Iterator[tuple[int, int, int]]:
        """Of each member its number, the tokens that it adds to the row, and what they attend to."""
        for member, length, start in zip(self.members, self.lengths, self.starts, strict=True):
            yield member, length - start, _attended(start, length)

    def shared(self) -> Iterator[SharedTokens]:
        """The row's tokens, apart by which solutions go through them."""
        for first, (length, start) in enumerate(zip(self.lengths, self.starts, strict=True)):
            end, last = length, first
            while end > start:  # what lies deeper than the next solution's start is not the next one's
                following = self.starts[last + 1] if last + 1 < len(self.members) else 0
                cut = max(start, min(end, following))
                if cut < end:
                    yield SharedTokens(end - cut, _attended(cut, end), self.members[first : last + 1])
                end, last = cut, last + 1

    def places(self) -> list[np.ndarray]:
        """Where each solution's tokens stand in the row."""
        found: list[np.ndarray] = []
        at = 0
        for length, start in zip(self.lengths, self.starts, strict=True):
            before = found[-1][:start] if found else np.empty(0, np.int64)
            found.append(np.concatenate([before, np.arange(at, at + length - start)]))
            at += length - start
        return found


def rows_of(solutions: Sequence[Ids], numbers: Sequence[int], cost: ReadingCost | None) -> list[TokenRow]:
    """Solutions of one problem in as few rows as it pays to put them in.

    They share one row, unless it costs more than reading each alone, or has too many tokens; such a row is cut where
    neighbours have least in common, and its parts are looked at again.

    Args:
        solutions: token ids.
        numbers: of each, for `TokenRow.members`.
        cost: `None` where nothing can be shared.
    """
    order = sorted(range(len(solutions)), key=lambda at: tuple(solutions[at]))
    every = _every([solutions[at] for at in order], [numbers[at] for at in order])
    if cost is None:
        return [_part(every, at, at + 1) for at in range(len(order))]
    return list(_worthwhile(every, cost)) if order else []


def _every(solutions: Sequence[Ids], numbers: Sequence[int] = ()) -> TokenRow:
    """One row of all solutions, which are sorted."""
    alike = [_alike(one, other) for one, other in pairwise(solutions)]
    members = tuple(numbers or range(len(solutions)))
    return TokenRow(members, tuple(map(len, solutions)), (0, *alike) if members else ())


def _worthwhile(row: TokenRow, cost: ReadingCost) -> Iterator[TokenRow]:
    count, tokens = len(row.members), row.tokens
    cheaper = cost.of_tree(tokens) <= sum(map(cost.alone, row.lengths))
    if count == 1 or (cheaper and tokens <= cost.tokens):
        yield row
        return
    cut = min(range(1, count), key=lambda at: (row.starts[at], abs(2 * at - count)))
    yield from _worthwhile(_part(row, 0, cut), cost)
    yield from _worthwhile(_part(row, cut, count), cost)


def _part(row: TokenRow, first: int, end: int) -> TokenRow:
    return TokenRow(row.members[first:end], row.lengths[first:end], (0, *row.starts[first + 1 : end]))


def _alike(one: Ids, other: Ids) -> int:
    """How many tokens two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _attended(start: int, end: int) -> int:
    return (end * (end + 1) - start * (start + 1)) // 2


def tree_layout(rows: Sequence[Sequence[Ids]], pad_token_id: int) -> BatchLayout:
    """Where the tokens of solutions lie that share rows, given row by row and sorted by their ids.

    The model is given `input_ids` and `position_ids` (B, T), and which tokens each one sees, `attention_mask`
    (B, 1, T, T).
    """
    import torch

    trees = [_every(row) for row in rows]
    width = max(tree.tokens for tree in trees)
    ids_BT = np.full((len(rows), width), pad_token_id, np.int64)
    depths_BT = np.zeros((len(rows), width), np.int64)
    ends_BT = np.tile(np.arange(1, width + 1), (len(rows), 1))
    found: list[np.ndarray] = []
    lengths: list[int] = []
    for at, (tree, solutions) in enumerate(zip(trees, rows, strict=True)):
        for places, ids in zip(tree.places(), solutions, strict=True):
            ids_BT[at, places], depths_BT[at, places] = ids, np.arange(len(ids))
            ends_BT[at, places] = places[-1] + 1  # the last solution through a token is the last that sees it
            found.append(at * width + places)
        lengths += [tokens for _, tokens, _ in tree.own()]
    given = {
        "input_ids": torch.from_numpy(ids_BT),
        "position_ids": torch.from_numpy(depths_BT),
        "attention_mask": _sees(torch.from_numpy(ends_BT)),
    }
    return BatchLayout(given, found, lengths)


def _sees(ends_BT: torch.Tensor) -> torch.Tensor:
    """(B, 1, T, T): token v sees u where u stands no later and v is still within what follows u."""
    import torch

    at_T = torch.arange(ends_BT.shape[1])
    return ((at_T <= at_T[:, None]) & (at_T[:, None] < ends_BT[:, None]))[:, None]


def attends_to_trees(model: Any) -> bool:
    """Whether a model sees what such a mask lets it see, and no more: full, causal attention in every layer, by SDPA,
    and positions that it is given."""
    import inspect

    from prm.generation.kv_cache import can_gather, in_place_cache
    from prm.heads import attends_causally, unwrapped

    base = unwrapped(model)
    config = base.config.get_text_config()
    backbone = getattr(base, base.base_model_prefix)
    return (
        attends_causally(base)
        and can_gather(in_place_cache(base.config))
        and config._attn_implementation == "sdpa"
        and not getattr(config, "alibi", False)
        and "position_ids" in inspect.signature(backbone.forward).parameters
    )
