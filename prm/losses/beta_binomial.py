"""The Beta-binomial loss: learn from the counts, not from their ratio (arXiv 2605.15529).

2 of 2 and 8 of 8 are the same ratio and not the same evidence. Here a step's chance p is Beta(a, b) with a =
exp(correct logit) and b = exp(wrong logit), so its mean a / (a + b) is the softmax that every loader reads, and a + b
says how sure the model is. The loss is the negative log-likelihood of k right completions of n,

    -log [B(a + k, b + n - k) / B(a, b)]
        = sum_{i < n} log(a + b + i) - sum_{i < k} log(a + i) - sum_{i < n - k} log(b + i),

without the binomial coefficient, which no parameter enters. The sums need no log-gammas and stay finite for any
logits. The likelihood of a sequence is the same whatever rule ended the sampling, so counts that were stopped at the
first success need no correction (the likelihood principle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prm.losses.base import Batch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BetaBinomial:
    """Units are steps with counts; a step without them (a person's mark) is not learned from."""

    name: ClassVar[str] = "beta_binomial"

    def units(self, batch: Batch) -> torch.Tensor:
        return self._counted(batch).sum()

    def summed(self, logits_BSL: torch.Tensor, batch: Batch) -> torch.Tensor:
        import torch

        wrong, correct = logits_BSL.double().unbind(-1)  # in float64: the sums of large logits nearly cancel
        right, total = batch["n_correct"], batch["n_total"]
        rising = torch.arange(max(1, int(total.max())), device=total.device)
        losses_BS = (
            _log_rising(torch.logaddexp(wrong, correct), total, rising)
            - _log_rising(correct, right, rising)
            - _log_rising(wrong, total - right, rising)
        )
        return (losses_BS * self._counted(batch)).sum().float()

    def _counted(self, batch: Batch) -> torch.Tensor:
        return (batch["n_total"] > 0) & (batch["targets"] >= 0)


def _log_rising(log_a_BS: torch.Tensor, count_BS: torch.Tensor, rising_N: torch.Tensor) -> torch.Tensor:
    """Sum over i < count of log(a + i), (B, S)."""
    import torch

    terms_BSN = torch.logaddexp(log_a_BS[..., None], rising_N.to(log_a_BS.dtype).log())
    return (terms_BSN * (rising_N < count_BS[..., None])).sum(-1)
