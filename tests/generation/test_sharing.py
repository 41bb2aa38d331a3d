"""Shared prefixes and refilled slots: the same tokens as `model.generate`, and every prompt token read once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.hf import HFGenerator
from prm.generation.prefix_tree import sharing_pays
from prm.generation.prompt_reading import SharedPrompts
from prm.generation.slots import Slots
from prm.step_format import PromptFormat
from tests.generation.greedy import transformers_greedy

TINY: dict[str, Any] = {
    "vocab_size": 258,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,  # tied, a random model says the last token again
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
SLIDING = {**TINY, "sliding_window": 16}
FULL_MODELS: dict[str, Callable[[], Any]] = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**{k: v for k, v in TINY.items() if k != "head_dim"})),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**TINY)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**TINY)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**{**TINY, "num_key_value_heads": 1})),
}
SLIDING_MODELS: dict[str, Callable[[], Any]] = {
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SLIDING)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SLIDING, layer_types=["sliding_attention", "full_attention"])
    ),
}


def build(make: Callable[[], Any], tokenizer: Any, **limits: int) -> HFGenerator:
    torch.manual_seed(0)
    made = HFGenerator(make(), tokenizer, PromptFormat(), **limits)
    made.eos_ids = tuple(range(2, 24))  # so that rows end at different times
    return made


def text(rng: random.Random, tokens: int) -> tuple[int, ...]:
    return tuple(rng.randrange(12, 256) for _ in range(tokens))


def prefixes(samples: int = 2) -> list[GenerationRequest]:
    """Two rollouts of one problem and one of another: `samples` requests for each of their prefixes, shuffled."""
    rng = random.Random(0)
    prompts = []
    for problem, rollouts in ((text(rng, 270), 2), (text(rng, 120), 1)):
        for _ in range(rollouts):
            solution = text(rng, 30)
            prompts += [problem + solution[:length] for length in (0, 9, 30)]
    requests = [GenerationRequest(prompt, rng.getrandbits(63)) for prompt in prompts for _ in range(samples)]
    rng.shuffle(requests)
    assert sharing_pays([request.prompt_ids for request in requests])
    return requests


@pytest.mark.parametrize("limits", [{}, {"max_batch_rows": 5, "rows_per_slot": 4}], ids=["whole", "refilled"])
@pytest.mark.parametrize("name", [*FULL_MODELS, *SLIDING_MODELS])
def test_greedy_output_equals_model_generate(tokenizer: Any, name: str, limits: dict[str, int]) -> None:
    generator = build({**FULL_MODELS, **SLIDING_MODELS}[name], tokenizer, **limits)
    assert generator.shares_prefixes == (name in FULL_MODELS)
    asked = prefixes()
    answers = generator.generate(asked, SamplingParams(temperature=0, max_new_tokens=12))
    expected = {
        prompt: transformers_greedy(generator, prompt, 12) for prompt in {request.prompt_ids for request in asked}
    }
    assert [list(a.token_ids) for a in answers] == [expected[request.prompt_ids] for request in asked]
    assert len({len(ids) for ids in expected.values()}) > 1


@pytest.mark.parametrize("name", FULL_MODELS)
def test_logits_on_shared_prefixes_equal_those_of_a_full_pass(tokenizer: Any, name: str) -> None:
    """Also where the rows are read in two calls, the second on top of what the first has left."""
    generator = build(FULL_MODELS[name], tokenizer)
    prompts = [*sorted({request.prompt_ids for request in prefixes()}), (40,), (40, 41)]
    reader = SharedPrompts(generator.model, prompts)
    assert {segment.level for segment in reader.tree.segments} == {0, 1}
    with torch.inference_mode():
        for rows in (range(6), range(6, len(prompts))):
            (reading,) = reader.read(rows)
            slots = Slots(generator.model, generator.context_length)
            slots.gather([], reading.parts, torch.tensor([prompts[row][-1] for row in reading.rows]))
            logits = slots.decode()
            for row, found in zip(reading.rows, logits, strict=True):
                expected = generator.model(torch.tensor([prompts[row]])).logits[0, -1]
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not reader.places  # nothing is held for rows that are through


@pytest.mark.parametrize("rows_per_slot", [1, 4])
def test_samples_do_not_depend_on_their_batch_or_on_who_enters(tokenizer: Any, rows_per_slot: int) -> None:
    generator = build(FULL_MODELS["qwen2"], tokenizer, max_batch_rows=6, rows_per_slot=rows_per_slot)
    asked = prefixes()
    sampling = SamplingParams(max_new_tokens=12, stop=tuple("ABCDEFGHIJKL"))
    alone = [generator.generate([request], sampling)[0] for request in asked]
    together = generator.generate(asked, sampling)
    assert [(c.token_ids, c.stop_reason) for c in together] == [(c.token_ids, c.stop_reason) for c in alone]
    assert len({c.stop_reason for c in together}) == 3


def test_short_prompts_are_refilled_too(generator: HFGenerator) -> None:
    asked = [GenerationRequest(tuple(generator.prompt_ids(f"{i}+2-{i}")), i) for i in (*range(8), *range(10, 18))]
    generator.eos_ids = tuple(range(2, 40))
    sampling = SamplingParams(max_new_tokens=15)
    alone = [generator.generate([request], sampling)[0].token_ids for request in asked]
    generator.max_batch_rows, generator.rows_per_slot = 4, 8
    assert len(generator.plan_batches(asked, sampling)) == 1
    assert [c.token_ids for c in generator.generate(asked, sampling)] == alone
    assert len({len(ids) for ids in alone}) > 3


@pytest.mark.parametrize("rows_per_slot", [1, 4])
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_prefilled_tokens_are_those_that_went_through_the_model(tokenizer: Any, name: str, rows_per_slot: int) -> None:
    """Prompts have no token 0, which pads: what is read of them can be counted in the model's inputs."""
    generator = build(
        {**FULL_MODELS, **SLIDING_MODELS}[name], tokenizer, max_batch_rows=7, rows_per_slot=rows_per_slot
    )
    seen: list[int] = []

    def count(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[1] > 1:
            seen.append(int((inputs["input_ids"] != 0).sum()))

    generator.model.register_forward_pre_hook(count, with_kwargs=True)
    asked = prefixes()
    sampling = SamplingParams(max_new_tokens=5)
    costs = [completion.cost for completion in generator.generate(asked, sampling)]
    batches = [[asked[i].prompt_ids for i in batch] for batch in generator.plan_batches(asked, sampling)]
    shared = [batch for batch in batches if generator.shares_prefixes and sharing_pays(batch)]
    assert bool(shared) == (name == "llama")
    own_reads = sum(map(len, shared))  # the last token of every row's prompt
    assert sum(cost.prefilled_tokens for cost in costs) == sum(seen) + own_reads
    assert [c.prefilled_tokens + c.cached_tokens for c in costs] == [len(r.prompt_ids) for r in asked]


def test_shared_tokens_are_read_once(tokenizer: Any) -> None:
    """Stems of 270 and 120 tokens, three solutions of 30; the last token of each longest prompt is its rows' own."""
    asked = prefixes()
    answers = build(FULL_MODELS["qwen2"], tokenizer).generate(asked, SamplingParams(max_new_tokens=1))
    assert sum(a.cost.prefilled_tokens for a in answers) == (270 + 2 * 29) + (120 + 29) + len(asked)
