"""A key-value cache that is written in place, and rows gathered from several caches into one.

transformers' dynamic layers concatenate at every token: the whole cache is copied, and on a CPU its fresh pages are
faulted in again each time, which took four fifths of a decoding step of a small model. Here a layer owns room for
more tokens than it holds and hands out views. Layers that are not plain full attention (sliding windows, linear
attention) keep transformers' own class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE_TOKENS = 16  # more room means fewer copies, and views that lie further apart in memory
_SPARE_SHARE = 8  # one part in so many, where that is more: the copies of a long cache are dear


class InPlaceLayer(DynamicLayer):
    """A `DynamicLayer` with spare room; `keys` and `values` are views (B, H, T, D) of what is filled."""

    keys: torch.Tensor
    values: torch.Tensor
    _key_room: torch.Tensor
    _value_room: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        filled = self.get_seq_length()
        used = filled + key_states.shape[-2]
        if not filled or used > self._key_room.shape[-2]:
            self._key_room = _with_room(self.keys if filled else None, key_states, _roomy(used))
            self._value_room = _with_room(self.values if filled else None, value_states, _roomy(used))
        self._key_room[..., filled:used, :] = key_states
        self._value_room[..., filled:used, :] = value_states
        self.keys, self.values = self._key_room[..., :used, :], self._value_room[..., :used, :]
        return self.keys, self.values

    @property
    def key_room(self) -> torch.Tensor:
        """The keys' buffer (B, H, T, D), spare room included; empty before the first token."""
        return self._key_room if self.get_seq_length() else torch.empty(0)

    def hold(self, keys: torch.Tensor, values: torch.Tensor, used: int) -> None:
        """Take over two buffers (B, H, T, D) of which `used` tokens are filled."""
        self.lazy_initialization(keys, values)
        self._key_room, self._value_room = keys, values
        self.keys, self.values = keys[..., :used, :], values[..., :used, :]

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`, which may repeat."""
        used = self.get_seq_length()
        if not used:
            return
        self._key_room = self._key_room.index_select(0, indices)
        self._value_room = self._value_room.index_select(0, indices)
        self.keys, self.values = self._key_room[..., :used, :], self._value_room[..., :used, :]

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.get_seq_length():
            self.batch_select_indices(torch.arange(len(self.keys), device=self.keys.device).repeat_interleave(repeats))


def _roomy(used: int) -> int:
    return used + max(_SPARE_TOKENS, used // _SPARE_SHARE)


def _with_room(filled: torch.Tensor | None, like: torch.Tensor, tokens: int) -> torch.Tensor:
    """A buffer for `tokens` tokens that begins with what is filled."""
    room = like.new_empty((like.shape[0], like.shape[1], tokens, like.shape[3]))
    if filled is not None:
        room[..., : filled.shape[-2], :] = filled
    return room


def in_place_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this config."""
    cache = DynamicCache(config=config)
    cache.layers = [InPlaceLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_gather(cache: DynamicCache) -> bool:
    """Whether every layer keeps all its tokens, so that a part of a row is what a shorter row would have left."""
    return all(type(layer) is InPlaceLayer for layer in cache.layers)


@dataclass(frozen=True)
class Spans:
    """Parts of a cache's rows, one for each new row: row `rows[i]`, its `lengths[i]` columns before `ends[i]`."""

    cache: DynamicCache
    rows: list[int]
    ends: list[int]
    lengths: list[int]


def gather(parts: Sequence[Spans], config: Any, *, spare: int | None = None) -> DynamicCache:
    """A new cache of all these rows in order, which end at one column; what lies left of the shorter ones is zero.

    Args:
        spare: columns behind them that are to come, where it is known how many.
    """
    gathered = in_place_cache(config)
    width = max(length for part in parts for length in part.lengths)
    columns = _roomy(width) if spare is None else width + spare
    layers: list[Any] = gathered.layers
    for index, layer in enumerate(layers):
        sources: list[Any] = [part.cache.layers[index] for part in parts]
        if width and any(source.is_initialized for source in sources):
            keys, values = (
                _gather_states(parts, [getattr(source, name) for source in sources], width, columns)
                for name in ("keys", "values")
            )
            layer.hold(keys, values, width)
    return gathered


def rows_of(cache: DynamicCache, rows: Sequence[int], config: Any) -> DynamicCache:
    """A copy of these rows, with the same columns and no room behind them."""
    copied = in_place_cache(config)
    indices = torch.tensor(rows)
    layers: list[Any] = copied.layers
    sources: list[Any] = cache.layers
    for layer, source in zip(layers, sources, strict=True):
        keys, values = (states.index_select(0, indices.to(states.device)) for states in (source.keys, source.values))
        layer.hold(keys, values, keys.shape[-2])
    return copied


def held_bytes(cache: DynamicCache) -> int:
    """Bytes of the buffers of a cache, spare room included."""
    layers: list[Any] = cache.layers
    return sum(2 * layer.key_room.nbytes for layer in layers if isinstance(layer, InPlaceLayer))


def _gather_states(parts: Sequence[Spans], states: Sequence[Any], width: int, columns: int) -> torch.Tensor:
    like = next(state for state in states if state is not None and state.numel())
    total = sum(len(part.rows) for part in parts)
    room = like.new_empty((total, like.shape[1], columns, like.shape[3]))
    at = 0
    for part, state in zip(parts, states, strict=True):
        spans = zip(part.ends, part.lengths, part.rows, strict=True)
        # Rows side by side that have the same columns are one copy.
        for (end, length), same in groupby(spans, key=lambda span: span[:2]):
            rows = [row for _, _, row in same]
            until = at + len(rows)
            room[at:until, :, : width - length] = 0  # masked, but a NaN there would come through
            if length:
                room[at:until, :, width - length : width] = _rows_of(state[:, :, end - length : end], rows)
            at = until
    return room


def _rows_of(state: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """These rows, without a copy where they are one and the same or stand side by side."""
    first, count = rows[0], len(rows)
    if all(row == first for row in rows):
        return state[first : first + 1]
    if all(row == first + at for at, row in enumerate(rows)):
        return state[first : first + count]
    return state[torch.tensor(rows, device=state.device)]
