"""Numbers and combinations of options that no training can have, refused before anything is loaded.

What does not fit between rows, tokenizer and model is `prm.training.checks`'; objectives and losses are
`prm.losses`'.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from prm.errors import ConfigError

_AT_LEAST_1 = (
    *("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    "max_length",
)
_NOT_NEGATIVE = (
    *("learning_rate", "head_learning_rate", "weight_decay", "max_grad_norm", "warmup_steps", "adam_epsilon"),
    *("max_pairs_per_problem", "dataloader_num_workers"),
)
_BELOW_1 = ("adam_beta1", "adam_beta2")


def check_settings(config: Any) -> None:
    """Refuse training arguments that transformers takes, and that fail or mean nothing later.

    Args:
        config: a `VerifierConfig`.

    Raises:
        ConfigError: the option, its value and what it may be.
    """
    for name in _AT_LEAST_1:
        _check(name, getattr(config, name), getattr(config, name) >= 1, "at least 1")
    for name in _NOT_NEGATIVE:
        value = getattr(config, name)
        _check(name, value, value is None or 0 <= value < float("inf"), "a number from 0 up")
    for name in _BELOW_1:
        _check(name, getattr(config, name), 0 <= getattr(config, name) < 1, "from 0 to below 1")
    _check(
        *("num_train_epochs", config.num_train_epochs, config.num_train_epochs > 0 or config.max_steps > 0),
        "above 0, or max_steps is: nothing would be trained, and the result called a verifier",
    )
    if config.load_best_model_at_end and str(getattr(config.eval_strategy, "value", config.eval_strategy)) == "no":
        raise ConfigError(
            "load_best_model_at_end chooses among evaluations, and eval_strategy is no: set eval_strategy and "
            "save_strategy to steps or epoch, or drop it"
        )


def check_kernels(config: Any) -> None:
    """Refuse kernels that are not installed on the machine that trains.

    Args:
        config: a `VerifierConfig`.

    Raises:
        ConfigError: the package that is missing.
    """
    if config.use_liger_kernel and importlib.util.find_spec("liger_kernel") is None:
        raise ConfigError("use_liger_kernel needs the package liger-kernel: pip install liger-kernel, or drop it")


def check_lora(model_config: Any) -> None:
    """Refuse a LoRA that PEFT would refuse once everything is loaded.

    Args:
        model_config: TRL's `ModelConfig`.

    Raises:
        ConfigError: the option, its value and what it may be.
    """
    if not model_config.use_peft:
        return
    _check("lora_r", model_config.lora_r, model_config.lora_r >= 1, "at least 1")
    _check("lora_alpha", model_config.lora_alpha, model_config.lora_alpha > 0, "above 0")
    _check("lora_dropout", model_config.lora_dropout, 0 <= model_config.lora_dropout < 1, "from 0 to below 1")


def _check(name: str, value: Any, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{name} must be {allowed}; it is {value}")
