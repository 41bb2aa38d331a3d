"""Heads: what is trained on a causal language model, one file each, and how a checkpoint gets one.

| objective | checkpoint | score |
|---|---|---|
| `prm` | `AutoModelForTokenClassification` | softmax of (wrong, correct) at each step |
| `reward_tokens` | `AutoModelForCausalLM` | softmax of two tokens' next-token logits at each step |
| `orm` | `AutoModelForSequenceClassification` | sigmoid of one logit at the last step |
| `implicit_prm` | `AutoModelForCausalLM` and its reference | sigmoid of the scaled log-ratio up to each step |

All of them load in plain `transformers`. The loss is `prm.losses`'; what the outputs mean is written into the scoring
spec by the trainer.
"""

from __future__ import annotations

from prm.heads.base import (
    READ,
    Head,
    head_module,
    head_name,
    last_hidden_states,
    margins,
    read_at_positions,
    unwrapped,
)
from prm.heads.building import (
    adapter_source,
    attends_causally,
    build_model,
    disable_head_dropout,
    keeps_rows_apart,
    load_tokenizer,
    quiet_about_new_head,
)
from prm.heads.choose import head_class, head_to_read, head_to_train
from prm.heads.implicit import ImplicitHead
from prm.heads.lora import add_lora, check_base, in_float32, merge_lora, with_lora
from prm.heads.outcome import OutcomeHead
from prm.heads.reward_tokens import RewardTokensHead, reward_token_ids
from prm.heads.token_classification import TokenClassificationHead

HEADS: dict[str, type[Head]] = {
    head.objective: head for head in (TokenClassificationHead, RewardTokensHead, OutcomeHead, ImplicitHead)
}

__all__ = [
    "HEADS",
    "READ",
    "Head",
    "ImplicitHead",
    "OutcomeHead",
    "RewardTokensHead",
    "TokenClassificationHead",
    "adapter_source",
    "add_lora",
    "attends_causally",
    "build_model",
    "check_base",
    "disable_head_dropout",
    "head_class",
    "head_module",
    "head_name",
    "head_to_read",
    "head_to_train",
    "in_float32",
    "keeps_rows_apart",
    "last_hidden_states",
    "load_tokenizer",
    "margins",
    "merge_lora",
    "quiet_about_new_head",
    "read_at_positions",
    "reward_token_ids",
    "unwrapped",
    "with_lora",
]
