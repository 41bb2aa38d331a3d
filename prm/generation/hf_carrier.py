"""The `transformers` generator for the length of a search: the key-value caches of its branches stay.

A sample that ended with a stop text may be continued, so its row is kept, found again by its token ids: all but the
last, which was drawn and not read. The next call gathers such rows, reads that one token of each, once for all
samples behind it, and goes on. Other ends (end of text, out of tokens) are not continued. What is not kept is read
from its prompt on, as ever, and billed so.

A generated token is billed once, when it is drawn; reading it for the first time is part of that. So over a whole
search `prefilled + generated` tokens are those that went through the model, and the last ones, which nobody continued.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.kept_rows import KeptRow, KeptRows, kept_spans
from prm.generation.prefix_tree import Ids, sharing_pays
from prm.generation.prompt_reading import PromptReader, Reading, forward, prompt_reader

if TYPE_CHECKING:
    from transformers import DynamicCache

    from prm.generation.hf import HFGenerator


@dataclass(frozen=True)
class EndedRow:
    """A row that ended with a stop text: its slot in a cache, the column behind its last read token, and its ids."""

    slot: int
    end: int
    prompt_ids: Ids
    sampled_ids: Ids


@dataclass
class _Known:
    """A context that is kept: its row, and whether the token behind it was drawn, and billed, but never read."""

    row: KeptRow
    unread: bool

    @property
    def held(self) -> bool:
        return self.row.batch is not None


class Carried:
    """The contexts that a carrier knows; those that the call at hand continues are not let go meanwhile."""

    def __init__(self, model: Any, budget: int, *, may_share: bool):
        self.model, self.may_share = model, may_share
        self.rows = KeptRows([model.config], budget)
        self._known: dict[Ids, _Known] = {}
        self._pinned: set[KeptRow] = set()
        self._new: set[KeptRow] = set()

    def knows(self, prompt: Ids) -> bool:
        """Whether all but the last token of a prompt are in a cache."""
        known = self._known.get(prompt[:-1])
        return known is not None and known.held

    def expect(self, prompts: Iterable[Ids]) -> None:
        """Prompts of the call that begins: what is known of them stays until the next one."""
        self._pinned = {self._known[prompt[:-1]].row for prompt in prompts if self.knows(prompt)}
        self._new = set()

    def relieve(self) -> None:
        """Memory ran out: let go of all but what the call at hand needs, and what it has drawn."""
        self.rows.spare(self._pinned | self._new)

    def reader(self, prompts: Sequence[Ids]) -> PromptReader:
        """The reader for the prompts of one batch."""
        known = [self._known[prompt[:-1]] if self.knows(prompt) else None for prompt in prompts]
        return _KnownPrompts(self.model, prompts, known, may_share=self.may_share)

    def keep(self, cache: DynamicCache, ended: Sequence[EndedRow], *, whole: bool) -> None:
        """Keep rows of a cache, which is the carrier's from now on if `whole`, and else is copied from."""
        from prm.generation.kv_cache import rows_of

        slots = [row.slot for row in ended]
        layer: Any = cache.layers[0]
        columns, count = int(layer.keys.shape[-2]), int(layer.keys.shape[0]) if whole else len(slots)
        self.rows.make_room(columns * count, self._pinned)
        if not whole:
            cache, slots = rows_of(cache, slots, self.model.config), list(range(len(slots)))
        lengths = [len(row.prompt_ids) + len(row.sampled_ids) - 1 for row in ended]
        places = [(slot, row.end - length) for slot, row, length in zip(slots, ended, lengths, strict=True)]
        for row, kept in zip(ended, self.rows.add([cache], places, count), strict=True):
            self._new.add(kept)
            self._learn((*row.prompt_ids, *row.sampled_ids[:-1]), _Known(kept, unread=True))
            self._learn(row.prompt_ids[:-1], _Known(kept, unread=False))

    def retain(self, prompts: Iterable[Sequence[int]]) -> None:
        """Let go of every context but those of these prompts."""
        contexts = {tuple(prompt[:-1]) for prompt in prompts}
        self._known = {ids: known for ids, known in self._known.items() if known.held and ids in contexts}
        self._pinned, self._new = set(), set()
        lengths: dict[KeptRow, int] = {}
        for ids, known in self._known.items():
            lengths[known.row] = max(len(ids), lengths.get(known.row, 0))
        self.rows.retain(lengths)

    def _learn(self, context: Ids, known: _Known) -> None:
        before = self._known.get(context)
        if context and (before is None or not before.held):
            self._known[context] = known


