"""The ranking loss of the process Q-value model (Li and Li, arXiv 2410.11287, eq. 10).

Within a solution the values of right steps should rise, those of wrong steps should lie below all of them by a margin
zeta, and a start of value 0 comes first. With c_0 that start, c_1, c_2, ... the right steps and W the wrong ones, the
loss of a solution is the mean over t of

    -log [ exp Q(c_t) / (sum_{q <= t} exp Q(c_q) + sum_{w in W} exp(Q(w) + zeta)) ].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prm.heads.base import margins
from prm.losses.base import Batch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ProcessQValue:
    """Units are solutions with a wrong step; the others rank nothing, and the authors' own code leaves them out too.

    Args:
        zeta: the margin; 2 and 4 in the paper.
    """

    zeta: float = 4.0

    name: ClassVar[str] = "pqm"

    def units(self, batch: Batch) -> torch.Tensor:
        return self._ranked(batch).sum()

    def summed(self, logits_BSL: torch.Tensor, batch: Batch) -> torch.Tensor:
        import torch
        from torch.nn.functional import pad

        values_BS, targets_BS = margins(logits_BSL), batch["targets"]
        never = torch.finfo(values_BS.dtype).min
        right_BS, wrong_BS = targets_BS >= 0.5, (targets_BS >= 0) & (targets_BS < 0.5)
        wrong_B1 = (values_BS + self.zeta).masked_fill(~wrong_BS, never).logsumexp(-1, keepdim=True)
        # The start has value 0 and is a right step.
        chosen = pad(values_BS, (1, 0), value=0.0)
        terms = pad(right_BS, (1, 0), value=True)
        so_far = chosen.masked_fill(~terms, never).logcumsumexp(-1)
        losses = torch.logaddexp(so_far, wrong_B1) - chosen
        each_B = (losses * terms).sum(-1) / terms.sum(-1)
        return (each_B * self._ranked(batch)).sum()

    def _ranked(self, batch: Batch) -> torch.Tensor:
        targets_BS = batch["targets"]
        return ((targets_BS >= 0) & (targets_BS < 0.5)).any(-1)
