"""From a checkpoint to a model with a head, and its tokenizer."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError, ModelError
from prm.generation.checkpoint import LOAD_ERRORS, check_dtype, first_line
from prm.heads.base import Head, head_module
from prm.heads.lora import check_base, load_lora, merge_lora
from prm.heads.partitioned import whole
from prm.scoring_spec import SPEC_FILE, ScoringSpec
from prm.step_format import encode_plain

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_LANGUAGE = frozenset({"reward_tokens", "implicit"})  # heads of a language model
_CLASSIFIERS = ("ForTokenClassification", "ForSequenceClassification")  # whose head another objective would lose


def load_tokenizer(name_or_path: str, *, revision: str | None = None) -> Any:
    """The checkpoint's tokenizer; one without a padding token pads with its end-of-text token.

    Raises:
        ModelError: no tokenizer there, or neither of the two tokens.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name_or_path, revision=revision or "main")
    except LOAD_ERRORS as error:
        raise ModelError(f"{name_or_path}: no tokenizer could be loaded ({first_line(error)})") from error
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token_id is None:
            raise ModelError(f"{name_or_path}: the tokenizer has neither a padding nor an end-of-text token; add one")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def build_model(
    name_or_path: str,
    head: Head,
    tokenizer: Any,
    *,
    head_init_tokens: Sequence[str] | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
    quantization_config: Any = None,
    keep_adapter: bool = False,
) -> PreTrainedModel:
    """Load a checkpoint with the head of an objective.

    A checkpoint that already has such a head keeps it, so that training goes on from a published verifier; a LoRA
    adapter with such a head is merged into its base first, or stays an adapter where `keep_adapter` says so. Every
    dropout on the head is 0: transformers would put 0.1 on it, and its scores in training would not be those of
    inference.

    Args:
        head_init_tokens: texts of two single tokens, bad and good: the head starts as the language-model head's rows
            of these two, so that a PRM's first scores are the base's own next-token odds.
        quantization_config: of transformers, to load the weights in 4 or 8 bits (QLoRA).
        keep_adapter: leave a LoRA adapter on its base, to be trained on as an adapter of that base.

    Raises:
        ConfigError: an unknown dtype, or tokens for a head that has none of its own.
        ModelError: not a checkpoint, a damaged one, one of another objective, or of an architecture without such a
            class.
    """
    import transformers

    check_dtype(dtype)
    if head_init_tokens and head.labels is None:
        raise ConfigError(f"head_init_tokens start a fresh head, and objective {head.objective!r} has none; drop them")
    source, adapter = adapter_source(name_or_path)
    if head_init_tokens and adapter:
        raise ConfigError(f"head_init_tokens start a fresh head, and the adapter {name_or_path} has one; drop them")
    check_objective(name_or_path, head)
    loader: Any = getattr(transformers, head.auto_class)
    extra = {"attn_implementation": attn_implementation} if attn_implementation else {}
    if quantization_config is not None:
        extra["quantization_config"] = quantization_config
    where = {} if adapter else {"revision": revision or "main"}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **where)
        _check_checkpoint(source, config, head, tokenizer)
        head.configure(config, tokenizer)
        with quiet_about_new_head():
            model = loader.from_pretrained(source, config=config, dtype=dtype, **where, **extra)
    except ModelError:
        raise
    except LOAD_ERRORS as error:
        raise ModelError(
            f"{name_or_path}: cannot be loaded with a {head.spec_head} head ({first_line(error)})"
        ) from error
    disable_head_dropout(model)
    if adapter:
        if (Path(name_or_path) / SPEC_FILE).is_file():
            check_base(model, ScoringSpec.load(name_or_path).adapter_base, name_or_path)
        model = _with_adapter(model, name_or_path, head, keep_adapter)
    if head_init_tokens:
        init_head(
            model,
            head,
            _language_head_rows(
                model, source, revision, single_token_ids(head_init_tokens, tokenizer, "head_init_tokens")
            ),
        )
    head.prepare(model)
    return model


def adapter_source(name_or_path: str) -> tuple[str, bool]:
    """Where the weights are, and whether the name is that of an adapter on them."""
    if not (Path(name_or_path) / "adapter_config.json").is_file():
        return name_or_path, False
    from peft import PeftConfig

    base = PeftConfig.from_pretrained(name_or_path).base_model_name_or_path
    if not base:
        raise ModelError(
            f"{name_or_path}: an adapter that does not say what its base is; merge it, and give the result"
        )
    return str(base), True


