"""One score for the finished solution, from one logit at its last step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.heads.base import Head, head_module

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class OutcomeHead(Head):
    """`AutoModelForSequenceClassification` with one logit, which the stock pipeline puts through a sigmoid."""

    objective = "orm"
    spec_head = "sequence_classification"
    kind = "orm"
    rows_kind = "orm"
    auto_class = "AutoModelForSequenceClassification"
    class_suffix = "ForSequenceClassification"
    task_type = "SEQ_CLS"
    labels = {0: "correct"}  # noqa: RUF012
    # One forward pass with labels makes transformers guess "regression" for one label, and the pipeline would then
    # leave out the sigmoid; multi-label means a sigmoid per logit.
    problem_type = "multi_label_classification"

    def logits(self, model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, 1, 1): transformers pools at the last token that is not padding, which is the last score position."""
        found: torch.Tensor = head_module(model)(hidden_TD[batch["positions"]]).float()
        return found

    def rows_D(self, rows_2D: torch.Tensor) -> torch.Tensor:
        return rows_2D[1:] - rows_2D[:1]
