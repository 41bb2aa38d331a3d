"""LoRA adapters that never leave their head behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError, ModelError
from prm.heads.base import Head, head_name

if TYPE_CHECKING:
    from peft import LoraConfig


def add_lora(model: Any, config: LoraConfig, head: Head) -> Any:
    """Wrap a model in LoRA; a classification head is left out of it, trained in full, and saved with the adapter.

    Adapter and head are float32 whatever the model's dtype is, for an optimiser step is lost in bfloat16's 8 bits.
    Under ZeRO-3 they keep the model's, which it wants to be one; DeepSpeed's optimiser holds float32 copies itself.

    Raises:
        ConfigError: a task type of another head.
    """
    from peft import TaskType, get_peft_model
    from transformers.integrations import is_deepspeed_zero3_enabled

    wanted = TaskType(head.task_type)
    # CAUSAL_LM is TRL's default and would leave the head behind.
    if config.task_type not in {None, TaskType.CAUSAL_LM, wanted}:
        raise ConfigError(
            f"objective {head.objective!r} has the LoRA task type {wanted.value}, not {config.task_type}"
        )
    config.task_type = wanted
    full_precision = not is_deepspeed_zero3_enabled()
    name = head_name(model) if head.labels else None
    if name and (config.exclude_modules is None or not isinstance(config.exclude_modules, str)):
        config.exclude_modules = sorted({*(config.exclude_modules or ()), name})
    wrapped: Any = get_peft_model(model, config, autocast_adapter_dtype=full_precision)
    for adapter in wrapped.peft_config.values():
        # A relative path would hold in this working directory only.
        base = adapter.base_model_name_or_path
        if base and Path(base).is_dir():
            adapter.base_model_name_or_path = str(Path(base).resolve())
    if name is None:
        return wrapped
    if full_precision:
        _train_head_in_float32(wrapped, name)
    if not all(p.requires_grad for n, p in wrapped.named_parameters() if f"{name}.modules_to_save" in n):
        raise ModelError(f"PEFT did not make the head {name!r} trainable; report this with the model's name")
    return wrapped


def _train_head_in_float32(wrapped: Any, name: str) -> None:
    """PEFT casts its adapters and not the head; a head of another dtype than the model needs its input cast."""
    head = getattr(wrapped.get_base_model(), name).modules_to_save["default"].float()
    head.register_forward_pre_hook(lambda module, given: (given[0].to(module.weight.dtype), *given[1:]))
