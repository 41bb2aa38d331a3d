"""Heads: from a causal language model's checkpoint to a model with a score per step (PRM) or per solution (ORM).

A PRM is `AutoModelForTokenClassification` with the labels wrong and correct, an ORM
`AutoModelForSequenceClassification` with one logit that the stock pipeline puts through a sigmoid, so that plain
`transformers` loads what is trained here. What the outputs mean is written into the scoring spec by the trainer; the
loss is `prm.objectives`'.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.errors import ConfigError, ModelError
from prm.generation.checkpoint import LOAD_ERRORS, check_dtype, first_line
from prm.step_format import encode_plain
from prm.training_rows import Kind

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel

HEAD_NAMES = ("score", "classifier")  # what transformers calls the head, PEFT's own list
HEAD_OF_KIND: dict[str, Literal["token_classification", "sequence_classification"]] = {
    "prm": "token_classification",
    "orm": "sequence_classification",
}
LABELS = {"prm": {0: "wrong", 1: "correct"}, "orm": {0: "correct"}}


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
    kind: Kind,
    tokenizer: Any,
    *,
    head_init_tokens: Sequence[str] | None = None,
    revision: str | None = None,
    dtype: str = "float32",
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """Load a checkpoint with a fresh head of the given kind.

    A checkpoint that already has such a head keeps it. Every dropout on the head is 0: transformers would put 0.1 on
    it, and its scores in training would not be those of inference.

    Args:
        head_init_tokens: texts of two single tokens, bad and good: the head starts as the language-model head's rows
            of these two, so that a PRM's first scores are the base's own next-token odds.

    Raises:
        ConfigError: an unknown dtype.
        ModelError: not a checkpoint, a damaged one, or of an architecture without such a class.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

    check_dtype(dtype)
    loader: Any = AutoModelForTokenClassification if kind == "prm" else AutoModelForSequenceClassification
    extra = {"attn_implementation": attn_implementation} if attn_implementation else {}
    try:
        config = AutoConfig.from_pretrained(name_or_path, revision=revision or "main")
        _configure(config, kind, tokenizer)
        with quiet_about_new_head():
            model = loader.from_pretrained(
                name_or_path, config=config, dtype=dtype, revision=revision or "main", **extra
            )
    except LOAD_ERRORS as error:
        raise ModelError(
            f"{name_or_path}: cannot be loaded with a {HEAD_OF_KIND[kind]} head ({first_line(error)})"
        ) from error
    disable_head_dropout(model)
    if head_init_tokens:
        ids = _single_token_ids(head_init_tokens, tokenizer)
        init_head(model, kind, _language_head_rows(model, name_or_path, revision, ids))
    return model


def _configure(config: Any, kind: Kind, tokenizer: Any) -> None:
    config.id2label = LABELS[kind]
    config.label2id = {label: index for index, label in LABELS[kind].items()}
    config.classifier_dropout = 0.0
    config.get_text_config().pad_token_id = config.pad_token_id = tokenizer.pad_token_id
    # One forward pass with labels makes transformers guess "regression" for one label, and the pipeline would then
    # leave out the sigmoid; multi-label means a sigmoid per logit.
    config.problem_type = "multi_label_classification" if kind == "orm" else None


def check_model(model: Any, kind: Kind) -> None:
    """Refuse a model whose head is not of this kind.

    Raises:
        ModelError: another class, or another number of labels.
    """
    wanted = 2 if kind == "prm" else 1
    suffix = "ForTokenClassification" if kind == "prm" else "ForSequenceClassification"
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not type(base).__name__.endswith(suffix) or base.config.num_labels != wanted:
        raise ModelError(
            f"a {kind} is a model {suffix} with num_labels={wanted}, not {type(base).__name__} with "
            f"num_labels={base.config.num_labels}; build it with prm.heads.build_model, or pass the checkpoint's name"
        )


def head_name(model: Any) -> str:
    """Name of the head among the model's children.

    Raises:
        ModelError: none of the names transformers uses.
    """
    names = dict(model.named_children())
    for name in HEAD_NAMES:
        if name in names:
            return name
    raise ModelError(f"{type(model).__name__} has no head called {' or '.join(HEAD_NAMES)}")


