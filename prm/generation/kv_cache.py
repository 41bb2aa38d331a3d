"""A key-value cache that is written in place.

transformers' dynamic layers concatenate at every token: the whole cache is copied, and on a CPU its fresh pages are
faulted in again each time, which took four fifths of a decoding step of a small model. Here a layer owns room for
more tokens than it holds and hands out views. Layers that are not plain full attention (sliding windows, linear
attention) keep transformers' own class.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE_TOKENS = 16  # more room means fewer copies, and views that lie further apart in memory


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
            self._key_room = _with_room(self.keys if filled else None, key_states, used + _SPARE_TOKENS)
            self._value_room = _with_room(self.values if filled else None, value_states, used + _SPARE_TOKENS)
        self._key_room[..., filled:used, :] = key_states
        self._value_room[..., filled:used, :] = value_states
        self.keys, self.values = self._key_room[..., :used, :], self._value_room[..., :used, :]
        return self.keys, self.values

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
