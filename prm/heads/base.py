"""What every head has in common: the class that loads it, and logits at the score positions alone.

A head is read in the model's own forward pass (so that DDP, ZeRO-3, PEFT and `torch.compile` see one call): the
backbone runs over all tokens, the hidden states at the score positions are gathered, and only they go through the
head. Without `positions` the model's forward is transformers' own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from prm.errors import ModelError
from prm.training.row_attention import segment_arguments

if TYPE_CHECKING:
    import torch

HEAD_NAMES = ("score", "classifier")  # what transformers calls a classification head, PEFT's own list
Kind = Literal["prm", "orm"]
# What the model's forward takes; the rest of a batch is the loss's and the metrics'.
READ = (
    *("input_ids", "attention_mask", "position_ids", "segments", "positions"),
    *("predict_at", "next_ids", "ends", "reference"),
)


@dataclass(frozen=True)
class Head(ABC):
    """One row of the table of objectives: a kind of checkpoint, and how its outputs are read.

    Attributes:
        objective: its name in `--objective`.
        spec_head: its name in a scoring spec.
        kind: `prm` scores every step, `orm` the finished solution.
        rows_kind: what its training rows carry: `prm` a label per step, `orm` one outcome.
        auto_class: the class of transformers that loads it.
        class_suffix: what such a model's class name ends with.
        task_type: PEFT's name for it.
        labels: `id2label` of the checkpoint; `None` for a language model.
    """

    objective: ClassVar[str]
    spec_head: ClassVar[str]
    kind: ClassVar[Kind] = "prm"
    rows_kind: ClassVar[Kind] = "prm"
    auto_class: ClassVar[str]
    class_suffix: ClassVar[str]
    task_type: ClassVar[str]
    labels: ClassVar[dict[int, str] | None] = None
    problem_type: ClassVar[str | None] = None

    def configure(self, config: Any, tokenizer: Any) -> None:
        """Set the labels of a checkpoint's configuration, and no dropout before the head."""
        config.get_text_config().pad_token_id = config.pad_token_id = tokenizer.pad_token_id
        if self.labels is None:
            return
        config.id2label = self.labels
        config.label2id = {label: index for index, label in self.labels.items()}
        config.classifier_dropout = 0.0
        config.problem_type = self.problem_type

    def check(self, model: Any) -> None:
        """Refuse a model of another class, or with another number of labels.

        Raises:
            ModelError: what it is, and what it should be.
        """
        base = unwrapped(model)
        wanted = f" with num_labels={len(self.labels)}" if self.labels else ""
        same_labels = self.labels is None or base.config.num_labels == len(self.labels)
        if not type(base).__name__.endswith(self.class_suffix) or not same_labels:
            has = f" with num_labels={base.config.num_labels}" if self.labels else ""
            raise ModelError(
                f"objective {self.objective!r} is a model {self.class_suffix}{wanted}, not {type(base).__name__}{has}"
                "; build it with prm.heads.build_model, or pass the checkpoint's name"
            )

    def prepare(self, model: Any) -> None:  # noqa: B027 (most need nothing)
        """Change fresh or loaded weights as the head needs them."""

    @abstractmethod
    def logits(self, model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Logits (B, S, L) in float32 at `batch["positions"]` (B, S), which count in the flattened tokens.

        Args:
            model: without PEFT or a distributed wrapper around it.
            hidden_TD: last hidden states of all tokens of the batch, flattened.
        """

    def rows_D(self, rows_2D: torch.Tensor) -> torch.Tensor:
        """The head's weights from a language-model head's rows of two tokens, bad and good."""
        return rows_2D


def margins(logits_BSL: torch.Tensor) -> torch.Tensor:
    """Correct minus wrong (B, S); a head with one logit has that margin. The score is its sigmoid, which for two
    logits is their softmax."""
    if logits_BSL.shape[-1] == 1:
        return logits_BSL[..., 0]
    return logits_BSL[..., 1] - logits_BSL[..., 0]


def unwrapped(model: Any) -> Any:
    """The transformers model inside PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def head_name(model: Any) -> str:
    """Name of the classification head among the model's children.

    Raises:
        ModelError: none of the names transformers uses.
    """
    names = dict(model.named_children())
    for name in HEAD_NAMES:
        if name in names:
            return name
    raise ModelError(f"{type(model).__name__} has no head called {' or '.join(HEAD_NAMES)}")


def head_module(model: Any) -> Any:
    """The classification head, in PEFT's wrapper where it has one."""
    return getattr(model, head_name(model))


def last_hidden_states(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Last hidden states of the flattened tokens, (B * T, D), from the backbone alone."""
    given = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
    given |= segment_arguments(model, batch.get("segments"))
    hidden: torch.Tensor = getattr(model, model.base_model_prefix)(**given, use_cache=False)[0]
    return hidden.flatten(0, 1)


def read_at_positions(model: Any, head: Head) -> None:
    """Let the model's forward, where it is given `positions`, return the head's logits (B, S, L) there."""
    from transformers.modeling_outputs import TokenClassifierOutput

    base = unwrapped(model)
    plain = base.forward

    def forward(*args: Any, positions: Any = None, **given: Any) -> Any:
        if positions is None:
            return plain(*args, **given)
        batch = {"positions": positions} | {name: value for name, value in given.items() if value is not None}
        return TokenClassifierOutput(logits=head.logits(base, last_hidden_states(base, batch), batch))

    base.forward = forward
