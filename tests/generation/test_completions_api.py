"""What goes into a completions request, and what its answer means."""

from __future__ import annotations

from typing import Any

import pytest

from prm.errors import ConfigError
from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.completions_api import SEED_RANGE, CompletionsExchange, group_requests, server_seed
from prm.generation.http_policy import FailedAttempt
from prm.rollouts import StopReason

PROMPT = (24, 66, 12, 200)
REQUESTS = [GenerationRequest(PROMPT, seed) for seed in (7, 8, 9)]


@pytest.fixture
def ids(tokenizer: Any) -> Any:
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def exchange(tokenizer: Any, stop: tuple[str, ...] = (), **changes: Any) -> CompletionsExchange:
    settings = {"served_name": "m", "num_parameters": 5, "context_length": 100, "affine_tokens": 2} | changes
    return CompletionsExchange(REQUESTS, SamplingParams(0.7, 0.9, 50, stop), tokenizer, **settings)


def answer(*choices: dict[str, Any], **usage: Any) -> dict[str, Any]:
    rows = [{"index": i, "text": "a", "finish_reason": "stop", **choice} for i, choice in enumerate(choices)]
    return {"choices": rows, "usage": {"prompt_tokens": 4, "completion_tokens": 9, **usage}}


def test_a_request_carries_ids_and_leaves_nothing_to_the_servers_defaults(tokenizer: Any) -> None:
    body = exchange(tokenizer, ("\n",)).body((0, 1))
    assert body == {
        **{"model": "m", "prompt": [24, 66, 12, 200], "n": 2, "seed": 7, "max_tokens": 50},
        **{"temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "stop": ["\n"]},
        **{"include_stop_str_in_output": True, "no_stop_trim": True, "return_token_ids": True},
    }
    assert exchange(tokenizer, context_length=30).body((0,))["max_tokens"] == 26


def test_groups_have_one_prompt_and_seeds_that_follow_each_other() -> None:
    top = SEED_RANGE - 1
    requests = [GenerationRequest((2,), 5)]
    requests += [
        GenerationRequest((1,), seed) for seed in (3, 2, 1, 6, top + 4 * SEED_RANGE, top + 1 + 4 * SEED_RANGE)
    ]
    assert group_requests(requests, range(7), 1) == [(3,), (2,), (1,), (4,), (5,), (6,), (0,)]
    assert group_requests(requests, range(7), 8) == [(3, 2, 1), (4,), (5,), (6,), (0,)]  # a server counts past the top
    assert group_requests(requests, [1, 2, 3], 2) == [(3, 2), (1,)]
    assert server_seed(2**62 + 3) == 3


def test_prompts_that_begin_alike_have_one_affinity(tokenizer: Any) -> None:
    requests = [GenerationRequest((1, 2, 3), 0), GenerationRequest((1, 2, 9, 9), 1), GenerationRequest((1, 3), 2)]
    asked = exchange(tokenizer)
    asked.requests = requests
    assert asked.affinity((0,)) == asked.affinity((1,)) != asked.affinity((2,))


@pytest.mark.parametrize(
    ("choice", "reason", "text"),
    [
        ({"finish_reason": "length", "text": "ab"}, StopReason.LENGTH, "ab"),
        ({"finish_reason": "content_filter", "text": ""}, StopReason.ERROR, ""),
        ({"stop_reason": None, "text": "ab"}, StopReason.EOS, "ab"),  # vLLM at the tokenizer's end of text
        ({"stop_reason": 128009, "text": "ab"}, StopReason.EOS, "ab"),  # and at another of the model's
        ({"stop_reason": "\n", "text": "ab\n"}, StopReason.STOP, "ab\n"),
        ({"stop_reason": "\n", "text": "ab"}, StopReason.STOP, "ab\n"),  # left out: put back
        ({"matched_stop": 2, "text": "ab"}, StopReason.EOS, "ab"),  # SGLang
        ({"matched_stop": "\n", "text": "ab\n"}, StopReason.STOP, "ab\n"),
        ({"text": "ab\n"}, StopReason.STOP, "ab\n"),  # kept and not told
    ],
)
def test_why_a_choice_ended(tokenizer: Any, choice: dict[str, Any], reason: StopReason, text: str) -> None:
    [(position, completion)], again = exchange(tokenizer, ("\n", "END")).read((1,), answer(choice))
    assert (position, completion.stop_reason, completion.text, again) == (1, reason, text, [])


@pytest.mark.parametrize(
    ("written", "text", "reason", "expected"),
    [
        ("ab\n", "ab", StopReason.STOP, "ab\n"),
        ("ab", "ab", StopReason.EOS, "ab"),
        ("a END and", "a ", StopReason.STOP, "a END"),
    ],
)
def test_ids_tell_what_a_server_does_not(
    tokenizer: Any, ids: Any, written: str, text: str, reason: StopReason, expected: str
) -> None:
    choice = {"text": text, "token_ids": ids(written)}
    [(_, completion)], _ = exchange(tokenizer, ("\n", "END")).read((0,), answer(choice))
    assert (completion.stop_reason, completion.text) == (reason, expected)
    assert completion.token_ids == tuple(ids(written))


def test_an_ending_that_cannot_be_told_is_refused_and_not_guessed(tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="does not say whether a sample ended by itself"):
        exchange(tokenizer, ("\n",)).read((0,), answer({"text": "ab"}))
    [(_, completion)], _ = exchange(tokenizer).read((0,), answer({"text": "ab"}))  # nothing else could end it
    assert completion.stop_reason is StopReason.EOS


def test_ids_and_counts_come_from_the_server_where_it_tells_them(tokenizer: Any, ids: Any) -> None:
    told = {"text": "ab", "token_ids": [*ids("ab"), 1], "stop_reason": None}
    [(_, completion)], _ = exchange(tokenizer).read((0,), answer(told, prompt_tokens_details={"cached_tokens": 3}))
    assert completion.token_ids == (*ids("ab"), 1)
    cost = completion.cost
    assert (cost.generated_tokens, cost.prefilled_tokens, cost.cached_tokens, cost.flops) == (3, 1, 3, 2 * 5 * 4)

    [(_, completion)], _ = exchange(tokenizer).read((0,), answer({"text": "ab", "stop_reason": None}))
    assert completion.token_ids == (*ids("ab"), tokenizer.eos_token_id)  # encoded here, and counted there
    assert (completion.cost.generated_tokens, completion.cost.prefilled_tokens) == (9, 4)


def test_the_prompt_of_several_choices_is_read_once(tokenizer: Any) -> None:
    choice = {"token_ids": [30], "stop_reason": None}
    found, _ = exchange(tokenizer).read((0, 1, 2), answer(choice, choice, choice))
    costs = [(c.cost.generated_tokens, c.cost.prefilled_tokens, c.cost.cached_tokens) for _, c in found]
    assert costs == [(1, 4, 0), (1, 0, 4), (1, 0, 4)]


def test_missing_and_unfinished_choices_are_asked_again_with_their_own_seeds(tokenizer: Any) -> None:
    asked = exchange(tokenizer)
    found, again = asked.read((0, 1, 2), answer({"index": 1, "stop_reason": None}))
    assert [position for position, _ in found] == [1]
    assert again == [(0,), (2,)]
    assert [asked.body(job)["seed"] for job in again] == [7, 9]
    found, again = asked.read((0, 1, 2), answer({}, {"finish_reason": None}, {"finish_reason": "abort"}))
    assert [position for position, _ in found] == [0]
    assert again == [(1, 2)]
    assert asked.body(again[0])["n"] == 2


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"choices": []}, "no choices"),
        ({"error": {"message": "dead"}}, "not an answer"),
        (["choices"], "not an answer"),
        ({"choices": "none"}, "not an answer"),
        ({"choices": ["a"]}, "no choices"),
        (answer({"finish_reason": None}), "unfinished choice"),
        (answer({"finish_reason": "abort"}), "unfinished choice .finish_reason 'abort'"),
        (answer({"text": None}), "malformed choice"),
        (answer({"token_ids": ["a"]}), "malformed choice"),
        (answer({"prompt_token_ids": [1]}), "another prompt's answer"),
        (answer({"index": 1}), "no choices"),
    ],
)
def test_an_answer_without_anything_in_it_is_a_failed_attempt(tokenizer: Any, given: Any, complaint: str) -> None:
    with pytest.raises(FailedAttempt, match=complaint):
        exchange(tokenizer).read((0,), given)
