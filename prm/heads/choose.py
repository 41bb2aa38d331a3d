"""The head that a training configuration or a scoring spec names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prm.heads.base import Head
from prm.heads.building import single_token_ids
from prm.heads.implicit import ImplicitHead
from prm.heads.outcome import OutcomeHead
from prm.heads.reward_tokens import RewardTokensHead, reward_token_ids
from prm.heads.token_classification import TokenClassificationHead

if TYPE_CHECKING:
    from prm.scoring_spec import ScoringSpec
    from prm.training.config import VerifierConfig


def head_to_train(config: VerifierConfig, tokenizer: Any) -> Head:
    """The head of `--objective`.

    Raises:
        ConfigError: a reward token that is not one token to this tokenizer.
    """
    if config.objective == "reward_tokens":
        bad, good = single_token_ids(config.reward_tokens, tokenizer, "reward_tokens")
        return RewardTokensHead((bad, good))
    if config.objective == "implicit_prm":
        return ImplicitHead(config.implicit_beta)
    return OutcomeHead() if config.objective == "orm" else TokenClassificationHead(config.head_logits)  # type: ignore[arg-type]


def head_to_read(spec: ScoringSpec, tokenizer: Any) -> Head:
    """The head of a scoring spec.

    Raises:
        ModelError: the tokenizer lacks a token that the spec reads.
    """
    if spec.head == "reward_tokens" and spec.reward_tokens is not None:
        return RewardTokensHead(reward_token_ids(tokenizer, spec.reward_tokens))
    if spec.head == "implicit" and spec.beta is not None:
        return ImplicitHead(spec.beta)
    return OutcomeHead() if spec.head == "sequence_classification" else TokenClassificationHead()


def head_class(spec_head: str) -> type[Head]:
    """The class of a scoring spec's head."""
    classes: tuple[type[Head], ...] = (TokenClassificationHead, RewardTokensHead, OutcomeHead, ImplicitHead)
    return next(head for head in classes if head.spec_head == spec_head)
