"""Loading a published verifier as plain transformers: its own code is never run, its head is built here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ModelError
from prm.generation.checkpoint import LOAD_ERRORS, first_line
from prm.public.detect import format_named, known_checkpoint, public_format, read_config
from prm.public.entry import PublicFormat
from prm.scoring_spec import SPEC_FILE

if TYPE_CHECKING:
    from torch import nn


def published(path_or_id: str, format: str | PublicFormat | None = None) -> PublicFormat | None:
    """The format of a verifier that another project published; `None` for one with a scoring spec of its own, and for
    what is no checkpoint at all.

    Raises:
        ConfigError: no format of that name.
        ModelError: a checkpoint without a scoring spec that no format fits, or several.
    """
    from transformers import AutoTokenizer

    if format:
        return format if isinstance(format, PublicFormat) else format_named(format)
    if (Path(path_or_id) / SPEC_FILE).is_file():
        return None
    if known := known_checkpoint(path_or_id):
        return known
    if not (config := read_config(path_or_id)):
        return None
    return public_format(path_or_id, config, AutoTokenizer.from_pretrained(path_or_id).get_vocab())


def load_public(path_or_id: str, entry: PublicFormat, dtype: Any) -> tuple[Any, Any]:
    """The model of a published verifier, with a head that reads as the entry says, and its tokenizer.

    Raises:
        ModelError: it cannot be loaded so, or lacks a part of its head.
    """
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path_or_id, trust_remote_code=False)
        model, found = _model_class(path_or_id, entry).from_pretrained(
            path_or_id, dtype=dtype, key_mapping=dict(entry.key_mapping) or None, output_loading_info=True
        )
    except LOAD_ERRORS as error:
        raise ModelError(f"{path_or_id}: cannot be loaded as {entry.name} ({first_line(error)})") from error
    if absent := sorted(found["missing_keys"]):
        raise ModelError(
            f"{path_or_id}: no weights for {', '.join(absent[:3])} in it, so it is no {entry.name} and its scores "
            "would be random; check the checkpoint, or give another format"
        )
    return model, tokenizer


def _model_class(path_or_id: str, entry: PublicFormat) -> Any:
    """transformers' own class for the checkpoint's kind of model; with the entry's head where that is another."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(path_or_id, trust_remote_code=False)
    if entry.head == "reward_tokens":
        return transformers.AutoModelForCausalLM
    mappings: dict[str, Any] = {
        "token_classification": transformers.AutoModelForTokenClassification,
        "sequence_classification": transformers.AutoModelForSequenceClassification,
    }
    plain = mappings[entry.head]._model_mapping[type(config)]

    class WithHead(plain):  # type: ignore[misc, valid-type]
        def __init__(self, config: Any):
            config.num_labels, config.classifier_dropout = entry.num_labels, 0.0
            super().__init__(config)
            self.score = _head(entry, config.get_text_config())
            self.post_init()

    WithHead.__name__ = plain.__name__
    return WithHead


def _head(entry: PublicFormat, config: Any) -> nn.Module:
    from torch import nn

    hidden = config.hidden_size
    if entry.layers == "two_layers":
        return nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, entry.num_labels))
    # A stock sequence-classification head has no bias, the other linear heads have one.
    return nn.Linear(hidden, entry.num_labels, bias=entry.head == "token_classification")
