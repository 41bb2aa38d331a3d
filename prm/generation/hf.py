"""The `transformers` generator: large length-sorted batches, sampled on a key-value cache.

`model.generate` pads a batch to its longest row, computes finished rows to the end and draws from one global random
stream. Here finished rows leave, a prompt sampled n times is read once, and every row has its own random numbers
(`prm.generation.sampling`). Batches come from `prm.generation.plan`, stop texts from `prm.generation.stopping`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.plan import plan_batches
from prm.generation.sampling import draw_tokens, request_uniforms
from prm.generation.stopping import StopTexts
from prm.rollouts import Cost, StopReason
from prm.step_format import PromptFormat, encode_plain

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = 131_072
_KEEP_SHARE = 0.75  # finished rows are dropped once the live ones are fewer than this share


class HFGenerator:
    """A `Generator` over a causal language model of `transformers`.

    Args:
        model: a causal language model in evaluation mode; decoder-only.
        tokenizer: its tokenizer.
        prompt: how a problem becomes a prompt.
        name, revision: identify the weights.
        batch_tokens: tokens, prompts and new ones, that the cache of one batch may hold.
        max_batch_rows: rows of one batch; by default 512 on a CPU and 1024 elsewhere.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompt: PromptFormat,
        *,
        name: str = "generator",
        revision: str = "",
        batch_tokens: int = BATCH_TOKENS,
        max_batch_rows: int | None = None,
    ):
        self.model, self.tokenizer, self.prompt = model.eval(), tokenizer, prompt
        self.name, self.revision = name, revision
        self.batch_tokens = batch_tokens
        self.max_batch_rows = max_batch_rows or (512 if model.device.type == "cpu" else 1024)
        config = model.config.get_text_config(decoder=True)
        self.vocab_size: int = config.vocab_size
        self.context_length: int = int(getattr(config, "max_position_embeddings", None) or 2**31)
        self.num_parameters: int = _multiplied_parameters(model)
        self.eos_ids = _eos_ids(model, tokenizer)
        self._stops: dict[tuple[str, ...], StopTexts] = {}
        self._problem_ids = lru_cache(maxsize=65536)(lambda problem: tuple(prompt.ids(problem, tokenizer)))

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        prompt: PromptFormat,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
        max_batch_rows: int | None = None,
    ) -> HFGenerator:
        """Load a checkpoint from a directory or the Hub.

        Args:
            device: by default CUDA where there is one.
            dtype: `auto`, `float32`, `bfloat16` or `float16`; by default float32 on a CPU, else the checkpoint's own.

        Raises:
            MissingFileError, ModelError: see `prm.generation.checkpoint.load_causal_lm`.
        """
        import torch

        from prm.generation.checkpoint import load_causal_lm, model_name, model_revision

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model, tokenizer = load_causal_lm(model_name_or_path, device=device, dtype=dtype)
        return cls(
            model,
            tokenizer,
            prompt,
            name=model_name(model_name_or_path),
            revision=model_revision(model_name_or_path),
            batch_tokens=batch_tokens,
            max_batch_rows=max_batch_rows,
        )

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        """Token ids of the prompt, followed by those of a started solution, encoded by itself."""
        return [*self._problem_ids(problem), *(encode_plain(self.tokenizer, prefix) if prefix else ())]

    def plan_batches(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[list[int]]:
        """Indices of the requests in the batches that `generate` would run, in order."""
        return plan_batches(
            requests, sampling.max_new_tokens, batch_tokens=self.batch_tokens, max_batch_rows=self.max_batch_rows
        )

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order.

        A prompt that leaves no room in the context, or runs out of it, ends with `StopReason.LENGTH`. Costs: a
        prompt's tokens are prefilled by its first request in a batch and cached for the others; `seconds` stays 0,
        for it belongs to the batch.
        """
        completions: dict[int, Completion] = {}
        for batch in self.plan_batches(requests, sampling):
            answers = self._run_batch([requests[i] for i in batch], sampling)
            completions.update(zip(batch, answers, strict=True))
            if progress:
                progress(len(batch))
        return [completions[i] for i in range(len(requests))]

    def _run_batch(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[Completion]:
        import torch

        fits = [0 < len(request.prompt_ids) < self.context_length for request in requests]
        fitting = [request for request, fit in zip(requests, fits, strict=True) if fit]
        with torch.inference_mode():
            samples = _BatchRun(self, fitting, sampling).run() if fitting else []
        texts = self.tokenizer.batch_decode([sample.text_ids for sample in samples], skip_special_tokens=True)
        answers = iter([self._completion(sample, text) for sample, text in zip(samples, texts, strict=True)])
        return [next(answers) if fit else Completion((), "", StopReason.LENGTH) for fit in fits]

    def _completion(self, sample: _Sample, text: str) -> Completion:
        cost = Cost(
            generated_tokens=len(sample.token_ids),
            prefilled_tokens=sample.prefilled,
            cached_tokens=sample.cached,
            flops=2.0 * self.num_parameters * (sample.prefilled + len(sample.token_ids)),
        )
        return Completion(tuple(sample.token_ids), text, sample.reason, cost)

    def stop_texts(self, stop: tuple[str, ...]) -> StopTexts:
        """The tables for these stop texts, built once."""
        if stop not in self._stops:
            self._stops[stop] = StopTexts(self.tokenizer, stop, self.vocab_size)
        return self._stops[stop]


@dataclass(frozen=True)
class _Sample:
    """A finished row: its ids (an end-of-text id included), why it ended, and how its prompt was read."""

    token_ids: list[int]
    reason: StopReason
    prefilled: int
    cached: int

    @property
    def text_ids(self) -> list[int]:
        return self.token_ids[:-1] if self.reason is StopReason.EOS else self.token_ids


class _BatchRun:
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

    def run(self) -> list[_Sample]:
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

    def _sample(self, row: int) -> _Sample:
        ids = self.ids_RT[row, : self.length_R[row]].tolist()
        return _Sample(
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


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends a text: the tokenizer's, and those of the generation config (chat models have several)."""
    ids: set[int] = set()
    for value in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        ids.update(value if isinstance(value, list | tuple) else [] if value is None else [value])
    return tuple(sorted(ids))


def _multiplied_parameters(model: Any) -> int:
    """All parameters but an input embedding that is only looked up; a tied one is multiplied with, as output layer."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embedding.weight
    return int(sum(p.numel() for p in model.parameters()) - (0 if tied else embedding.weight.numel()))
