"""One batch from prompts to samples, on a key-value cache that finished rows leave.

Suffixes name the dimensions: R rows of the batch, S slots of the cache (the rows still in it), T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.sampling import draw_tokens, request_uniforms
from prm.rollouts import StopReason

if TYPE_CHECKING:
    import torch

    from prm.generation.hf import HFGenerator

_KEEP_SHARE = 0.75  # finished rows are dropped once the live ones are fewer than this share


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
    """One batch of R rows from prompts to samples. The cache holds `slots`, rows in this order, some of them
    finished already; its columns are padded on the left up to each row's length."""

    def __init__(self, generator: HFGenerator, requests: Sequence[GenerationRequest], sampling: SamplingParams):
        self.generator, self.requests, self.sampling = generator, requests, sampling
        self.device = generator.model.device
        room = [generator.context_length - len(request.prompt_ids) for request in requests]
        self.budget_R = np.minimum(room, sampling.max_new_tokens)
        self.stops = generator.stop_texts(sampling.stop)
        self.is_eos_V = np.zeros(generator.vocab_size, dtype=bool)
        self.is_eos_V[[i for i in generator.eos_ids if i < generator.vocab_size]] = True
        self.ids_RT = np.zeros((len(requests), int(self.budget_R.max())), dtype=np.int64)
        self.length_R = np.zeros(len(requests), dtype=np.int64)  # set when a row finishes
        self.reason_R = [StopReason.LENGTH] * len(requests)

    def run(self) -> list[Sample]:
        """Sample until every row is finished."""
        import torch

        logits_SV = self._prefill()
        uniforms_RT = torch.from_numpy(self._uniforms()).to(self.device)
        slots = np.arange(len(self.requests))
        for step in range(self.ids_RT.shape[1]):
            tokens_S = draw_tokens(logits_SV, uniforms_RT[slots, step], self.sampling)
            self._record(tokens_S.cpu().numpy(), slots, step)
            live = np.flatnonzero(self.length_R[slots] == 0)
            if not len(live):
                break
            if len(live) < _KEEP_SHARE * len(slots):
                slots, tokens_S = slots[live], self._keep(live, tokens_S)
            logits_SV = self._decode(tokens_S)
        return [self._sample(row) for row in range(len(self.requests))]

    def _record(self, tokens_S: np.ndarray, slots: np.ndarray, step: int) -> None:
        """Note one token per slot, and which rows it finished."""
        self.ids_RT[slots, step] = tokens_S
        eos_S = self.is_eos_V[tokens_S]
        done_S = eos_S | (self.budget_R[slots] == step + 1)
        if self.sampling.stop:
            stopped_S = self.stops.finished(self.ids_RT[slots, max(0, step + 1 - self.stops.tail_tokens) : step + 1])
            done_S |= stopped_S
        for at in np.flatnonzero(done_S & (self.length_R[slots] == 0)).tolist():
            self.length_R[slots[at]] = step + 1
            if eos_S[at]:
                self.reason_R[slots[at]] = StopReason.EOS
            elif self.sampling.stop and stopped_S[at]:
                self.reason_R[slots[at]] = StopReason.STOP

    def _sample(self, row: int) -> Sample:
        ids = self.ids_RT[row, : self.length_R[row]].tolist()
        return Sample(
            ids, self.reason_R[row], self.prefilled[row], len(self.requests[row].prompt_ids) - self.prefilled[row]
        )

    def _uniforms(self) -> np.ndarray:
        if self.sampling.temperature == 0:
            return np.zeros(self.ids_RT.shape, dtype=np.float32)
        return request_uniforms([request.seed for request in self.requests], self.ids_RT.shape[1])

    def _prefill(self) -> torch.Tensor:
        """Read each distinct prompt once; returns the logits (R, V) after every row's prompt."""
        import torch

        distinct: dict[tuple[int, ...], int] = {}
        self.prefilled: list[int] = []
        for request in self.requests:
            self.prefilled.append(0 if request.prompt_ids in distinct else len(request.prompt_ids))
            distinct.setdefault(request.prompt_ids, len(distinct))
        logits = self._read_prompts(list(distinct))
        if len(distinct) == len(self.requests):
            return logits
        source = torch.tensor([distinct[request.prompt_ids] for request in self.requests], device=self.device)
        self._select(source)
        return logits[source]

    def _read_prompts(self, prompts: Sequence[tuple[int, ...]]) -> torch.Tensor:
        import torch

        from prm.generation.kv_cache import in_place_cache

        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.device)
        self.lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        self.mask = None
        if any(len(p) < width for p in prompts):
            self.mask = (torch.arange(width, device=self.device) >= width - self.lengths[:, None]).long()
        self.cache = in_place_cache(self.generator.model.config)
        positions = None if self.mask is None else (self.mask.cumsum(-1) - 1).clamp_(min=0)
        return self._forward(ids, positions)

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, V) after one more token per slot."""
        import torch

        positions = None
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], dim=1)
            # A finished row that is still in the cache may run past the context; its tokens are not read.
            positions = self.lengths[:, None].clamp(max=self.generator.context_length - 1)
        logits = self._forward(tokens[:, None], positions)
        self.lengths = self.lengths + 1
        return logits

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        output = self.generator.model(
            input_ids=ids,
            attention_mask=self.mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def _keep(self, kept: np.ndarray, tokens_S: torch.Tensor) -> torch.Tensor:
        """Let the finished rows go; returns the tokens of the slots that stay."""
        import torch

        indices = torch.from_numpy(kept).to(self.device)
        self._select(indices)
        return tokens_S[indices]

    def _select(self, indices: torch.Tensor) -> None:
        self.cache.batch_select_indices(indices)
        self.lengths = self.lengths[indices]
        self.mask = None if self.mask is None else self.mask[indices]
