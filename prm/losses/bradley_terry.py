"""The pairwise loss of outcome models (Bradley and Terry 1952; Ouyang et al., arXiv 2203.02155, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from prm.heads.base import margins
from prm.losses.base import Batch, known

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BradleyTerry:
    """-log sigmoid(chosen - rejected). Units are pairs: rows 2i and 2i + 1 of a batch are the chosen and the rejected
    solution of one pair, and a micro-batch holds whole pairs."""

    name: ClassVar[str] = "bradley_terry"

    def units(self, batch: Batch) -> torch.Tensor:
        return known(batch)[0::2, 0].sum()

    def summed(self, logits_BSL: torch.Tensor, batch: Batch) -> torch.Tensor:
        from torch.nn.functional import softplus

        scores_B = margins(logits_BSL)[:, 0]
        losses_P = softplus(scores_B[1::2] - scores_B[0::2])
        return (losses_P * known(batch)[0::2, 0]).sum()
