"""A score per step from a language model's own next-token odds of two tokens, such as "+" against "-"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.errors import ModelError
from prm.heads.base import Head

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RewardTokensHead(Head):
    """`AutoModelForCausalLM`, read as RLHFlow's and Math-Shepherd's PRMs are (arXiv 2312.08935): the odds of two
    tokens after each step. Nothing is added to the model, so LoRA has no head to save.

    Args:
        token_ids: of the token that means wrong and of the one that means correct.
    """

    token_ids: tuple[int, int]

    objective = "reward_tokens"
    spec_head = "reward_tokens"
    auto_class = "AutoModelForCausalLM"
    class_suffix = "ForCausalLM"
    task_type = "CAUSAL_LM"

    def logits(self, model: Any, hidden_TD: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """(B, S, 2), wrong first; the output layer runs at the score positions alone."""
        found = next_token_logits(model, hidden_TD[batch["positions"]])
        return found[..., list(self.token_ids)]


def next_token_logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits (..., V) in float32 as the model's own forward pass makes them from last hidden states: Cohere and
    Granite scale them, Gemma 2 caps them."""
    config = model.config.get_text_config()
    logits: torch.Tensor = model.get_output_embeddings()(hidden).float()
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if scaling := getattr(config, "logits_scaling", None):
        logits = logits / scaling
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = (logits / cap).tanh() * cap
    return logits


def reward_token_ids(tokenizer: Any, tokens: Sequence[str]) -> tuple[int, int]:
    """Ids of the token that means wrong and of the one that means correct, by their names in the vocabulary.

    Raises:
        ModelError: the tokenizer has no such token.
    """
    ids = tokenizer.convert_tokens_to_ids(list(tokens))
    unknown = [token for token, i in zip(tokens, ids, strict=True) if i in (None, tokenizer.unk_token_id)]
    if unknown:
        raise ModelError(f"the tokenizer has no token {unknown[0]!r}, which the scores are read from")
    return ids[0], ids[1]
