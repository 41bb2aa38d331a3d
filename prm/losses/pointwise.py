"""Losses of each labelled step (PRM) or solution (ORM) by itself, all of them of one margin, correct minus wrong.

The cross-entropy of two logits with target y is softplus(m) - y m with m their difference, the binary cross-entropy of
one logit m; y may be soft.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prm.heads.base import margins
from prm.losses.base import Batch, known

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Pointwise(ABC):
    """Sum over labelled units, each with the weight of its class.

    Args:
        class_weights: of wrong and of correct; a soft target y has y of the one and 1 - y of the other. The sum is
            divided by the sum of the weights, as torch's own weighted cross-entropy is.
    """

    class_weights: tuple[float, float] = (1.0, 1.0)

    name: ClassVar[str]

    @abstractmethod
    def each(self, margins_BS: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        """Loss of each unit in nats, (B, S); what it is where there is no target does not matter."""

    def units(self, batch: Batch) -> torch.Tensor:
        return (self._weights(batch) * known(batch)).sum()

    def summed(self, logits_BSL: torch.Tensor, batch: Batch) -> torch.Tensor:
        losses_BS = self.each(margins(logits_BSL), batch["targets"].clamp(min=0).to(logits_BSL.dtype))
        return (losses_BS * self._weights(batch) * known(batch)).sum()

    def _weights(self, batch: Batch) -> torch.Tensor:
        targets_BS = batch["targets"].clamp(min=0)
        wrong, correct = self.class_weights
        return wrong + (correct - wrong) * targets_BS


@dataclass(frozen=True)
class CrossEntropy(Pointwise):
    """Cross-entropy; with soft targets the soft binary cross-entropy of Math-Shepherd (arXiv 2312.08935, eq. 4 and
    5)."""

    name: ClassVar[str] = "cross_entropy"

    def each(self, margins_BS: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import softplus

        return softplus(margins_BS) - targets_BS * margins_BS


@dataclass(frozen=True)
class SquaredError(Pointwise):
    """Squared error of the score, the Brier score where targets are hard; bounded, so that a wrong label costs at most
    1."""

    name: ClassVar[str] = "mse"

    def each(self, margins_BS: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        return (margins_BS.sigmoid() - targets_BS) ** 2


@dataclass(frozen=True)
class Focal(Pointwise):
    """Focal loss (Lin et al., arXiv 1708.02002, eq. 4): a class's log loss times (1 - its probability)^gamma, which
    quietens what is easy. A soft target mixes the losses of both classes."""

    gamma: float = 2.0

    name: ClassVar[str] = "focal"

    def each(self, margins_BS: torch.Tensor, targets_BS: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import softplus

        correct_BS = margins_BS.sigmoid()
        wrong_BS = (-margins_BS).sigmoid()  # not 1 - correct, which is 0 long before it should be
        of_correct = wrong_BS**self.gamma * softplus(-margins_BS)
        of_wrong = correct_BS**self.gamma * softplus(margins_BS)
        return targets_BS * of_correct + (1 - targets_BS) * of_wrong
