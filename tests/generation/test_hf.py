"""The transformers generator against `model.generate` and against the model's own distribution."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.hf import HFGenerator
from prm.rollouts import StopReason
from prm.step_format import PromptFormat
from tests.generation.greedy import transformers_greedy

PROBLEMS = ["1+2", "7+5-3", "7+5-3", "10*2-5+31", "9-8", "44+5*2-6+7-80"]
GREEDY = SamplingParams(temperature=0, max_new_tokens=24)


def requests(generator: Any, problems: list[str] = PROBLEMS) -> list[GenerationRequest]:
    return [GenerationRequest(tuple(generator.prompt_ids(problem)), seed) for seed, problem in enumerate(problems)]


def with_eos(generator: HFGenerator, token: int) -> HFGenerator:
    """An untrained model rarely ends a text by itself: let a token that it does sample be the end."""
    generator.eos_ids = (token,)
    return generator


@pytest.mark.parametrize("max_batch_rows", [1, 2, 64])
def test_greedy_output_equals_model_generate(generator: HFGenerator, max_batch_rows: int) -> None:
    asked = requests(generator)
    generator.max_batch_rows = max_batch_rows
    common = Counter(t for r in asked for t in transformers_greedy(generator, r.prompt_ids, 24)).most_common(3)[-1][0]
    with_eos(generator, common)
    completions = generator.generate(asked, GREEDY)
    expected = [transformers_greedy(generator, request.prompt_ids, 24) for request in asked]
    assert [list(completion.token_ids) for completion in completions] == expected
    assert len({len(ids) for ids in expected}) > 1  # rows left the batch at different times


def test_samples_do_not_depend_on_their_batch(generator: HFGenerator) -> None:
    sampling = SamplingParams(max_new_tokens=20)
    asked = requests(generator)
    alone = [generator.generate([request], sampling)[0].token_ids for request in asked]
    assert [c.token_ids for c in generator.generate(asked, sampling)] == alone
    assert [c.token_ids for c in generator.generate(asked[::-1], sampling)] == alone[::-1]
    assert alone[1] != alone[2]  # the same prompt with another seed


@pytest.mark.parametrize("sampling", [SamplingParams(max_new_tokens=1), SamplingParams(0.7, 0.8, 1)])
def test_samples_follow_the_models_distribution(generator: HFGenerator, sampling: SamplingParams) -> None:
    """Pearson's statistic over tokens expected at least five times stays below its mean by six deviations."""
    prompt = tuple(generator.prompt_ids("7+5-3"))
    draws = 20_000
    completions = generator.generate([GenerationRequest(prompt, seed) for seed in range(draws)], sampling)
    counts = Counter(completion.token_ids[0] for completion in completions)
    with torch.inference_mode():
        logits = generator.model(torch.tensor([prompt])).logits[0, -1]
    expected = nucleus((logits / sampling.temperature).softmax(-1), sampling.top_p) * draws
    assert all(expected[token] > 0 for token in counts)
    cells = [(counts[t], float(e)) for t, e in enumerate(expected) if e >= 5]
    statistic = sum((observed - e) ** 2 / e for observed, e in cells)
    degrees = len(cells) - 1
    assert degrees >= 3
    assert statistic < degrees + 6 * (2 * degrees) ** 0.5


def nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    kept = torch.zeros_like(probabilities)
    for token in probabilities.argsort(descending=True).tolist():
        if float(kept.sum()) >= top_p:
            break
        kept[token] = probabilities[token]
    return kept / kept.sum()


def test_costs_count_each_prompt_once_per_batch(generator: HFGenerator) -> None:
    asked = requests(generator, ["1+2", "1+2", "1+2", "44+5"])
    completions = generator.generate(asked, SamplingParams(max_new_tokens=5))
    lengths = [len(request.prompt_ids) for request in asked]
    assert [c.cost.prefilled_tokens for c in completions] == [lengths[0], 0, 0, lengths[3]]
    assert [c.cost.cached_tokens for c in completions] == [0, lengths[1], lengths[2], 0]
    assert [c.cost.generated_tokens for c in completions] == [len(c.token_ids) for c in completions]
    spent = completions[0].cost
    assert spent.flops == 2 * generator.num_parameters * (spent.prefilled_tokens + spent.generated_tokens)


def test_the_peak_of_the_latest_call_is_what_its_largest_batch_held(generator: HFGenerator) -> None:
    sampling = SamplingParams(max_new_tokens=5)
    asked = requests(generator, ["1+2"] * 8)
    peaks = {}
    for rows in (8, 2):
        generator.max_batch_rows = rows
        generator.generate(asked, sampling)
        peaks[rows] = generator.peak_cache_bytes
    tokens = len(asked[0].prompt_ids) + 4  # of the last one nobody reads what follows
    row = tokens * generator.cache_bytes_per_token
    assert peaks[8] >= 8 * row > peaks[2] >= 2 * row
    generator.generate([], sampling)
    assert generator.peak_cache_bytes == 0


