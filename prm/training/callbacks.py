"""What happens beside a training step: the loss is logged where a checkpoint is saved, and a loss that is no number
ends the run with the rows it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prm.errors import DataError

if TYPE_CHECKING:
    import torch

    from prm.encoding import EncodedDataset

_NAMED = 8  # rows that a message names


class LogAtSaves(TrainerCallback):
    """Log the loss wherever a checkpoint is saved, so that the means which a resumed run logs are over the same steps
    as those of an uninterrupted one."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> TrainerControl:
        if control.should_save:
            control.should_log = True
        return control


class StopAtNan(TrainerCallback):
    """Stops a run at the first optimiser step whose loss is not a number, before the weights are, and names the rows.

    It is told of every micro-batch and looks once a step, so that an accelerator is waited for no more often.
    """

    def __init__(self) -> None:
        self.rows: EncodedDataset | None = None
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def saw(self, loss: torch.Tensor, indices: torch.Tensor) -> None:
        """Tell of a micro-batch's loss and of its rows' numbers (B, 1)."""
        self._seen.append((loss.detach(), indices))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """
        Raises:
            DataError: the rows of the micro-batches whose loss is not a number.
        """
        import torch

        seen, self._seen = self._seen, []
        if not seen or bool(torch.isfinite(torch.stack([loss for loss, _ in seen])).all()):
            return
        bad = [int(i) for loss, indices in seen if not torch.isfinite(loss) for i in indices.flatten() if i >= 0]
        named = [self.rows.origin(i) if self.rows else str(i) for i in bad[:_NAMED]]
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise DataError(
            f"the loss is not a number at step {state.global_step + 1}; its rows: {'; '.join(named)}{more}",
            remedy="Lower learning_rate or set max_grad_norm, train in bf16 rather than fp16, or look at these rows. "
            "The last checkpoint is untouched",
        )