def disable_head_dropout(model: Any) -> None:
    """Set every dropout between the last hidden state and the head to 0; the body keeps its own."""
    from torch.nn import Dropout

    for module in model.children():
        if isinstance(module, Dropout):
            module.p = 0.0


def init_head(model: Any, kind: Kind, rows_2D: torch.Tensor) -> None:
    """Set the head to two rows of a language-model head, bad and good; an ORM's one row is their difference."""
    import torch

    head = getattr(model, head_name(model))
    rows_LD = rows_2D if kind == "prm" else rows_2D[1:] - rows_2D[:1]
    with torch.no_grad(), _gathered(list(head.parameters()), write=True):
        head.weight.copy_(rows_LD.to(head.weight))
        if head.bias is not None:
            head.bias.zero_()


def attends_causally(model: Any) -> bool:
    """Whether no token sees a later one, so that right padding needs no attention mask."""
    return any(getattr(module, "is_causal", False) is True for module in model.modules())


def add_lora(model: Any, config: LoraConfig, kind: Kind) -> Any:
    """Wrap a model in LoRA; the head is left out of it, trained in full, and saved with the adapter.

    Adapter and head are float32 whatever the model's dtype is, for an optimiser step is lost in bfloat16's 8 bits.
    Under ZeRO-3 they keep the model's, which it wants to be one; DeepSpeed's optimiser holds float32 copies itself.

    Raises:
        ConfigError: a task type of another head.
    """
    from peft import TaskType, get_peft_model
    from transformers.integrations import is_deepspeed_zero3_enabled

    wanted = TaskType.TOKEN_CLS if kind == "prm" else TaskType.SEQ_CLS
    # CAUSAL_LM is TRL's default and would leave the head behind.
    if config.task_type not in {None, TaskType.CAUSAL_LM, wanted}:
        raise ConfigError(f"a {kind} has the LoRA task type {wanted.value}, not {config.task_type}")
    config.task_type = wanted
    name = head_name(model)
    excluded = config.exclude_modules
    if excluded is None or not isinstance(excluded, str):
        config.exclude_modules = sorted({*(excluded or ()), name})
    full_precision = not is_deepspeed_zero3_enabled()
    wrapped: Any = get_peft_model(model, config, autocast_adapter_dtype=full_precision)
    if full_precision:
        _train_head_in_float32(wrapped, name)
    for adapter in wrapped.peft_config.values():
        # A relative path would hold in this working directory only.
        base = adapter.base_model_name_or_path
        if base and Path(base).is_dir():
            adapter.base_model_name_or_path = str(Path(base).resolve())
    if not all(p.requires_grad for n, p in wrapped.named_parameters() if f"{name}.modules_to_save" in n):
        raise ModelError(f"PEFT did not make the head {name!r} trainable; report this with the model's name")
    return wrapped


def _train_head_in_float32(wrapped: Any, name: str) -> None:
    """PEFT casts its adapters and not the head; a head of another dtype than the model needs its input cast."""
    head = getattr(wrapped.get_base_model(), name).modules_to_save["default"].float()
    head.register_forward_pre_hook(lambda module, given: (given[0].to(module.weight.dtype), *given[1:]))


def _single_token_ids(texts: Sequence[str], tokenizer: Any) -> list[int]:
    if len(texts) != 2:
        raise ConfigError(f"head_init_tokens are two tokens, bad and good, not {list(texts)}")
    ids = []
    for text in texts:
        encoded = encode_plain(tokenizer, text)
        if len(encoded) != 1:
            raise ConfigError(f"head_init_tokens: {text!r} is {len(encoded)} tokens to this tokenizer, not one")
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
    with _gathered([weight]):
        return weight[list(ids)].detach().clone()


@contextlib.contextmanager
def _gathered(parameters: list[Any], *, write: bool = False) -> Iterator[None]:
    """Make parameters whole that ZeRO-3 partitions; elsewhere nothing happens."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if write else None):
        yield


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
