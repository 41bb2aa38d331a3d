"""Rows of key-value caches that outlive the pass that made them: held in batches, within a budget of tokens.

Generator and verifier keep the live branches of a search here. Rows stay in the batch that they were computed in, and
whoever owns one has a handle (`KeptRow`), which says where its tokens lie, or that they had to be let go. Which text a
row holds is its owner's business, and so is reading it again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import count, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import DynamicCache

    from prm.generation.kv_cache import Spans

_LIVE_SHARE = 0.5  # a batch is copied together once less than this share of it is needed


class KeptBatch:
    """Rows of one batch: the cache of each model that read them, all with the same rows and columns; numbered."""

    def __init__(self, number: int, caches: Sequence[DynamicCache], rows: int):
        from prm.generation.kv_cache import held_bytes

        self.number, self.caches = number, tuple(caches)
        self.tokens = rows * caches[0].get_seq_length()
        self.bytes = sum(held_bytes(cache) for cache in caches)


class KeptRow:
    """A handle: token t of the row's text lies in column `offset + t` of row `row` of `batch`; `None` once let go."""

    __slots__ = ("batch", "offset", "row")

    def __init__(self, batch: KeptBatch, row: int, offset: int):
        self.batch: KeptBatch | None = batch
        self.row, self.offset = row, offset


class KeptRows:
    """All rows that one generator or verifier keeps.

    Args:
        configs: of the models whose caches a batch has, one after the other.
        budget: tokens, padding included, that are held at a time.
    """

    def __init__(self, configs: Sequence[Any], budget: int):
        self.configs, self.budget = configs, budget
        self.peak_bytes = 0
        self._numbers = count()
        self._rows: dict[KeptBatch, list[KeptRow]] = {}  # the oldest batch first

    @property
    def tokens(self) -> int:
        """Tokens held now, padding included."""
        return sum(batch.tokens for batch in self._rows)

    @property
    def bytes(self) -> int:
        """What is held now takes in memory."""
        return sum(batch.bytes for batch in self._rows)

    def add(self, caches: Sequence[DynamicCache], places: Sequence[tuple[int, int]], rows: int) -> list[KeptRow]:
        """Hold the caches of a batch of `rows`; a handle for each place, a row and its offset."""
        batch = KeptBatch(next(self._numbers), caches, rows)
        handles = [KeptRow(batch, row, offset) for row, offset in places]
        self._rows[batch] = handles
        self.peak_bytes = max(self.peak_bytes, self.bytes)
        return list(handles)

    def retain(self, lengths: Mapping[KeptRow, int]) -> None:
        """Let go of every row but these, of which so many tokens are needed."""
        for batch, rows in list(self._rows.items()):
            live = [row for row in rows if row in lengths]
            if len(live) < len(rows):
                for row in rows:
                    row.batch = batch if row in lengths else None
                self._rows[batch] = live
            if sum(lengths[row] for row in live) < _LIVE_SHARE * batch.tokens:
                del self._rows[batch]
                if live:
                    self._copy_together(live, lengths)

    def make_room(self, tokens: int, pinned: Collection[KeptRow] = ()) -> None:
        """Let the oldest batches go until `tokens` more fit into the budget, but none with a row in `pinned`."""
        excess = self.tokens + tokens - self.budget
        for batch, rows in list(self._rows.items()):
            if excess <= 0:
                break
            if not any(row in pinned for row in rows):
                excess -= batch.tokens
                del self._rows[batch]
                for row in rows:
                    row.batch = None

    def spare(self, pinned: Collection[KeptRow] = ()) -> None:
        """Let go of every batch without a row in `pinned`, for memory ran out."""
        self.make_room(self.budget, pinned)

    def _copy_together(self, rows: list[KeptRow], lengths: Mapping[KeptRow, int]) -> None:
        from prm.generation.kv_cache import gather

        rows = sorted(rows, key=lambda row: (row.offset + lengths[row], lengths[row], row.row))
        width = max(lengths[row] for row in rows)
        beginnings = [(row, lengths[row]) for row in rows]
        caches = [gather(kept_spans(beginnings, i), config, spare=0) for i, config in enumerate(self.configs)]
        batch = KeptBatch(next(self._numbers), caches, len(rows))
        for at, row in enumerate(rows):
            row.batch, row.row, row.offset = batch, at, width - lengths[row]
        self._rows[batch] = rows


def kept_spans(beginnings: Sequence[tuple[KeptRow, int]], index: int = 0) -> list[Spans]:
    """Where the first tokens of kept rows lie, in order; those side by side in one batch are one part.

    Args:
        beginnings: rows that are held, and how many of their tokens.
        index: of which model.
    """
    from prm.generation.kv_cache import Spans

    parts = []
    for batch, run in groupby(beginnings, key=lambda beginning: beginning[0].batch):
        assert batch is not None, "a row that was let go cannot be continued"
        some = list(run)
        ends = [row.offset + length for row, length in some]
        parts.append(Spans(batch.caches[index], [row.row for row, _ in some], ends, [length for _, length in some]))
    return parts
