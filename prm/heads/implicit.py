r"""Step scores from outcome labels alone: the implicit PRM (Yuan et al., arXiv 2412.01981).

With r(y) = beta log(pi(y) / pi_ref(y)) as the reward of a solution y, trained on outcomes only, the partial sum up to
the end of step t, q_t = beta sum_{i <= t} log(pi(y_i | y_<i) / pi_ref(y_i | y_<i)), is the exponential average of the
reward over all continuations (their proposition 3.1), hence a step score; q_t - q_{t-1} is the step's own reward. The
reference does not change, so its part is computed once, before training (`prm.training.reference`), and travels in the
batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.heads.base import Head
from prm.heads.reward_tokens import next_token_logits

if TYPE_CHECKING:
    import torch

_CHUNK = 1024  # tokens whose logits over the whole vocabulary are held at a time


@dataclass(frozen=True)
class ImplicitHead(Head):
    """`AutoModelForCausalLM` whose step scores are log-ratios to its reference.

    Args:
        beta: scale of the log-ratio; .05 in the paper.
    """

    beta: float = 0.05

    objective = "implicit_prm"
    spec_head = "implicit"
    rows_kind = "orm"
    auto_class = "AutoModelForCausalLM"
    class_suffix = "ForCausalLM"
    task_type = "CAUSAL_LM"

    def logits(self, model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, S, 1): q_t at the end of each step; `batch["reference"]` (B, S) is the reference's part, in nats."""
        own_BS = cumulative_log_probabilities(model, hidden_TD, batch)
        return (self.beta * (own_BS - batch["reference"]))[..., None]


def cumulative_log_probabilities(
    model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Log-probability in nats (B, S) of all tokens of a solution up to the end of each step, given the prompt.

    Args:
        batch: `predict_at` (B, R), the flat position that predicts each token of the solution; `next_ids` (B, R) these
            tokens, -100 where there is none; `ends` (B, S), how many of them there are up to the end of each step.
    """
    import torch
    from torch.nn.functional import pad
    from torch.utils.checkpoint import checkpoint

    at_N, next_N = batch["predict_at"].flatten(), batch["next_ids"].flatten()

    def part(hidden_ND: torch.Tensor, ids_N: torch.Tensor) -> torch.Tensor:
        logits_NV = next_token_logits(model, hidden_ND)
        return logits_NV.gather(1, ids_N[:, None])[:, 0] - logits_NV.logsumexp(1)

    found = []
    for at, ids in zip(at_N.split(_CHUNK), next_N.split(_CHUNK), strict=True):
        hidden_ND = hidden_TD[at]
        # The logits of a whole batch over the vocabulary would be the largest tensor of the run by far.
        found.append(checkpoint(part, hidden_ND, ids.clamp(min=0), use_reentrant=False))
    tokens_BR = (torch.cat(found) * (next_N >= 0)).view(batch["predict_at"].shape)
    return pad(tokens_BR.cumsum(1), (1, 0)).gather(1, batch["ends"])