class _KnownPrompts:
    """Reads the last token of prompts whose contexts are kept, each once, and the others whole."""

    def __init__(self, model: Any, prompts: Sequence[Ids], known: Sequence[_Known | None], *, may_share: bool):
        self.model, self.prompts, self.known = model, prompts, known
        self.new = [row for row, one in enumerate(known) if one is None]
        self.others = prompt_reader(model, [prompts[row] for row in self.new], may_share=may_share)
        self.prefilled = [0] * len(prompts)

    def read(self, rows: range) -> list[Reading]:
        readings = []
        if known := [row for row in rows if self.known[row] is not None]:
            readings.append(self._continue(known))
        if new := range(bisect_left(self.new, rows.start), bisect_left(self.new, rows.stop)):
            found = self.others.read(new)
            readings += [replace(one, rows=[self.new[at] for at in one.rows]) for one in found]
            for at in new:
                self.prefilled[self.new[at]] = self.others.prefilled[at]
        return readings

    def _continue(self, rows: Sequence[int]) -> Reading:
        """One pass over the last tokens of these prompts, on top of their contexts."""
        import torch

        from prm.generation.kv_cache import Spans, gather

        beginnings: dict[Ids, _Known] = {}
        for row in rows:
            known = self.known[row]
            assert known is not None
            if self.prompts[row] not in beginnings:
                beginnings[self.prompts[row]] = known
                self.prefilled[row] = 0 if known.unread else 1
                known.unread = False
        distinct = sorted(beginnings, key=lambda ids: _place_of(beginnings[ids].row, len(ids) - 1))
        lengths = [len(ids) - 1 for ids in distinct]
        cache = gather(kept_spans([(beginnings[ids].row, len(ids) - 1) for ids in distinct]), self.model.config)
        device, width = self.model.device, max(lengths)
        mask = positions = None
        if min(lengths) < width:
            starts = torch.tensor(lengths, device=device)[:, None]
            mask, positions = (torch.arange(width + 1, device=device) >= width - starts).long(), starts
        last = torch.tensor([ids[-1:] for ids in distinct], device=device)
        logits = forward(self.model, last, cache, mask, positions)
        number = {ids: at for at, ids in enumerate(distinct)}
        source = [number[self.prompts[row]] for row in rows]
        spans = Spans(cache, source, [width + 1] * len(rows), [len(self.prompts[row]) for row in rows])
        return Reading(list(rows), [spans], logits[torch.tensor(source, device=device)])


class HFCarrier:
    """A `Carrier` of an `HFGenerator`; `cache_tokens` is what its kept rows may hold, padding included."""

    keeps_state = True

    def __init__(self, generator: HFGenerator, cache_tokens: int):
        self.generator = generator
        self.carried = Carried(generator.model, cache_tokens, may_share=generator.shares_prefixes)
        self._peak_of_calls = 0

    @property
    def peak_cache_bytes(self) -> int:
        """The most that the caches held at a time, those of the rows being sampled included."""
        return max(self.carried.rows.peak_bytes, self._peak_of_calls)

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """As `HFGenerator.generate`: the same samples, up to the rounding of the model's logits. Tokens of a prompt
        that are kept are cached, not prefilled."""
        self.carried.expect(request.prompt_ids for request in requests)
        new = [request.prompt_ids for request in requests if not self.carried.knows(request.prompt_ids)]
        share = self.generator.shares_prefixes and sharing_pays(new)
        batches = self.generator.plan_batches(requests, sampling, share=share)
        answers = self.generator.run_batches(batches, requests, sampling, progress, self.carried)
        self._peak_of_calls = max(self._peak_of_calls, self.generator.peak_cache_bytes)
        return answers

    def retain(self, prompts: Iterable[Sequence[int]]) -> None:
        """Let go of all rows but those that these prompts continue."""
        self.carried.retain(prompts)


def _place_of(row: KeptRow, length: int) -> tuple[int, int, int, int]:
    """Rows in this order are gathered in few copies."""
    return (row.batch.number if row.batch else -1, row.offset + length, length, row.row)
