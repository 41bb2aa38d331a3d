"""Drawing the next token: each row with random numbers of its own, so that a sample is its seed's alone.

Random numbers are NumPy's Philox stream keyed by the request's seed, number i for token i; the token is the inverse
of the row's cumulative distribution at that number. A sample therefore does not depend on which other rows share its
batch, up to the rounding of the model's logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from prm.generation.base import SamplingParams

if TYPE_CHECKING:
    import torch

_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


def request_uniforms(seeds: Sequence[int], count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float32, shape (B, count): row b is the Philox stream of `seeds[b]`."""
    uniforms = np.empty((len(seeds), count), dtype=np.float32)
    stream = np.random.Philox(key=0)
    generator, state = np.random.Generator(stream), stream.state
    for row, seed in enumerate(seeds):
        # The same as `Philox(key=seed)`, whose construction asks the system for entropy it then does not use.
        state["state"]["key"][0] = seed
        stream.state = state
        uniforms[row] = generator.random(count)
    return np.minimum(uniforms, _BELOW_ONE)  # a double just below 1 rounds up to 1


def draw_tokens(logits_BV: torch.Tensor, uniforms_B: torch.Tensor, sampling: SamplingParams) -> torch.Tensor:
    """Token ids, shape (B,), drawn from the rows' tempered and truncated distributions.

    Args:
        logits_BV: next-token logits.
        uniforms_B: one number in [0, 1) per row; ignored at temperature 0, which takes the largest logit.
    """
    if sampling.temperature == 0:
        return logits_BV.argmax(-1)
    probabilities_BV = (logits_BV.float() / sampling.temperature).softmax(-1)
    if sampling.top_p == 1:
        return _inverse_cdf(probabilities_BV, uniforms_B)
    ordered_BV, ids_BV = probabilities_BV.sort(dim=-1, descending=True, stable=True)
    rank_B = _inverse_cdf(ordered_BV, uniforms_B, sampling.top_p)
    return ids_BV.gather(-1, rank_B[:, None])[:, 0]


def _inverse_cdf(probabilities_BV: torch.Tensor, uniforms_B: torch.Tensor, top_p: float = 1.0) -> torch.Tensor:
    """First index whose cumulative probability exceeds the number. With `top_p` below 1 the probabilities descend, and
    the nucleus is the shortest head that holds at least `top_p` (Holtzman et al., arXiv 1904.09751)."""
    import torch

    cumulative_BV = probabilities_BV.cumsum(-1)
    mass_B1 = cumulative_BV[:, -1:]
    if top_p < 1:
        last_B1 = torch.searchsorted(cumulative_BV, top_p * mass_B1).clamp_(max=cumulative_BV.shape[-1] - 1)
        mass_B1 = cumulative_BV.gather(-1, last_B1)
    # The product may round up to the whole mass, beyond which lie only tokens of no probability.
    target_B1 = torch.minimum(uniforms_B[:, None] * mass_B1, mass_B1.nextafter(torch.zeros_like(mass_B1)))
    return torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]
