"""QLoRA (Dettmers et al., arXiv 2305.14314): a frozen base in 4 or 8 bits, adapters and head in full precision."""

from __future__ import annotations

import importlib.util
from typing import Any

from prm.errors import ConfigError
from prm.heads.base import HEAD_NAMES


def check_quantization(model_config: Any) -> None:
    """Refuse a quantised base that nothing could be trained on.

    Args:
        model_config: TRL's `ModelConfig`.

    Raises:
        ConfigError: both widths, no LoRA, or no bitsandbytes.
    """
    if not (model_config.load_in_4bit or model_config.load_in_8bit):
        return
    if model_config.load_in_4bit and model_config.load_in_8bit:
        raise ConfigError("load_in_4bit and load_in_8bit exclude each other; choose one")
    if not model_config.use_peft:
        raise ConfigError("a quantised base is frozen, so nothing would be trained: set use_peft to true (QLoRA)")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError("a quantised base needs bitsandbytes: pip install 'prm-toolkit[qlora]'")


def quantization_config(model_config: Any) -> Any:
    """transformers' configuration of what was asked for, or `None`. Heads are never quantised: a fresh one is trained,
    and a language model's is read."""
    from trl.trainer.utils import get_quantization_config

    found = get_quantization_config(model_config)
    if found is not None:
        found.llm_int8_skip_modules = [*HEAD_NAMES, "lm_head"]
    return found
