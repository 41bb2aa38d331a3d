"""Random numbers per request, and tokens from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prm.generation.base import SamplingParams
from prm.generation.sampling import draw_tokens, request_uniforms

EVENLY_SPACED = (torch.arange(10_000) + 0.5) / 10_000


def shares(logits: list[float], sampling: SamplingParams) -> list[float]:
    """The share of each token when the random number runs evenly over [0, 1)."""
    rows = torch.tensor([logits]).expand(len(EVENLY_SPACED), -1)
    tokens = draw_tokens(rows, EVENLY_SPACED, sampling)
    return torch.bincount(tokens, minlength=len(logits)).div(len(EVENLY_SPACED)).tolist()


def test_a_row_is_its_seeds_philox_stream() -> None:
    uniforms = request_uniforms([5, 2**63 - 1, 5], 7)
    for row, seed in zip(uniforms, (5, 2**63 - 1, 5), strict=True):
        expected = np.random.Generator(np.random.Philox(key=seed)).random(7).astype(np.float32)
        assert row.tolist() == expected.tolist()


def test_more_tokens_continue_the_same_stream() -> None:
    assert request_uniforms([3], 4)[0].tolist() == request_uniforms([3], 9)[0, :4].tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_have_the_softmax_shares(temperature: float) -> None:
    logits = [1.0, -1.0, 0.5, 3.0, -9.0]
    expected = torch.softmax(torch.tensor(logits) / temperature, -1).tolist()
    assert shares(logits, SamplingParams(temperature=temperature)) == pytest.approx(expected, abs=2e-4)


def test_top_p_keeps_the_shortest_head_that_holds_it() -> None:
    logits = np.log([0.1, 0.5, 0.15, 0.25]).tolist()
    assert shares(logits, SamplingParams(top_p=0.7)) == pytest.approx([0, 0.5 / 0.75, 0, 0.25 / 0.75], abs=2e-4)
    assert shares(logits, SamplingParams(top_p=0.4)) == [0, 1, 0, 0]
    assert shares(logits, SamplingParams(top_p=0.999)) == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=2e-4)


def test_temperature_zero_takes_the_largest_logit() -> None:
    assert shares([0.0, 2.0, 1.0], SamplingParams(temperature=0)) == [0, 1, 0]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_an_impossible_token_is_never_drawn(top_p: float) -> None:
    impossible = float("-inf")
    logits = torch.tensor([[impossible, 1.0, impossible, 0.0, impossible]]).expand(4, -1)
    extremes = torch.tensor([0.0, 1e-45, 0.5, float(np.nextafter(np.float32(1), np.float32(0)))])
    tokens = draw_tokens(logits, extremes, SamplingParams(top_p=top_p))
    assert set(tokens.tolist()) <= {1, 3}
