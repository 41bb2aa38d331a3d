"""What is seen while a verifier is trained: one progress bar over the optimiser steps, and a line for each log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.utils import logging

from prm.progress import progress_bar
from prm.report.formatting import percent, si

_RATES = {"labels_per_second": "labels/s", "tokens_per_second": "tokens/s"}
_SHARES = {"padding_share": "padding", "mfu": "mfu"}
_CLOCKS = ("_runtime", "_per_second")  # of an evaluation: nobody waits for them to become better


class BarCallback(TrainerCallback):
    """The bar, on stderr, in the first process of each machine."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._advance: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        if logging.is_progress_bar_enabled():  # "Writing model shards" would break into ours at every checkpoint
            logging.disable_progress_bar()
            self._stack.callback(logging.enable_progress_bar)
        if state.is_local_process_zero:
            self._advance = self._stack.enter_context(progress_bar("train", state.max_steps, "step"))
            self._advance(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        if self._advance:
            self._advance(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        from tqdm import tqdm

        line = log_line(state.global_step, logs or {})
        if self._advance and line:
            tqdm.write(line, file=sys.stderr)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        self._stack.close()
        self._advance = None


def log_line(step: int, logs: Mapping[str, Any]) -> str:
    """One log as a line; empty where there is nothing to say.

    Left out are the clocks of an evaluation, and the whole of the log that ends a training (`train_loss`,
    `train_runtime`): its loss is the mean over all steps, and would stand under the last step's as a second one.
    """
    if "train_runtime" in logs:
        return ""
    parts = [_part(name, value) for name, value in logs.items() if _is_shown(name, value)]
    held_out = any(name.startswith("eval_") for name in logs)
    return "  ".join([f"step {step}", *(["held out"] if held_out else []), *parts]) if parts else ""


def _is_shown(name: str, value: Any) -> bool:
    if not isinstance(value, float) or name == "total_flos":
        return False
    return name in _RATES or not name.endswith(_CLOCKS)


def _part(name: str, value: float) -> str:
    if name in _RATES:
        return f"{_RATES[name]} {si(value)}"
    if name in _SHARES:
        return f"{_SHARES[name]} {percent(value)}"
    return f"{name.removeprefix('eval_')} {value:.4g}"
