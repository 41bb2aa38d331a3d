"""Which published format a checkpoint is read with: by its name on the Hub, by a name that the user gives, or by what
its config says."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, ModelError
from prm.public.entries import PUBLIC_FORMATS
from prm.public.entry import PublicFormat
from prm.spelling import hint

logger = logging.getLogger(__name__)


def format_named(name: str) -> PublicFormat:
    """
    Raises:
        ConfigError: no such format.
    """
    by_name = {entry.name: entry for entry in PUBLIC_FORMATS}
    if name not in by_name:
        raise ConfigError(f"unknown format {name!r}; {hint(name, by_name)}, see `prm formats`")
    return by_name[name]


def known_checkpoint(path_or_id: str) -> PublicFormat | None:
    """The format of a checkpoint by its name: its id on the Hub, or the last part of it for a local copy."""
    for entry in PUBLIC_FORMATS:
        for checkpoint in entry.checkpoints:
            if path_or_id.lower() == checkpoint.lower():
                return entry
            if Path(path_or_id).is_dir() and Path(path_or_id).name.lower() == checkpoint.split("/")[1].lower():
                return entry
    return None


def public_format(path_or_id: str, config: dict[str, Any], vocabulary: Any) -> PublicFormat:
    """The format that a checkpoint without a scoring spec is read with. One that is taken by its architecture alone is
    said: another project's may have the same, and other prompts.

    Args:
        config: its config.json.
        vocabulary: whatever says `token in vocabulary`.

    Raises:
        ModelError: none fits, or several do.
    """
    if named := known_checkpoint(path_or_id):
        return named
    fitting = [entry for entry in PUBLIC_FORMATS if _fits(entry, config, vocabulary)]
    # The formats of several projects share an architecture; a token of its own makes one more likely than another.
    most = max((len(entry.needs_tokens) for entry in fitting), default=0)
    fitting = [entry for entry in fitting if len(entry.needs_tokens) == most]
    architecture = ", ".join(config.get("architectures") or ["no architecture"])
    if len(fitting) == 1:
        if _could_be_anyones(fitting[0]):
            logger.warning(
                "%s: read as %s, the only known format of a %s like this one, for it has no scoring_spec.json. If "
                "it was trained on other prompts or separators, its scores mean nothing: say which with format=NAME, "
                "on the command line --prm_format (prm formats lists the rules)",
                *(path_or_id, fitting[0].name, architecture),
            )
        return fitting[0]
    if fitting:
        raise ModelError(
            f"{path_or_id}: a {architecture} without a scoring_spec.json may be read as {_names(fitting)}; "
            "say which with format=NAME, on the command line --prm_format (prm formats lists the rules)"
        )
    raise ModelError(
        f"{path_or_id}: no scoring_spec.json, and a {architecture} is none of the published verifiers that are known "
        "(prm formats lists them); write a scoring spec beside its weights, or train with `prm train`"
    )


def _fits(entry: PublicFormat, config: dict[str, Any], vocabulary: Any) -> bool:
    if not set(entry.architectures) & set(config.get("architectures") or []):
        return False
    labels = config.get("num_labels") or len(config.get("id2label") or {}) or 2
    stock = entry.head != "reward_tokens" and entry.layers == "linear" and not entry.key_mapping
    return (not stock or labels == entry.num_labels) and all(token in vocabulary for token in entry.needs_tokens)


def _could_be_anyones(entry: PublicFormat) -> bool:
    """Whether nothing but a class of transformers' own speaks for a format."""
    return not entry.needs_tokens and not entry.key_mapping and entry.layers == "linear"


def _names(entries: Sequence[PublicFormat]) -> str:
    return ", ".join(entry.name for entry in entries)


def read_config(path: str | Path) -> dict[str, Any]:
    """The config.json of a directory; nothing where there is none."""
    file = Path(path) / "config.json"
    if not file.is_file():
        return {}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
