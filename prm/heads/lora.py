"""LoRA adapters that never leave their head behind."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError, ModelError
from prm.fingerprint import base_probe
from prm.generation.checkpoint import first_line
from prm.heads.base import Head, head_name

if TYPE_CHECKING:
    from peft import LoraConfig


def add_lora(model: Any, config: LoraConfig, head: Head) -> Any:
    """Wrap a model in LoRA; a classification head is left out of it, trained in full, and saved with the adapter.

    Adapter and head are float32 whatever the model's dtype is, for an optimiser step is lost in bfloat16's 8 bits.
    Under ZeRO-3 they keep the model's, which it wants to be one; DeepSpeed's optimiser holds float32 copies itself.

    Raises:
        ConfigError: a task type of another head, or what PEFT cannot put on this model.
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
    if name:
        config.exclude_modules = _and_excluded(config.exclude_modules, name)
    try:
        wrapped: Any = get_peft_model(model, config, autocast_adapter_dtype=full_precision)
    except ValueError as error:
        targets = config.target_modules or "none"
        named = targets if isinstance(targets, str) else ", ".join(sorted(targets))
        raise ConfigError(
            f"PEFT cannot put this LoRA (lora_target_modules: {named}) on a {type(model).__name__}: "
            f"{first_line(error).split('. ')[0]}; all-linear takes all linear layers"
        ) from error
    for adapter in wrapped.peft_config.values():
        # A relative path would hold in this working directory only.
        base = adapter.base_model_name_or_path
        if base and Path(base).is_dir():
            adapter.base_model_name_or_path = str(Path(base).resolve())
    return _trainable(wrapped, name, full_precision)


def with_lora(model: Any, config: LoraConfig, head: Head) -> Any:
    """The model in a new LoRA; one that has an adapter already keeps it, for two would not be loaded as one, and it is
    said where that adapter is of another shape than asked for."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return add_lora(model, config, head)
    (adapter,) = model.peft_config.values()
    has, asked = ({name: getattr(one, name) for name in ("r", "lora_alpha")} for one in (adapter, config))
    if has != asked:
        warnings.warn(
            f"the training goes on with the adapter that is there, {has}, not {asked}; for another shape merge it "
            "first, and start from the result",
            stacklevel=3,
        )
    return model


def load_lora(model: Any, adapter: str, head: Head) -> Any:
    """A saved adapter on its base, to be trained further: what is saved again is an adapter of the same base."""
    from peft import PeftModel
    from transformers.integrations import is_deepspeed_zero3_enabled

    full_precision = not is_deepspeed_zero3_enabled()
    name = head_name(model) if head.labels else None
    wrapped = PeftModel.from_pretrained(model, adapter, is_trainable=True, autocast_adapter_dtype=full_precision)
    return _trainable(wrapped, name, full_precision)


def _trainable(wrapped: Any, name: str | None, full_precision: bool) -> Any:
    """The wrapped model, when its head called `name` is trained with the adapter."""
    if name is None:
        return wrapped
    if full_precision:  # PEFT casts its adapters and not the head
        in_float32(getattr(wrapped.get_base_model(), name).modules_to_save["default"])
    if not all(p.requires_grad for n, p in wrapped.named_parameters() if f"{name}.modules_to_save" in n):
        raise ModelError(f"PEFT did not make the head {name!r} trainable; report this with the model's name")
    return wrapped


def check_base(base: Any, probe: str, adapter: str) -> None:
    """Refuse a base that is not the one an adapter was trained on, of the same shape or not.

    Args:
        probe: `ScoringSpec.adapter_base`; empty where nobody noted it.

    Raises:
        ModelError: what to restore.
    """
    if probe and base_probe(base) != probe:
        raise ModelError(
            f"{adapter}: an adapter of another base than {base.config._name_or_path}, whose weights are not those it "
            "was trained on; restore them, or set base_model_name_or_path in adapter_config.json to where they are"
        )


def in_float32(head: Any) -> None:
    """Hold a head in float32 on a model of any dtype: it then needs its input cast."""
    head.float()
    head.register_forward_pre_hook(lambda module, given: (given[0].to(module.weight.dtype), *given[1:]))


def merge_lora(wrapped: Any) -> Any:
    """The plain model, with the adapter merged into its weights.

    Where input and output embeddings are one tensor and the adapter changes one of them, they are two from here on:
    merged in place, a change of the one would be one of the other, too, and saved as tied they would be one again.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper
    from torch.nn import Parameter

    base = wrapped.get_base_model()
    read, written = base.get_input_embeddings(), base.get_output_embeddings()
    changed = any(isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) for module in (read, written))
    if changed and written is not None and base.config.get_text_config().tie_word_embeddings:
        if not isinstance(written, AuxiliaryTrainingWrapper):  # that holds a tensor of its own already
            plain: Any = written.get_base_layer() if isinstance(written, BaseTunerLayer) else written
            plain.weight = Parameter(plain.weight.detach().clone(), requires_grad=False)
        base.config.get_text_config().tie_word_embeddings = base.config.tie_word_embeddings = False
    return wrapped.merge_and_unload()


def _and_excluded(excluded: list[str] | str | None, name: str) -> list[str] | str:
    """What PEFT is to leave alone, a pattern or names, and the head."""
    if isinstance(excluded, str):
        return rf"(?:{excluded})|(?:.*\.)?{name}"
    return sorted({*(excluded or ()), name})
