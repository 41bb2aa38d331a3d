"""Solutions side by side in one row of tokens, each of which sees itself and its prompt alone.

Everything in a transformer but its attention works token by token, so tokens of different solutions can lie one after
the other without padding, and a prompt that several solutions share needs to be there once. Attention is what has to
tell them apart: here it runs solution by solution, over the keys of its prompt and its own, with transformers' own
SDPA and no mask that grows with the batch. What a batch's segments are is `prm.training.batching`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError

if TYPE_CHECKING:
    import torch

ROW_ATTENTION = "prm_rows"
_KEYS = "padding_free and share_prompts"
_KINDS = {"full_attention", "sliding_attention"}  # of layers

# Tokens of a segment, and the number of the earlier segment whose tokens stand before them; -1 where none does.
Segment = tuple[int, int]


def attend_by_rows(model: Any) -> None:
    """Let a model attend by segments where its backbone is given `segments`, and as before where it is not.

    Raises:
        ConfigError: a model that mixes tokens in another way, that looks ahead, or whose attention is not SDPA.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation == ROW_ATTENTION:
        return
    if why := why_not_by_rows(model):
        raise ConfigError(f"{_KEYS}: {why}; leave them off")
    AttentionInterface.register(ROW_ATTENTION, _attention)
    AttentionMaskInterface.register(ROW_ATTENTION, sdpa_mask)
    model.set_attn_implementation(ROW_ATTENTION)


def segment_arguments(model: Any, segments: Sequence[Segment] | None) -> dict[str, Any]:
    """What a backbone is given of segments, besides tokens and their positions: nothing where it keeps them apart by
    the positions alone.

    Raises:
        ConfigError: the model does not attend by segments, and prompts are shared.
    """
    import torch

    if segments is None:
        return {}
    if model.config._attn_implementation != ROW_ATTENTION:
        if any(before >= 0 for _, before in segments):
            raise ConfigError("a batch with shared prompts needs attend_by_rows(model) of prm.training.row_attention")
        return {}
    # transformers takes a mask of four dimensions as made already; else it would make one of all tokens by all tokens.
    return {"segments": segments, "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=model.device)}


def why_not_by_rows(model: Any) -> str | None:
    """Why a model cannot attend by segments, as far as it can be known before it runs; `None` if it can."""
    config = model.config.get_text_config()
    name = type(model).__name__
    others = set(getattr(config, "layer_types", None) or ()) - _KINDS
    if model._is_stateful or others:
        return f"{name} has layers that carry a state from token to token ({', '.join(sorted(others)) or 'recurrent'})"
    if not any(getattr(module, "is_causal", False) is True for module in model.modules()):
        return f"the prompt must not see what follows it, and {name} looks ahead"
    if config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return f"solutions are kept apart under attn_implementation sdpa, and {name} has {config._attn_implementation}"
    return None


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Sequence[Segment] | None = None,
    sliding_window: int | None = None,
    position_bias: Any = None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' attention functions: queries (1, H, T, Q), keys and values (1, G, T, Q) to (1, T, H, Q)."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if segments is None:
        if attention_mask is not None and attention_mask.shape[-1] < key.shape[2]:
            raise ConfigError(f"{_KEYS}: {type(module).__name__} is not told of segments; leave them off")
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            position_bias=position_bias,
            sliding_window=sliding_window,
            **given,
        )
    if position_bias is not None:
        raise ConfigError(f"{_KEYS}: {type(module).__name__} adds a bias by position; leave them off")
    lengths = [length for length, _ in segments]
    longest = max(length + (lengths[before] if before >= 0 else 0) for length, before in segments)
    window = _window(module, longest) if sliding_window is None else sliding_window
    # Split, and not sliced: the gradient of a slice is as large as the whole.
    queries, keys, values = ([*part[0].split(lengths, dim=1)] for part in (query, key, value))
    found = []
    for index, (length, before) in enumerate(segments):
        own_keys, own_values = keys[index], values[index]
        if before >= 0:
            own_keys, own_values = (torch.cat([part[before], part[index]], dim=1) for part in (keys, values))
        mask = _mask(length, own_keys.shape[1], window, query.device)
        found.append(
            sdpa_attention_forward(module, queries[index][None], own_keys[None], own_values[None], mask, **given)[0]
        )
    return torch.cat(found, dim=1), None


def _window(module: Any, longest: int) -> int | None:
    """How far back a layer sees whose call does not say so: in some models (Qwen2-MoE, Phi-MoE) the mask alone does.

    Raises:
        ConfigError: its configuration does not say so either, and rows are longer than the window that it names.
    """
    window: int | None = getattr(module.config, "sliding_window", None)
    kinds = getattr(module.config, "layer_types", None)
    if kinds:
        return window if kinds[module.layer_idx] == "sliding_attention" else None
    if window is not None and longest > window:
        name = type(module).__name__
        raise ConfigError(
            f"{_KEYS}: rows of up to {longest} tokens and a window of {window} in {name}, of which "
            "its layers do not tell; leave them off"
        )
    return None


def _mask(length: int, seen: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which of `seen` tokens, the own ones last, each of `length` tokens sees; `None` where the kernels need not be
    told."""
    import torch

    if length == seen and (window is None or length <= window):
        return None
    mask = torch.ones(length, seen, dtype=torch.bool, device=device).tril(seen - length)
    return (mask if window is None else mask.triu(seen - length - window + 1))[None, None]
