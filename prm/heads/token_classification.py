"""A score per step from two logits, wrong and correct, at the end of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prm.heads.base import Head, head_module, unwrapped
from prm.heads.partitioned import whole

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TokenClassificationHead(Head):
    """`AutoModelForTokenClassification` with the labels wrong and correct.

    Args:
        num_logits: 2, or 1 to train the margin alone. One logit is the same checkpoint, whose row for "wrong" is 0 and
            stays so: a softmax over a single label would be 1 whatever the model says, so the stock pipeline and vLLM
            need the two rows.
    """

    num_logits: Literal[1, 2] = 2

    objective = "prm"
    spec_head = "token_classification"
    auto_class = "AutoModelForTokenClassification"
    class_suffix = "ForTokenClassification"
    task_type = "TOKEN_CLS"
    labels = {0: "wrong", 1: "correct"}  # noqa: RUF012

    def prepare(self, model: Any) -> None:
        """One logit: (wrong, correct) becomes (0, correct - wrong), which scores the same."""
        import torch

        if self.num_logits == 2:
            return
        parameters = list(head_module(unwrapped(model)).parameters())
        with torch.no_grad(), whole(parameters, write=True):
            for parameter in parameters:
                parameter[1] -= parameter[0].clone()
                parameter[0] = 0.0

    def logits(self, model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, S, 2), wrong first; with one logit the first has no gradient, and so stays 0."""
        import torch

        found: torch.Tensor = head_module(model)(hidden_TD[batch["positions"]]).float()
        if self.num_logits == 2:
            return found
        return torch.stack([found[..., 0].detach(), found[..., 1]], dim=-1)