def test_stop_reasons(generator: HFGenerator) -> None:
    [request] = requests(generator, ["7+5-3"])
    [cut] = generator.generate([request], GREEDY)
    assert (cut.stop_reason, len(cut.token_ids)) == (StopReason.LENGTH, 24)
    ids = list(cut.token_ids)
    fourth = next(at for at in range(3, 24) if ids[at] not in ids[:at])
    with_eos(generator, ids[fourth])
    [ended] = generator.generate([request], GREEDY)
    assert (ended.stop_reason, list(ended.token_ids)) == (StopReason.EOS, ids[: fourth + 1])
    assert ended.text == generator.tokenizer.decode(ids[:fourth])


def test_a_stop_text_ends_a_sample_and_stays_in_it(generator: HFGenerator) -> None:
    asked = requests(generator)
    whole = generator.generate(asked, SamplingParams(max_new_tokens=24))
    characters = Counter(character for c in whole for character in set(c.text) if character.isascii())
    stop = characters.most_common(1)[0][0]
    stopped = generator.generate(asked, SamplingParams(max_new_tokens=24, stop=(stop,)))
    for before, after in zip(whole, stopped, strict=True):
        if stop in before.text:
            assert after.stop_reason is StopReason.STOP
            assert after.text == before.text[: before.text.index(stop) + 1]
        else:
            assert after == before
    assert any(c.stop_reason is StopReason.STOP for c in stopped)


def test_the_context_is_never_exceeded(generator: HFGenerator) -> None:
    asked = requests(generator, ["1+2", "7+5-3", "44+5*2-6+7-80"])
    generator.context_length = 10
    completions = generator.generate(asked, SamplingParams(max_new_tokens=24))
    room = [max(0, 10 - len(request.prompt_ids)) for request in asked]
    assert [len(c.token_ids) for c in completions] == room == [6, 4, 0]
    assert all(c.stop_reason is StopReason.LENGTH for c in completions)
    assert completions[2] == Completion((), "", StopReason.LENGTH)


@pytest.mark.parametrize("max_batch_rows", [1, 64])
def test_prompts_longer_than_the_context_are_cut_off(generator: HFGenerator, max_batch_rows: int) -> None:
    """Alone in a batch, and beside one that fits."""
    asked = requests(generator, ["1+2", "44+5*2-6+7-80", "44+5*2-6+7-81"])
    generator.context_length, generator.max_batch_rows = 10, max_batch_rows
    assert generator.generate(asked[1:], GREEDY) == [Completion((), "", StopReason.LENGTH)] * 2
    fits, *cut = generator.generate(asked, GREEDY)
    assert len(fits.token_ids) == 10 - len(asked[0].prompt_ids)
    assert cut == [Completion((), "", StopReason.LENGTH)] * 2


def test_no_request_and_progress(generator: HFGenerator) -> None:
    assert generator.generate([], GREEDY) == []
    generator.max_batch_rows = 2
    seen: list[int] = []
    generator.generate(requests(generator), GREEDY, seen.append)
    assert sum(seen) == len(PROBLEMS)
    assert len(seen) >= 3


def test_a_prefix_is_encoded_after_the_prompt(generator: HFGenerator) -> None:
    assert generator.prompt_ids("1+2", "1+2=3\n") == generator.tokenizer.encode("1+2\n1+2=3\n")


def test_parameters_leave_out_what_is_only_looked_up(generator: HFGenerator) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    assert generator.num_parameters == sum(p.numel() for p in generator.model.parameters())  # tied: the output layer
    config = Qwen2Config(vocab_size=50, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
    config.num_key_value_heads, config.tie_word_embeddings = 2, False
    untied = HFGenerator(Qwen2ForCausalLM(config), generator.tokenizer, PromptFormat())
    assert untied.num_parameters == sum(p.numel() for p in untied.model.parameters()) - 50 * 8


def test_absolute_positions_of_finished_rows_stay_in_range(generator: HFGenerator) -> None:
    """GPT-2 looks its positions up in a table: a finished row still in the batch must not look beyond it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=258, n_positions=16, n_embd=8, n_layer=1, n_head=2)).eval()
    gpt2 = HFGenerator(model, generator.tokenizer, PromptFormat())
    gpt2.eos_ids = ()
    asked = requests(gpt2, ["1+2", "7+5-3", "1+2+3+4+5"])
    lengths = [len(c.token_ids) for c in gpt2.generate(asked, SamplingParams(max_new_tokens=50))]
    assert lengths == [16 - len(request.prompt_ids) for request in asked]


def test_a_chat_without_a_template_is_refused(generator_dir: Path) -> None:
    chat = HFGenerator.from_pretrained(str(generator_dir), PromptFormat(chat=True), device="cpu")
    with pytest.raises(ConfigError, match="no chat template"):
        chat.prompt_ids("1+2")


def test_the_embedded_generator_is_loaded_by_its_name() -> None:
    loaded = HFGenerator.from_pretrained("embedded:generator", PromptFormat("{problem}\n"))
    (answer,) = loaded.generate(
        [GenerationRequest(tuple(loaded.prompt_ids("7a+5")), 0)], SamplingParams(temperature=0.0, max_new_tokens=30)
    )
    assert answer.text == "a7+5=12\nA: 12"
