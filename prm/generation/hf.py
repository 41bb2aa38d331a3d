"""The `transformers` generator: large batches, sampled on a key-value cache whose prompts share their beginnings.

`model.generate` pads a batch to its longest row, computes finished rows to the end and draws from one global random
stream. Here finished rows leave and waiting ones enter, every row has its own random numbers
(`prm.generation.batch_run`), and what prompts share is read once (`prm.generation.prompt_reading`): the samples of one
prefix, the prefixes of one rollout, the rollouts of one problem. Batches come from `prm.generation.plan`, stop texts
from `prm.generation.stopping`; `prm.generation.hf_carrier` keeps caches from call to call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.batch_run import BatchRun, Sample
from prm.generation.carried import Carrier, Uncarried
from prm.generation.plan import plan_batches, slots_that_fit
from prm.generation.prompt_ids import PromptIds
from prm.generation.stopping import StopTexts
from prm.model_shape import attention_costs
from prm.out_of_memory import in_halves
from prm.rollouts import Cost, StopReason
from prm.step_format import PromptFormat

if TYPE_CHECKING:
    from prm.generation.hf_carrier import Carried

BATCH_TOKENS = 131_072


class HFGenerator:
    """A `Generator` over a causal language model of `transformers`.

    Args:
        model: a causal language model in evaluation mode; decoder-only.
        tokenizer: its tokenizer.
        prompt: how a problem becomes a prompt.
        name, revision: identify the weights.
        batch_tokens: tokens, prompts and new ones, that the cache of one batch may hold.
        max_batch_rows: rows in that cache at a time; by default 512 on a CPU and 1024 elsewhere.
        rows_per_slot: rows of one batch for each of those; with more than one, waiting rows enter where finished ones
            left, and a killed run loses that much more. By default 1 on a CPU, where a step costs what its rows cost
            and rows of different ages need an attention mask (4 was measured 10 to 30% slower), and 4 elsewhere, where
            a step with few rows takes about as long as one with many (a choice that has not been measured here).

    `peak_cache_bytes` is the most that the caches of the latest call held at a time, those of a carrier included; 0
    where the model's layers keep something else.
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
        rows_per_slot: int | None = None,
    ):
        from prm.generation.kv_cache import can_gather, in_place_cache

        self.model, self.tokenizer, self.prompt = model.eval(), tokenizer, prompt
        self.name, self.revision = name, revision
        self.batch_tokens = batch_tokens
        on_cpu = model.device.type == "cpu"
        self.max_batch_rows = max_batch_rows or (512 if on_cpu else 1024)
        self.rows_per_slot = rows_per_slot or (1 if on_cpu else 4)
        self.shares_prefixes = can_gather(in_place_cache(model.config))
        config = model.config.get_text_config(decoder=True)
        self.vocab_size: int = config.vocab_size
        self.context_length: int = int(getattr(config, "max_position_embeddings", None) or 2**31)
        self.num_parameters: int = _multiplied_parameters(model)
        self.attention_flops_per_pair, self.cache_bytes_per_token = attention_costs(model)
        self.eos_ids = _eos_ids(model, tokenizer)
        self.peak_cache_bytes = 0
        self._stops: dict[tuple[str, ...], StopTexts] = {}
        self._prompt_ids = PromptIds(prompt, tokenizer)

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
        """Load a checkpoint from a directory, from the Hub, or `embedded:generator`.

        Args:
            device: by default CUDA where there is one.
            dtype: `auto`, `float32`, `bfloat16` or `float16`; by default float32 on a CPU, else the checkpoint's own.

        Raises:
            MissingFileError, ModelError: see `prm.generation.checkpoint.load_causal_lm`.
        """
        import torch

        from prm.generation.checkpoint import load_causal_lm, model_name, model_revision
        from prm.worlds.models import expand_embedded

        model_name_or_path = expand_embedded(model_name_or_path)
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
        return self._prompt_ids(problem, prefix)

    def carry(self, cache_tokens: int | None = None) -> Carrier:
        """This generator for the length of a search: it keeps the caches of samples that ended with a stop text.

        Args:
            cache_tokens: tokens that they may hold; by default twice those of one batch, `batch_tokens`: one batch of
                live branches, and what they were drawn from. A model with layers that forget (sliding windows, linear
                attention) keeps nothing.
        """
        from prm.generation.hf_carrier import HFCarrier

        return HFCarrier(self, cache_tokens or 2 * self.batch_tokens) if self.shares_prefixes else Uncarried(self)

    def plan_batches(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams, *, share: bool | None = None
    ) -> list[list[int]]:
        """Indices of the requests in the batches that `generate` would run, in order.

        Args:
            share: whether prompts may be ordered by what they share; by default where the model's cache can share it.
        """
        return plan_batches(
            requests,
            sampling.max_new_tokens,
            batch_tokens=self.batch_tokens,
            max_batch_rows=self.max_batch_rows,
            rows_per_slot=self.rows_per_slot,
            share=self.shares_prefixes if share is None else share,
        )

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order.

        A prompt that leaves no room in the context, or runs out of it, ends with `StopReason.LENGTH`. Costs: each
        prompt token that went through the model is prefilled for one request, the first of the batch that needed it,
        and cached for the others. Where prefixes are shared, every request reads its prompt's last token itself.
        `attended_tokens` counts what generated and prefilled tokens attend to; `seconds` stays 0, for it belongs to
        the batch.
        """
        return self.run_batches(self.plan_batches(requests, sampling), requests, sampling, progress)

    def run_batches(
        self,
        batches: Sequence[Sequence[int]],
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
        carried: Carried | None = None,
    ) -> list[Completion]:
        """Answer the requests, in order, batch by batch; `carried` are the contexts that need no reading. A batch that
        memory does not suffice for is halved."""
        completions: dict[int, Completion] = {}
        self.peak_cache_bytes = 0
        for batch in batches:
            answers = in_halves(
                lambda some: self._run_batch(some, sampling, carried),
                [requests[index] for index in batch],
                relieve=carried.relieve if carried else None,
            )
            completions.update(zip(batch, answers, strict=True))
            if progress:
                progress(len(batch))
        return [completions[i] for i in range(len(requests))]

    def _run_batch(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams, carried: Carried | None
    ) -> list[Completion]:
        import torch

        fits = [0 < len(request.prompt_ids) < self.context_length for request in requests]
        fitting = [request for request, fit in zip(requests, fits, strict=True) if fit]
        if not fitting:
            return [Completion((), "", StopReason.LENGTH) for _ in requests]
        with torch.inference_mode():
            longest = max(len(request.prompt_ids) for request in fitting)
            slots = slots_that_fit(longest + sampling.max_new_tokens, self.batch_tokens, self.max_batch_rows)
            run = BatchRun(self, fitting, sampling, slots, carried)
            samples = run.run()
        self.peak_cache_bytes = max(self.peak_cache_bytes, run.peak_bytes)
        texts = self.tokenizer.batch_decode([sample.text_ids for sample in samples], skip_special_tokens=True)
        answers = iter([self._completion(sample, text) for sample, text in zip(samples, texts, strict=True)])
        return [next(answers) if fit else Completion((), "", StopReason.LENGTH) for fit in fits]

    def _completion(self, sample: Sample, text: str) -> Completion:
        prompt = sample.prefilled + sample.cached
        until, known = prompt + len(sample.token_ids), prompt - sample.prefilled
        cost = Cost(
            generated_tokens=len(sample.token_ids),
            prefilled_tokens=sample.prefilled,
            cached_tokens=sample.cached,
            flops=2.0 * self.num_parameters * (sample.prefilled + len(sample.token_ids)),
            attended_tokens=(until * (until + 1) - known * (known + 1)) // 2,
        )
        return Completion(tuple(sample.token_ids), text, sample.reason, cost)

    def stop_texts(self, stop: tuple[str, ...]) -> StopTexts:
        """The tables for these stop texts, built once."""
        if stop not in self._stops:
            self._stops[stop] = StopTexts(self.tokenizer, stop, self.vocab_size)
        return self._stops[stop]


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
