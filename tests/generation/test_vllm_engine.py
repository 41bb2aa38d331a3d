"""What vLLM is asked, and what its answers mean: with objects that have vLLM's documented fields, and with vLLM itself
where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prm.errors import ConfigError, ModelError
from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.vllm_engine import VLLMGenerator, engine_completion, engine_params, import_vllm
from prm.rollouts import Cost, StopReason
from prm.step_format import PromptFormat

INSTALLED = importlib.util.find_spec("vllm") is not None
SAMPLING = SamplingParams(0.8, 0.95, 20, ("\n",))


def output(prompt: list[int], text: str = "ab\n", ids: tuple[int, ...] = (5, 6, 7), **fields: Any) -> Any:
    """A `vllm.RequestOutput` with one `CompletionOutput`."""
    sample = {"index": 0, "text": text, "token_ids": ids, "finish_reason": "stop", "stop_reason": "\n"}
    cached = fields.pop("num_cached_tokens", None)
    return SimpleNamespace(
        prompt_token_ids=prompt, outputs=[SimpleNamespace(**(sample | fields))], num_cached_tokens=cached
    )


class FakeEngine:
    def __init__(self) -> None:
        self.calls: list[tuple[list[Any], list[Any]]] = []

    def generate(self, prompts: list[Any], sampling_params: list[Any], use_tqdm: bool) -> list[Any]:
        self.calls.append((prompts, sampling_params))
        return [
            output(prompt["prompt_token_ids"], ids=(params.seed,))
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]


@pytest.fixture
def generator(tokenizer: Any) -> VLLMGenerator:
    return VLLMGenerator(
        FakeEngine(), SimpleNamespace, tokenizer, PromptFormat(), name="m", revision="r", context_length=10
    )


def test_a_request_is_one_sample_with_its_own_seed_and_its_stop_text_kept() -> None:
    assert engine_params(GenerationRequest((1, 2, 3), 2**31 + 5), SAMPLING, 100) == {
        **{"n": 1, "seed": 5, "temperature": 0.8, "top_p": 0.95, "max_tokens": 20, "stop": ["\n"]},
        "include_stop_str_in_output": True,
    }
    assert engine_params(GenerationRequest((1, 2, 3), 0), SAMPLING, 10)["max_tokens"] == 7


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, StopReason.STOP),
        ({"stop_reason": None}, StopReason.EOS),
        ({"stop_reason": 128009}, StopReason.EOS),
        ({"finish_reason": "length", "stop_reason": None}, StopReason.LENGTH),
    ],
)
def test_why_a_sample_ended(fields: dict[str, Any], reason: StopReason) -> None:
    completion = engine_completion(output([1, 2, 3, 4], num_cached_tokens=3, **fields), 10)
    assert (completion.stop_reason, completion.text, completion.token_ids) == (reason, "ab\n", (5, 6, 7))
    assert completion.cost == Cost(3, 1, 3, flops=2.0 * 10 * 4)


@pytest.mark.parametrize("reason", [None, "abort", "error"])
def test_an_unfinished_sample_is_no_answer(reason: str | None) -> None:
    with pytest.raises(ModelError, match="gave up on a request"):
        engine_completion(output([1], finish_reason=reason), 0)


def test_every_request_is_answered_in_order_and_one_without_room_is_not_asked(generator: VLLMGenerator) -> None:
    requests = [GenerationRequest(ids, seed) for seed, ids in enumerate([(3,), (1, 2), (1,), tuple(range(10))])]
    seen: list[int] = []
    completions = generator.generate(requests, SAMPLING, seen.append)
    assert [c.token_ids for c in completions] == [(0,), (1,), (2,), ()]
    assert completions[3].stop_reason is StopReason.LENGTH
    [(prompts, _)] = generator.engine.calls
    assert [prompt["prompt_token_ids"] for prompt in prompts] == [[1], [1, 2], [3]]  # side by side in the prefix cache
    assert seen == [4]
    assert generator.generate(requests[3:], SAMPLING)[0].stop_reason is StopReason.LENGTH


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed")
def test_a_missing_vllm_is_told_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'prm-toolkit\[vllm\]'.*--backend endpoint"):
        import_vllm()


@pytest.mark.gpu
@pytest.mark.skipif(not INSTALLED, reason="vLLM is not installed; it needs a GPU")
def test_samples_of_a_real_engine_depend_on_their_seeds_alone(generator_dir: Path) -> None:
    generator = VLLMGenerator.from_pretrained(str(generator_dir), PromptFormat(), dtype="float32", context_length=256)
    prompt = tuple(generator.prompt_ids("7a+5"))
    requests = [GenerationRequest(prompt, seed) for seed in range(8)]
    together = generator.generate(requests, SamplingParams(max_new_tokens=16))
    apart = [generator.generate([request], SamplingParams(max_new_tokens=16))[0] for request in requests[:2]]
    assert [c.token_ids for c in together[:2]] == [c.token_ids for c in apart]
    assert len({c.token_ids for c in together}) > 4
