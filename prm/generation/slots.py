"""The rows that are being sampled: their key-value cache, one token further at each step.

Suffix S: slots, the rows of the cache. All rows end at its last column, so that a token is one new column for all of
them; the shorter ones are padded on the left, and masked there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.generation.prompt_reading import forward

if TYPE_CHECKING:
    import torch

    from prm.generation.kv_cache import Spans


class Slots:
    """A cache of S rows of different lengths, and the token that each is about to read."""

    def __init__(self, model: Any, context_length: int):
        import torch

        from prm.generation.kv_cache import in_place_cache

        self.model, self.device = model, model.device
        self.last_position = context_length - 1
        self.cache = in_place_cache(model.config)
        self.width = 0
        self.lengths_S = torch.zeros(0, dtype=torch.long, device=self.device)
        self.pending_S = self.lengths_S
        self.ragged = False

    def adopt(self, part: Spans, pending_S: torch.Tensor) -> None:
        """Take over a whole cache that nobody else needs, whose rows all end at its last column."""
        self.cache = part.cache
        if part.rows != list(range(len(part.rows))):
            self.cache.batch_select_indices(self._tensor(part.rows))
        self._set(part.lengths, part.ends[0], pending_S)

    def gather(self, kept: np.ndarray, parts: Sequence[Spans], pending_S: torch.Tensor) -> None:
        """Keep the slots `kept`, and let the rows of these caches follow them, which are about to read `pending_S`."""
        import torch

        from prm.generation.kv_cache import Spans, gather

        lengths = self.lengths_S[self._tensor(kept)].tolist()
        if len(kept):
            parts = [Spans(self.cache, kept.tolist(), [self.width] * len(kept), lengths), *parts]
            pending_S = torch.cat([self.pending_S[self._tensor(kept)], pending_S])
        self.cache = gather(parts, self.model.config)
        lengths = [length for part in parts for length in part.lengths]
        self._set(lengths, max(lengths), pending_S)

    def keep(self, kept: np.ndarray) -> None:
        """Let all other slots go."""
        indices = self._tensor(kept)
        self.cache.batch_select_indices(indices)
        self.lengths_S, self.pending_S = self.lengths_S[indices], self.pending_S[indices]

    def decode(self) -> torch.Tensor:
        """Read the pending token of every slot; the logits (S, V) after it."""
        import torch

        self.width += 1
        mask = positions = None
        if self.ragged:
            mask = (torch.arange(self.width, device=self.device) >= self.width - 1 - self.lengths_S[:, None]).long()
            # A finished row that is still in the cache may run past the context; its tokens are not read.
            positions = self.lengths_S[:, None].clamp(max=self.last_position)
        logits = forward(self.model, self.pending_S[:, None], self.cache, mask, positions)
        self.lengths_S = self.lengths_S + 1
        return logits

    def _set(self, lengths: list[int], width: int, pending_S: torch.Tensor) -> None:
        self.lengths_S, self.pending_S = self._tensor(lengths), pending_S
        self.width, self.ragged = width, any(length < width for length in lengths)

    def _tensor(self, values: Any) -> torch.Tensor:
        import torch

        return torch.as_tensor(values, dtype=torch.long, device=self.device)
