"""Reading prompts into key-value caches, each shared token once.

`SharedPrompts` reads the segments of a prefix tree, and knows no logits: a row's last prompt token is left to its
first decoding step. `PlainPrompts` reads each distinct prompt whole and yields its logits; that is the way for short
prompts, whose batches of one length need no mask, and for models with layers that forget (sliding windows, linear
attention), where a prompt's cache says nothing of its beginnings.

Both say exactly what they read: `prefilled[i]` tokens are counted with row i, the first that asked for them, and are
cached for all others. Their sum is the number of prompt tokens that went through the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from prm.generation.prefix_tree import Ids, Segment, TokenClaims, prefix_tree, sharing_pays

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

    from prm.generation.kv_cache import Spans

_READ_TOKENS = 16_384  # tokens of one pass, padding included: what the activations of a pass may take


@dataclass(frozen=True)
class Reading:
    """Rows that are ready to sample: `rows` in the order of `parts`, and their `logits` (R, V) after the prompt, or
    `None` where the prompt's last token is still to be read. With logits the parts are one cache that nobody else
    needs."""

    rows: list[int]
    parts: list[Spans]
    logits: torch.Tensor | None


class PromptReader(Protocol):
    """Reads the prompts of a batch, rows in ascending order, some at a time."""

    @property
    def prefilled(self) -> Sequence[int]: ...

    def read(self, rows: range) -> list[Reading]: ...


class PlainPrompts:
    """Each distinct prompt of a call is read once, whole, padded on the left."""

    def __init__(self, model: Any, prompts: Sequence[Ids]):
        self.model, self.prompts = model, prompts
        self.prefilled = [0] * len(prompts)

    def read(self, rows: range) -> list[Reading]:
        import torch

        from prm.generation.kv_cache import Spans, in_place_cache

        distinct: dict[Ids, int] = {}
        for row in rows:
            if self.prompts[row] not in distinct:
                distinct[self.prompts[row]] = len(distinct)
                self.prefilled[row] = len(self.prompts[row])
        width = max(map(len, distinct))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in distinct], device=self.model.device)
        mask = positions = None
        if any(len(p) < width for p in distinct):
            mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in distinct], device=self.model.device)
            positions = (mask.cumsum(-1) - 1).clamp_(min=0)
        cache = in_place_cache(self.model.config)
        logits = forward(self.model, ids, cache, mask, positions)
        source = [distinct[self.prompts[row]] for row in rows]
        lengths = [len(self.prompts[row]) for row in rows]
        if len(distinct) < len(rows):
            logits = logits[torch.tensor(source, device=logits.device)]
        return [Reading(list(rows), [Spans(cache, source, [width] * len(rows), lengths)], logits)]


@dataclass(frozen=True)
class _Place:
    """Where a segment and its ancestors lie in a cache: token t of the prompt in column `offset + t` of `row`."""

    cache: DynamicCache
    row: int
    offset: int


class SharedPrompts:
    """Each token that prompts of the batch share is read once; what no later row needs is let go."""

    def __init__(self, model: Any, prompts: Sequence[Ids]):
        self.model = model
        self.contexts = [prompt[:-1] for prompt in prompts]
        self.tree = prefix_tree(self.contexts)
        claims = TokenClaims(self.tree)
        self.prefilled = [1 + claims.claim(context) for context in self.contexts]
        self.last_row = {s: row for row, c in enumerate(self.contexts) for s in self.tree.path(self._segment(c))}
        self.places: dict[int, _Place] = {}

    def _segment(self, context: Ids) -> int | None:
        return self.tree.segment_of[context]

    def read(self, rows: range) -> list[Reading]:
        wanted = {s for row in rows for s in self.tree.path(self._segment(self.contexts[row]))}
        segments = self.tree.segments
        unread = sorted(wanted - self.places.keys(), key=lambda s: (segments[s].level, len(segments[s].ids), s))
        for _, level in groupby(unread, key=lambda s: segments[s].level):
            for together in _passes(list(level), segments):
                self._read_segments(together)
        reading = self._spans(rows)
        self.places = {s: place for s, place in self.places.items() if self.last_row[s] >= rows.stop}
        return [reading]

    def _read_segments(self, indices: Sequence[int]) -> None:
        """One pass over segments of one level, on top of what was read before them."""
        import torch

        from prm.generation.kv_cache import Spans, gather, in_place_cache

        segments = [self.tree.segments[i] for i in indices]
        width = max(len(segment.ids) for segment in segments)
        # Padded on the right, where no token sees the padding. So without a past there is no need for a mask.
        ids = torch.tensor([list(s.ids) + [0] * (width - len(s.ids)) for s in segments], device=self.model.device)
        cache, mask, positions = in_place_cache(self.model.config), None, None
        past = max(segment.start for segment in segments)
        if past:
            parts = []
            for segment in segments:
                place = self.places[segment.parent]  # type: ignore[index]
                parts.append(Spans(place.cache, [place.row], [place.offset + segment.start], [segment.start]))
            cache = gather(parts, self.model.config)
            starts = torch.tensor([segment.start for segment in segments], device=self.model.device)
            columns = torch.arange(past + width, device=self.model.device)
            mask = (columns >= past - starts[:, None]).long()
            positions = starts[:, None] + columns[:width]
        forward(self.model, ids, cache, mask, positions)
        for row, (index, segment) in enumerate(zip(indices, segments, strict=True)):
            self.places[index] = _Place(cache, row, past - segment.start)

    def _spans(self, rows: range) -> Reading:
        from prm.generation.kv_cache import Spans, in_place_cache

        nothing = _Place(in_place_cache(self.model.config), 0, 0)
        by_cache: dict[int, list[tuple[int, _Place]]] = {}
        for row in rows:
            segment = self._segment(self.contexts[row])
            place = nothing if segment is None else self.places[segment]
            by_cache.setdefault(id(place.cache), []).append((row, place))
        parts = []
        for found in by_cache.values():
            lengths = [len(self.contexts[row]) for row, _ in found]
            ends = [place.offset + length for (_, place), length in zip(found, lengths, strict=True)]
            parts.append(Spans(found[0][1].cache, [place.row for _, place in found], ends, lengths))
        return Reading([row for found in by_cache.values() for row, _ in found], parts, None)


def prompt_reader(model: Any, prompts: Sequence[Ids], *, may_share: bool) -> PromptReader:
    """The reader for these prompts, where nothing is known of them.

    Args:
        may_share: whether the model's cache can share prefixes.
    """
    return (SharedPrompts if may_share and sharing_pays(prompts) else PlainPrompts)(model, prompts)


def _passes(indices: Sequence[int], segments: Sequence[Segment]) -> list[list[int]]:
    """Segments, the short first, in groups that one pass can take."""
    passes: list[list[int]] = []
    for index in indices:
        if not passes or (len(passes[-1]) + 1) * len(segments[index].ids) > _READ_TOKENS:
            passes.append([])
        passes[-1].append(index)
    return passes


def forward(
    model: Any, ids: torch.Tensor, cache: DynamicCache, mask: torch.Tensor | None, positions: torch.Tensor | None
) -> torch.Tensor:
    """One pass over new tokens (B, T) of every row of the cache; the logits (B, V) of the last column."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = output.logits[:, -1]
    return logits
