"""One batch from prompts to samples, on a key-value cache that finished rows leave and waiting rows enter.

Suffixes name the dimensions: R rows of the batch, S slots of the cache (the rows that are in it now), T tokens,
V vocabulary. Which rows are in the cache together depends on the batch alone, so that a batch that is run again draws
the same samples to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.hf_carrier import EndedRow
from prm.generation.prompt_reading import PromptReader, Reading, prompt_reader
from prm.generation.sampling import draw_tokens, request_uniforms
from prm.generation.slots import Slots
from prm.rollouts import StopReason

if TYPE_CHECKING:
    import torch

    from prm.generation.hf import HFGenerator
    from prm.generation.hf_carrier import Carried

_KEEP_SHARE = 0.75  # finished rows are dropped, and waiting ones let in, once the live ones are fewer than this share


@dataclass(frozen=True)
class Sample:
    """A finished row: its ids (an end-of-text id included), why it ended, and how its prompt was read."""

    token_ids: list[int]
    reason: StopReason
    prefilled: int
    cached: int

    @property
    def text_ids(self) -> list[int]:
        return self.token_ids[:-1] if self.reason is StopReason.EOS else self.token_ids


class BatchRun:
    """R rows from prompts to samples, at most `capacity` of them at a time. `cache` holds `slots`, rows in this order,
    some of them finished already; `peak_bytes` is the most that it held at a time, and `carried` beside it."""

    def __init__(
        self,
        generator: HFGenerator,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        capacity: int,
        carried: Carried | None = None,
    ):
        self.generator, self.requests, self.sampling = generator, requests, sampling
        self.capacity = capacity
        room = [generator.context_length - len(request.prompt_ids) for request in requests]
        self.budget_R = np.minimum(room, sampling.max_new_tokens)
        self.stops = generator.stop_texts(sampling.stop)
        self.is_eos_V = np.zeros(generator.vocab_size, dtype=bool)
        self.is_eos_V[[i for i in generator.eos_ids if i < generator.vocab_size]] = True
        self.ids_RT = np.zeros((len(requests), int(self.budget_R.max())), dtype=np.int64)
        self.length_R = np.zeros(len(requests), dtype=np.int64)  # tokens sampled so far
        self.done_R = np.zeros(len(requests), dtype=bool)
        self.reason_R = [StopReason.LENGTH] * len(requests)
        self.cache = Slots(generator.model, generator.context_length)
        self.slots = np.zeros(0, dtype=np.int64)
        self.end_R = np.zeros(len(requests), dtype=np.int64)  # the column behind a finished row's last read token
        self.entered = 0
        self.peak_bytes = 0
        self.carried = carried
        prompts = [request.prompt_ids for request in requests]
        self.reader: PromptReader = (
            carried.reader(prompts)
            if carried
            else prompt_reader(generator.model, prompts, may_share=generator.shares_prefixes)
        )

    def run(self) -> list[Sample]:
        """Sample until every row is finished."""
        import torch

        self.uniforms_RT = torch.from_numpy(self._uniforms()).to(self.cache.device)
        while self.entered < len(self.requests) or not self.done_R.all():
            live = np.flatnonzero(~self.done_R[self.slots])
            if self._may_enter(len(live)):
                self._enter(live)
                continue  # a row may have ended with its first token
            if len(live) < _KEEP_SHARE * len(self.slots):
                self._leave()
                self.slots = self.slots[live]
                self.cache.keep(live)
            self.cache.pending_S = self._draw(self.cache.decode(), self.slots)
            self._weigh()
        self._leave(last=True)
        return [self._sample(row) for row in range(len(self.requests))]

    def _may_enter(self, live: int) -> bool:
        if self.entered == len(self.requests):
            return False
        return live == 0 or (self.generator.shares_prefixes and live < _KEEP_SHARE * self.capacity)

    def _enter(self, live: np.ndarray) -> None:
        """Let waiting rows take the slots that are not live."""
        import torch

        until = min(len(self.requests), self.entered + self.capacity - len(live))
        readings = self.reader.read(range(self.entered, until))
        self.entered = until
        self._leave()
        rows = np.array([row for reading in readings for row in reading.rows])
        parts = [part for reading in readings for part in reading.parts]
        pending_S = torch.cat([self._first_tokens(reading) for reading in readings])
        if len(live) or len(parts) > 1 or readings[0].logits is None:
            self.cache.gather(live, parts, pending_S)
        else:
            self.cache.adopt(parts[0], pending_S)
        self.slots = np.concatenate([self.slots[live], rows])
        self._weigh()
        self.end_R[rows] = self.cache.width  # of those that ended with their first token

    def _weigh(self) -> None:
        from prm.generation.kv_cache import held_bytes

        kept = self.carried.rows.bytes if self.carried else 0
        self.peak_bytes = max(self.peak_bytes, kept + held_bytes(self.cache.cache))

    def _first_tokens(self, reading: Reading) -> torch.Tensor:
        """What the rows of a reading read next: their first sampled token, or their prompt's last."""
        import torch

        if reading.logits is not None:
            return self._draw(reading.logits, np.array(reading.rows))
        return torch.tensor([self.requests[row].prompt_ids[-1] for row in reading.rows], device=self.cache.device)

    def _leave(self, *, last: bool = False) -> None:
        """Let the carrier have the rows that ended with a stop text, before they are let go: they may be continued."""
        if self.carried is None:
            return
        ended = [
            EndedRow(slot, int(self.end_R[row]), request.prompt_ids, tuple(self._ids(row)))
            for slot, row in enumerate(self.slots.tolist())
            if self.done_R[row] and self.reason_R[row] is StopReason.STOP
            for request in [self.requests[row]]
        ]
        if ended:
            self.carried.keep(self.cache.cache, ended, whole=last and 2 * len(ended) > len(self.slots))

    def _draw(self, logits_SV: torch.Tensor, slots: np.ndarray) -> torch.Tensor:
        """The next token of each of these rows, noted."""
        at = np.minimum(self.length_R[slots], self.ids_RT.shape[1] - 1)
        tokens_S = draw_tokens(logits_SV, self.uniforms_RT[slots, at], self.sampling)
        self._record(tokens_S.cpu().numpy(), slots)
        return tokens_S

    def _record(self, tokens_S: np.ndarray, slots: np.ndarray) -> None:
        """Note one token per live row, and which rows it finished."""
        live_S = ~self.done_R[slots]
        rows, tokens = slots[live_S], tokens_S[live_S]
        self.ids_RT[rows, self.length_R[rows]] = tokens
        self.length_R[rows] += 1
        eos = self.is_eos_V[tokens]
        done = eos | (self.length_R[rows] == self.budget_R[rows])
        stopped = self.stops.finished(tokens, lambda at: self._tail(rows[at])) if self.sampling.stop else eos
        for at in np.flatnonzero(done | stopped).tolist():
            if eos[at]:
                self.reason_R[rows[at]] = StopReason.EOS
            elif stopped[at]:
                self.reason_R[rows[at]] = StopReason.STOP
        self.done_R[rows] = done | stopped
        self.end_R[rows] = self.cache.width

    def _tail(self, row: int) -> list[int]:
        end = int(self.length_R[row])
        tail: list[int] = self.ids_RT[row, max(0, end - self.stops.tail_tokens) : end].tolist()
        return tail

    def _ids(self, row: int) -> list[int]:
        ids: list[int] = self.ids_RT[row, : self.length_R[row]].tolist()
        return ids

    def _sample(self, row: int) -> Sample:
        prefilled = self.reader.prefilled[row]
        return Sample(self._ids(row), self.reason_R[row], prefilled, len(self.requests[row].prompt_ids) - prefilled)

    def _uniforms(self) -> np.ndarray:
        if self.sampling.temperature == 0:
            return np.zeros(self.ids_RT.shape, dtype=np.float32)
        return request_uniforms([request.seed for request in self.requests], self.ids_RT.shape[1])
