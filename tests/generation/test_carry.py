"""A search on a generator that keeps its caches: the same samples, and every token read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from prm.generation import batch_run
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.carried import Carrier, Uncarried, carry
from prm.generation.hf import HFGenerator
from prm.generation.hf_carrier import HFCarrier
from prm.rollouts import Cost, StopReason
from tests.generation.test_sharing import FULL_MODELS, SLIDING_MODELS, build

STEP = SamplingParams(max_new_tokens=12, stop=tuple("ABCDEFGHIJKLMNOPQRST"))
PROMPTS = [tuple(range(40, 40 + length)) for length in (5, 9, 9, 30)]
Ids = tuple[int, ...]


def requests(prompts: Sequence[Ids], samples: int, seed: int = 0) -> list[GenerationRequest]:
    return [
        GenerationRequest(prompt, seed * 10_000 + number * 100 + sample)
        for number, prompt in enumerate(prompts)
        for sample in range(samples)
    ]


def search(carrier: Carrier, rounds: int = 4, samples: int = 4) -> Iterator[list[Completion]]:
    """Continue some of the samples that ended with a stop text, round after round; the rest is let go. Later on a
    prompt is asked again beside its continuations."""
    live = PROMPTS
    for number in range(rounds):
        asked = requests(live, samples, number)
        answers = carrier.generate(asked, STEP)
        yield answers
        stopped = [
            (*request.prompt_ids, *answer.token_ids)
            for request, answer in zip(asked, answers, strict=True)
            if answer.stop_reason is StopReason.STOP
        ]
        live = sorted(stopped[::2])[:7] + PROMPTS[:number]
        assert stopped
        carrier.retain([*live, *PROMPTS])


@contextmanager
def read_by(model: Any) -> Iterator[list[int]]:
    """Tokens of every pass, without the padding of prompts, which have no token 0."""
    seen: list[int] = []

    def count(module: Any, args: Any, given: dict[str, Any]) -> None:
        ids = given["input_ids"]
        seen.append(int((ids != 0).sum()) if ids.shape[1] > 1 else len(ids))

    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    yield seen
    hook.remove()


def in_float64(generator: HFGenerator) -> HFGenerator:
    """No rounding that tells batches apart."""
    generator.model.double()
    return generator


@pytest.mark.parametrize("limits", [{}, {"max_batch_rows": 5, "rows_per_slot": 3}], ids=["whole", "refilled"])
@pytest.mark.parametrize("name", FULL_MODELS)
def test_samples_equal_those_of_a_generator_that_keeps_nothing(tokenizer: Any, name: str, limits: Any) -> None:
    generator = in_float64(build(FULL_MODELS[name], tokenizer, **limits))
    carrier = carry(generator)
    assert carrier.keeps_state
    reasons: set[StopReason] = set()
    for kept, plain in zip(search(carrier), search(Uncarried(generator)), strict=True):
        assert [(c.token_ids, c.text, c.stop_reason) for c in kept] == [
            (c.token_ids, c.text, c.stop_reason) for c in plain
        ]
        reasons |= {c.stop_reason for c in kept}
    assert len(reasons) == 3
    rows = carrier.carried.rows  # type: ignore[attr-defined]
    assert carrier.peak_cache_bytes > rows.peak_bytes > 0  # the rows being sampled are more than those that are kept


@pytest.mark.parametrize("limits", [{}, {"max_batch_rows": 6, "rows_per_slot": 2}], ids=["whole", "refilled"])
def test_prompts_and_generated_tokens_are_read_once(
    tokenizer: Any, limits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "_KEEP_SHARE", 1.0)  # rows that ended leave at once, and read no more
    generator = build(FULL_MODELS["qwen2"], tokenizer, **limits)
    carrier = carry(generator)
    answers: list[Completion] = []
    continued: set[Ids] = set()
    live = PROMPTS
    with read_by(generator.model) as seen:
        for number in range(4):
            asked = requests(live, 3, number)
            found = carrier.generate(asked, STEP)
            answers += found
            if number:
                continued |= set(live)
            live = [
                (*request.prompt_ids, *answer.token_ids)
                for request, answer in zip(asked, found, strict=True)
                if answer.stop_reason is StopReason.STOP
            ][:6]
            carrier.retain(live)
    total = sum((answer.cost for answer in answers), Cost())
    if not limits:
        assert total.prefilled_tokens == sum(map(len, set(PROMPTS)))
    assert len(continued) > 5
    never_read = len(answers) - len(continued)  # the last token of every sample that nobody continued
    assert sum(seen) == total.prefilled_tokens + total.generated_tokens - never_read


def test_the_samples_of_a_prompt_read_it_once_also_in_two_batches(tokenizer: Any) -> None:
    generator = build(FULL_MODELS["qwen2"], tokenizer, max_batch_rows=4)
    generator.eos_ids = ()
    carrier = carry(generator)
    (prompt,) = PROMPTS[-1:]
    costs = [answer.cost for answer in carrier.generate(requests([prompt], 8), STEP)]
    assert len(generator.plan_batches(requests([prompt], 8), STEP)) == 2
    # The second batch finds all but the last token, which it needs for the logits behind it.
    assert [cost.prefilled_tokens for cost in costs] == [len(prompt), 0, 0, 0, 1, 0, 0, 0]
    assert {cost.prefilled_tokens + cost.cached_tokens for cost in costs} == {len(prompt)}


def test_what_is_asked_twice_behind_one_branch_is_billed_as_read_twice(tokenizer: Any) -> None:
    carrier = carry(build(FULL_MODELS["qwen2"], tokenizer))
    asked = requests(PROMPTS, 4)
    branch = next(
        (*request.prompt_ids, *answer.token_ids)
        for request, answer in zip(asked, carrier.generate(asked, STEP), strict=True)
        if answer.stop_reason is StopReason.STOP
    )
    carrier.retain([branch])
    costs = [carrier.generate(requests([branch], 2, seed), STEP)[0].cost for seed in (1, 2)]
    assert [cost.prefilled_tokens for cost in costs] == [0, 1]
    assert [cost.cached_tokens for cost in costs] == [len(branch), len(branch) - 1]


def test_what_is_not_retained_is_let_go_and_read_again(tokenizer: Any) -> None:
    generator = build(FULL_MODELS["qwen2"], tokenizer)
    carrier = generator.carry()
    assert isinstance(carrier, HFCarrier)
    asked = requests(PROMPTS, 6)
    answers = carrier.generate(asked, STEP)
    branches = [
        (*request.prompt_ids, *answer.token_ids)
        for request, answer in zip(asked, answers, strict=True)
        if answer.stop_reason is StopReason.STOP
    ]
    held = carrier.carried.rows.tokens
    carrier.retain(branches[:1])
    assert 0 < carrier.carried.rows.tokens < held / 4
    kept, dropped = carrier.generate(requests(branches[:2], 1), STEP)
    assert (kept.cost.prefilled_tokens, dropped.cost.prefilled_tokens) == (0, len(branches[1]))
    carrier.retain([])
    assert carrier.carried.rows.tokens == 0


@pytest.mark.parametrize("cache_tokens", [1, 120, 400])
def test_kept_rows_stay_within_their_budget_and_the_samples_stay_the_same(tokenizer: Any, cache_tokens: int) -> None:
    generator = in_float64(build(FULL_MODELS["llama"], tokenizer, max_batch_rows=4))
    carrier = generator.carry(cache_tokens)
    assert isinstance(carrier, HFCarrier)
    prefilled = 0
    for kept, plain in zip(search(carrier), search(Uncarried(generator)), strict=True):
        assert [c.token_ids for c in kept] == [c.token_ids for c in plain]
        prefilled += sum(c.cost.prefilled_tokens for c in kept)
        one_batch = 4 * (max(map(len, PROMPTS)) + 4 * 12)
        assert carrier.carried.rows.tokens <= max(cache_tokens, 2 * one_batch)  # what it continues, and what it drew
    unbounded = sum(c.cost.prefilled_tokens for found in search(generator.carry()) for c in found)
    assert prefilled > unbounded


def test_attention_is_billed_by_the_tokens_attended_to(tokenizer: Any) -> None:
    generator = build(FULL_MODELS["qwen2"], tokenizer)
    carrier = carry(generator)
    asked = requests(PROMPTS[:1], 3)
    answers = carrier.generate(asked, STEP)
    total = [len(PROMPTS[0]) + len(answer.token_ids) for answer in answers]
    known = [0, len(PROMPTS[0]), len(PROMPTS[0])]
    assert [answer.cost.attended_tokens for answer in answers] == [
        sum(range(before + 1, until + 1)) for before, until in zip(known, total, strict=True)
    ]
    assert generator.attention_flops_per_pair == 4 * 2 * 4 * 4  # two layers of four heads of width four
    assert generator.cache_bytes_per_token == 2 * 2 * 2 * 4 * 4  # keys and values, two heads each, four bytes


@pytest.mark.parametrize("name", SLIDING_MODELS)
def test_layers_that_forget_keep_nothing(tokenizer: Any, name: str) -> None:
    carrier = carry(build(SLIDING_MODELS[name], tokenizer))
    assert not carrier.keeps_state
    (first, *_) = list(search(carrier, rounds=2))
    assert sum(answer.cost.prefilled_tokens for answer in first) == sum(map(len, set(PROMPTS)))


def test_greedy_continuations_equal_one_run_to_the_end(tokenizer: Any) -> None:
    generator = in_float64(build(FULL_MODELS["qwen3"], tokenizer))
    carrier = carry(generator)
    greedy = SamplingParams(temperature=0, max_new_tokens=40)
    whole = generator.generate(requests(PROMPTS, 1), greedy)
    pieces: list[Ids] = list(PROMPTS)
    going = list(range(len(PROMPTS)))
    while going:
        asked = [GenerationRequest(pieces[at], 0) for at in going]
        limit = 40 - min(len(pieces[at]) - len(PROMPTS[at]) for at in going)
        step = SamplingParams(temperature=0, max_new_tokens=limit, stop=tuple(map(chr, range(32, 120, 3))))
        answers = carrier.generate(asked, step)
        for at, answer in zip(list(going), answers, strict=True):
            pieces[at] += answer.token_ids
            if answer.stop_reason is not StopReason.STOP or len(pieces[at]) - len(PROMPTS[at]) >= 40:
                going.remove(at)
    for prompt, piece, expected in zip(PROMPTS, pieces, whole, strict=True):
        assert piece[len(prompt) :][:40] == expected.token_ids