def _with_adapter(model: Any, adapter: str, head: Head, keep: bool) -> Any:
    """The base with its adapter on it, or merged into it; trainable either way."""
    from peft import PeftModel

    try:
        if keep:
            return load_lora(model, adapter, head)
        return merge_lora(PeftModel.from_pretrained(model, adapter)).requires_grad_(True)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(
            f"{adapter}: the adapter does not fit {model.config._name_or_path}, its base by its own account "
            f"({first_line(error)}); restore the base it was trained on"
        ) from error


def check_objective(name_or_path: str, head: Head) -> None:
    """Refuse a verifier of another objective: its head would be thrown away without a word. A language model of
    another objective is still a base to start from, and it is said that its scores are not.

    Raises:
        ModelError: what the checkpoint is, by its scoring spec.
    """
    if not (Path(name_or_path) / SPEC_FILE).is_file():
        return
    found = ScoringSpec.load(name_or_path).head
    if found == head.spec_head:
        return
    same_class = {found, head.spec_head} <= _LANGUAGE
    if not same_class and (found not in _LANGUAGE or adapter_source(name_or_path)[1]):
        raise ModelError(
            f"{name_or_path}: a verifier with a {found} head, and objective {head.objective!r} trains a "
            f"{head.spec_head} head; choose the objective of the checkpoint, or start from its base"
        )
    warnings.warn(
        f"{name_or_path} is a verifier with a {found} head; objective {head.objective!r} starts from its weights, and "
        "its scores are not kept",
        stacklevel=3,
    )


def _check_checkpoint(name: str, config: Any, head: Head, tokenizer: Any) -> None:
    """Refuse weights with the head of another objective, and a padding token that has no embedding."""
    found = next(iter(config.architectures or ()), "")
    if found.endswith(_CLASSIFIERS) and not found.endswith(head.class_suffix):
        raise ModelError(
            f"{name}: a {found}, and objective {head.objective!r} trains a model {head.class_suffix}; choose the "
            "objective of the checkpoint, or start from its base"
        )
    size = config.get_text_config().vocab_size
    if tokenizer.pad_token_id >= size:
        raise ModelError(
            f"{name}: the tokenizer's padding token {tokenizer.pad_token!r} has the id {tokenizer.pad_token_id}, and "
            f"the model has {size} embeddings; set pad_token to a token that the model knows, such as its end of text"
        )


def disable_head_dropout(model: Any) -> None:
    """Set every dropout between the last hidden state and the head to 0; the body keeps its own."""
    from torch.nn import Dropout

    for module in model.children():
        if isinstance(module, Dropout):
            module.p = 0.0


def init_head(model: Any, head: Head, rows_2D: torch.Tensor) -> None:
    """Set the head to two rows of a language-model head, bad and good; an ORM's one row is their difference."""
    import torch

    module = head_module(model)
    with torch.no_grad(), whole(list(module.parameters()), write=True):
        module.weight.copy_(head.rows_D(rows_2D).to(module.weight))
        if module.bias is not None:
            module.bias.zero_()


def attends_causally(model: Any) -> bool:
    """Whether no token sees a later one, so that right padding needs no attention mask."""
    return any(getattr(module, "is_causal", False) is True for module in model.modules())


def keeps_rows_apart(model: Any) -> bool:
    """Whether rows that lie one after the other with restarting positions do not see each other: causal attention is
    told apart by the positions, and a recurrent state would run on from row to row."""
    return attends_causally(model) and not any(getattr(module, "_is_stateful", False) for module in model.modules())


def single_token_ids(texts: Sequence[str], tokenizer: Any, key: str) -> list[int]:
    """Token ids of two texts, bad and good, each of them one token.

    Raises:
        ConfigError: not two, or one that is several tokens or none.
    """
    if len(texts) != 2:
        raise ConfigError(f"{key} are two tokens, bad and good, not {list(texts)}")
    ids = []
    for text in texts:
        encoded = encode_plain(tokenizer, text)
        if len(encoded) != 1:
            raise ConfigError(f"{key}: {text!r} is {len(encoded)} tokens to this tokenizer, not one")
        ids += encoded
    return ids


def _language_head_rows(model: Any, name_or_path: str, revision: str | None, ids: Sequence[int]) -> torch.Tensor:
    """Rows (len(ids), D) of the language-model head; with tied embeddings they are at hand, else the checkpoint is
    read once more."""
    if model.config.get_text_config().tie_word_embeddings:
        weight = model.get_input_embeddings().weight
    else:
        from transformers import AutoModelForCausalLM

        causal = AutoModelForCausalLM.from_pretrained(name_or_path, dtype=model.dtype, revision=revision or "main")
        weight = causal.get_output_embeddings().weight
    with whole([weight]):
        return weight[list(ids)].detach().clone()


@contextlib.contextmanager
def quiet_about_new_head() -> Iterator[None]:
    """A new head is what was asked for; transformers would warn of it with a table."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
