"""QLoRA (Dettmers et al., arXiv 2305.14314): a frozen base in 4 or 8 bits, adapters and head in full precision."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError
from prm.heads import build_model, read_at_positions, unwrapped
from prm.heads.base import HEAD_NAMES
from prm.training.row_attention import ROW_ATTENTION, attend_by_rows

if TYPE_CHECKING:
    from prm.training.trainer import VerifierTrainer

logger = logging.getLogger(__name__)


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


def quantized_to(model: Any) -> str:
    """`4-bit` or `8-bit` where weights of a model are quantised by bitsandbytes; empty for any other."""
    kinds = {type(parameter).__name__ for parameter in model.parameters()}
    return "4-bit" if "Params4bit" in kinds else "8-bit" if "Int8Params" in kinds else ""


def quantization_config(model_config: Any) -> Any:
    """transformers' configuration of what was asked for, or `None`. Heads are never quantised: a fresh one is trained,
    and a language model's is read."""
    from trl.trainer.utils import get_quantization_config

    found = get_quantization_config(model_config)
    if found is not None:
        found.llm_int8_skip_modules = [*HEAD_NAMES, "lm_head"]
    return found


def put_on_plain_base(trainer: VerifierTrainer, directory: str, *, dtype: str) -> bool:
    """Put a trained adapter on its base as it is, not quantised: that is what `prm.verifier` will load, so held-out
    rows are to be measured, and temperature and threshold found, on its scores. Call it after training; nothing can
    be trained afterwards.

    Args:
        directory: where the adapter is saved to and read from.
        dtype: of the base.

    Returns:
        Whether it stands on the plain base; not with several processes, nor where it does not fit into memory beside
        the quantised one, and then what is measured is of the latter.
    """
    import torch

    if trainer.accelerator.num_processes > 1 or trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return False
    trainer.save_model(directory)
    trained: Any = trainer.model
    attention = unwrapped(trained).config._attn_implementation
    try:
        plain: Any = build_model(directory, trainer.head, trainer.processing_class, dtype=dtype, keep_adapter=True)
        plain = plain.to(trainer.args.device)
    except (torch.OutOfMemoryError, MemoryError):
        logger.warning("the base does not fit into memory unquantised: what is measured is of the quantised one")
        return False
    read_at_positions(plain, trainer.head)
    if attention == ROW_ATTENTION:
        attend_by_rows(unwrapped(plain))
    trainer.accelerator.free_memory()
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.model = trainer.model_wrapped = plain.eval()
    return True
