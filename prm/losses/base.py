"""What a loss is: a sum over units, and the number of those units.

The trainer divides the sum by the number of units in the *global* batch (DESIGN.md, decision 3), never by those of a
micro-batch: a mean of means weighs a step by the company it keeps, and transformers' own token-classification loss is
such a mean. So every loss here is the same under any way of splitting a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch

Batch = Mapping[str, "torch.Tensor"]
IGNORED = -1.0  # a target that is not known; real targets lie in [0, 1]
PADDED = -100.0  # a target where there is no step at all


class Loss(Protocol):
    """One loss. A batch has `targets` (B, S), `IGNORED` or `PADDED` where nothing is known, and `n_correct` and
    `n_total` (B, S), the counts behind them, 0 where there are none."""

    name: ClassVar[str]

    def units(self, batch: Batch) -> torch.Tensor:
        """What the sum is divided by, a scalar: the number of steps, solutions or pairs that count (or their
        weights)."""
        ...

    def summed(self, logits_BSL: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss in nats summed over the units; 0 with a path for gradients where there are none."""
        ...


def known(batch: Batch) -> torch.Tensor:
    """Where there is a target, (B, S)."""
    return batch["targets"] >= 0
