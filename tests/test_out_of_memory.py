"""Batches that memory does not suffice for: halved until they fit, with the same results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from prm import Verifier
from prm.errors import OutOfMemoryError
from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.hf import HFGenerator
from prm.generation.hf_carrier import HFCarrier
from prm.heads import unwrapped
from prm.out_of_memory import in_halves, ran_out_of_memory
from prm.rollouts import StopReason

MORE_THAN_THERE_IS = 2**50  # bytes
ITEMS = [(f"{i}+5-3", (f"{i}+5={i + 5}", f"{i + 5}-3={i + 2}")) for i in range(9)]


def room_for(rows: int, model: Any) -> list[int]:
    """Let every pass of a model over more rows ask PyTorch for more memory than there is; the rows of each attempt."""
    attempts: list[int] = []

    def allocate(module: Any, args: Any, given: dict[str, Any]) -> None:
        attempts.append(len(given["input_ids"]))
        if attempts[-1] > rows:
            torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)

    model.register_forward_pre_hook(allocate, with_kwargs=True)
    return attempts


def backbone(verifier: Verifier) -> Any:
    model = unwrapped(verifier.model)
    return getattr(model, model.base_model_prefix)


def test_what_pytorch_raises_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)
    assert ran_out_of_memory(caught.value)
    assert ran_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."))
    assert ran_out_of_memory(MemoryError())
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


@pytest.mark.parametrize("rows", [1, 4])
def test_a_generator_halves_its_batches_and_draws_the_same_samples(generator: HFGenerator, rows: int) -> None:
    asked = [GenerationRequest(tuple(generator.prompt_ids(problem)), seed) for seed, (problem, _) in enumerate(ITEMS)]
    sampling = SamplingParams(max_new_tokens=6)
    expected = [answer.token_ids for answer in generator.generate(asked, sampling)]
    attempts = room_for(rows, generator.model)
    with pytest.warns(UserWarning, match="memory ran out: batches are halved"):
        found = generator.generate(asked, sampling)
    assert [answer.token_ids for answer in found] == expected
    assert max(attempts) == len(ITEMS)
    carrier = generator.carry()
    assert isinstance(carrier, HFCarrier)
    with pytest.warns(UserWarning, match="memory ran out"):
        carried = carrier.generate(asked, sampling)
    assert [answer.token_ids for answer in carried] == expected


def test_memory_that_ran_out_takes_what_is_kept_and_not_needed_now(generator: HFGenerator) -> None:
    carrier = generator.carry()
    assert isinstance(carrier, HFCarrier)
    asked = [GenerationRequest(tuple(generator.prompt_ids(problem)), seed) for seed, (problem, _) in enumerate(ITEMS)]
    step = SamplingParams(max_new_tokens=9, stop=tuple(map(chr, range(32, 120, 2))))
    first = carrier.generate(asked, step)
    stopped = next(at for at, answer in enumerate(first) if answer.stop_reason is StopReason.STOP)
    branch = (*asked[stopped].prompt_ids, *first[stopped].token_ids)
    assert carrier.carried.knows(branch)
    room_for(1, generator.model)
    with pytest.warns(UserWarning, match="memory ran out"):
        carrier.generate([GenerationRequest(request.prompt_ids[:-1], 0) for request in asked[:2]], step)
    assert not carrier.carried.knows(branch)


def test_a_verifier_halves_its_batches_and_scores_the_same(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    expected = [scored.scores for scored in verifier.score_solutions(ITEMS)]
    attempts = room_for(2, backbone(verifier))
    with pytest.warns(UserWarning, match="memory ran out: batches are halved"):
        found = verifier.score_solutions(ITEMS)
    assert max(attempts) == len(ITEMS)
    for scored, scores in zip(found, expected, strict=True):
        assert scored.scores == pytest.approx(scores, abs=1e-5)


def test_a_session_halves_its_passes_and_reads_each_token_once(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    expected = [scored.scores for scored in verifier.score_solutions(ITEMS)]
    session = verifier.session()
    attempts = room_for(2, backbone(verifier))
    with pytest.warns(UserWarning, match="memory ran out"):
        beginnings = session.score([(problem, steps[:1]) for problem, steps in ITEMS])
        found = session.score(ITEMS)
    assert max(attempts) == len(ITEMS)
    for scored, begun, scores in zip(found, beginnings, expected, strict=True):
        assert scored is not None and begun is not None
        assert scored.scores == pytest.approx(scores, abs=1e-5)
        assert begun.tokens + scored.tokens == len(verifier.encode(*ITEMS[found.index(scored)]).input_ids)


def test_one_row_that_does_not_fit_is_a_message_with_the_remedy(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    room_for(0, backbone(verifier))
    with (
        pytest.warns(UserWarning, match="memory ran out"),
        pytest.raises(OutOfMemoryError, match=r"memory ran out with a batch of one .*; use a smaller model"),
    ):
        verifier.score_solutions(ITEMS)


def test_other_errors_are_not_tried_again() -> None:
    calls: list[int] = []

    def run(items: Any) -> list[int]:
        calls.append(len(items))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        in_halves(run, [1, 2, 3])
    assert calls == [3]
