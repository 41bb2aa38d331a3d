"""The losses, exact under every way of splitting a batch.

A PRM's unit is a labelled step, an ORM's a labelled solution. Each loss is a *sum* over units; the trainer divides it
by the number of units in the global batch (DESIGN.md, decision 3), never by those of a micro-batch: a mean of means
weighs a step by the company it keeps, and transformers' own token-classification loss is such a mean.

Both heads come down to one margin. The cross-entropy of two logits (wrong, correct) with target y is
softplus(m) - y m with m = correct - wrong, the binary cross-entropy of one logit m; y may be soft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IGNORED = -1.0  # a target that is not known; real targets lie in [0, 1]


def step_margins(logits_BTL: torch.Tensor, positions_BS: torch.Tensor) -> torch.Tensor:
    """Margins (B, S) of a token-classification head at the score positions, in float32.

    Args:
        logits_BTL: (B, T, 2), wrong first.
        positions_BS: (B, S) token positions; where there is no step, any valid position.
    """
    margins_BT = logits_BTL[..., 1].float() - logits_BTL[..., 0].float()
    return margins_BT.gather(1, positions_BS)


def solution_margins(logits_BL: torch.Tensor) -> torch.Tensor:
    """Margins (B, 1) of a sequence-classification head with one logit, in float32."""
    return logits_BL.float()


def count_units(targets_BS: torch.Tensor) -> torch.Tensor:
    """Number of known targets, a scalar tensor."""
    return (targets_BS >= 0).sum()


def summed_loss(margins_BS: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, summed over the known targets; 0 with a gradient path where there are none.

    Args:
        margins_BS: correct minus wrong, (B, S).
        targets_BS: probability of correct, (B, S); `IGNORED` where it is not known.
    """
    from torch.nn.functional import softplus

    losses_BS = softplus(margins_BS) - targets_BS.to(margins_BS.dtype) * margins_BS
    return (losses_BS * (targets_BS >= 0)).sum()
