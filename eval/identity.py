"""What identifies the models of a run, before any is loaded: a checkpoint by its content or commit, a model in memory
by its weights. One that is gone is known by what the store has of it (`prm.eval.models`)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from prm.errors import ConfigError, MissingFileError, ModelError
from prm.fingerprint import fingerprint, weights_fingerprint
from prm.generation.base import Generator
from prm.remote_verifier import split_url
from prm.scoring_spec import SPEC_FILE
from prm.verifier import looks_like_hub_id
from prm.worlds.models import expand_embedded

from .ensemble import ensemble_keys, split_ensembles
from .sample_store import Row, SampleStore
from .search.base import StepVerifier

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

IN_MEMORY = "verifier in memory "
"""Begins the name under which the store knows a verifier that was no checkpoint."""


def generator_key(config: EvalConfig, in_memory: Generator | None, store: SampleStore) -> tuple[str, str] | None:
    if in_memory is not None:
        return in_memory.name, in_memory.revision
    path = config.model_name_or_path
    if not path:
        return None
    try:
        return config.identity(path)
    except (MissingFileError, ModelError):
        known = store.fact(generator_fact(config))
        if known is None:
            raise
        return known["name"], known["key"]


def generator_fact(config: EvalConfig) -> str:
    return f"generator {config.backend} {config.model_name_or_path} {config.dtype or ''}"


def verifier_keys(config: EvalConfig, in_memory: Mapping[str, StepVerifier], store: SampleStore) -> dict[str, str]:
    """What identifies each verifier of `prm_path`, then of those in memory, then of those that were in memory when
    the run that is extended was made.

    Raises:
        ConfigError: two of one name, or a control that is no verifier of this run.
    """
    paths, formulas = split_ensembles(config.prm_path)
    entries = [split_name(entry) for entry in paths]
    names = [*(name for name, _ in entries), *in_memory]
    before = {name: row["key"] for name, row in store.facts(IN_MEMORY).items() if name not in names}
    before = before if config.from_run else {}
    _check_names([*names, *before, *formulas], config.controls)
    formats = verifier_formats(config)
    keys = {name: _identity(path, store.fact(verifier_fact(config, path))) for name, path in entries}
    keys |= {name: f"{keys[name]}+{format}" for name, format in formats.items()}
    for name, verifier in in_memory.items():
        keys[name] = _key_in_memory(verifier)
    keys |= before
    return keys | ensemble_keys(formulas, keys)


def verifier_formats(config: EvalConfig) -> dict[str, str]:
    """`prm_format` by verifier.

    Raises:
        ConfigError: a format of no verifier, or an entry without a name.
    """
    names = [name for name, _ in map(split_name, split_ensembles(config.prm_path)[0])]
    formats = {}
    for entry in config.prm_format:
        name, equals, format = entry.partition("=")
        if not equals or name not in names:
            raise ConfigError(f"prm_format {entry!r}: give name=format, name one of {', '.join(names) or 'none'}")
        formats[name] = format
    return formats


def verifier_fact(config: EvalConfig, path: str) -> str:
    return f"verifier {path} {config.dtype or ''}"


def _key_in_memory(verifier: StepVerifier) -> str:
    """Its own `revision`, where it has one, or its weights; a verifier with neither cannot be recognised later, so its
    scores are never taken from the store."""
    if revision := getattr(verifier, "revision", None):
        return str(revision)
    model = getattr(verifier, "model", None)
    return weights_fingerprint(model) if model is not None else uuid4().hex


def _identity(path: str, known: Row | None) -> str:
    """A checkpoint's fingerprint; of one on the Hub, its name and the commit of it that is loaded. Where neither can
    be seen, what is known of it from before, or its name alone: loading it says what is wrong."""
    if served := split_url(path):
        place = _identity(served[1], None)
        return str(known["key"]) if known and place == served[1] else f"{place} served"
    otherwise = known["key"] if known else path
    path = expand_embedded(path)
    if Path(path).exists():
        return fingerprint(path)
    if not looks_like_hub_id(path):
        return str(otherwise)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for name in (SPEC_FILE, "config.json"):  # published verifiers of other projects have no spec
        with contextlib.suppress(HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
            return f"{path}@{Path(hf_hub_download(path, name)).parent.name[:12]}"  # .../snapshots/COMMIT/name
    return str(otherwise)


def split_name(entry: str) -> tuple[str, str]:
    """Name and path of one `prm_path` entry; without a name, the path's last part names it. An equals sign behind a
    slash belongs to the path (`runs/lr=1e-5/prm`)."""
    name, equals, path = entry.partition("=")
    if equals and name and path and "/" not in name:
        return name, path
    return Path(entry).name or entry, entry


def _check_names(names: Sequence[str], controls: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two verifiers are called {name!r}; name them apart: --prm_path a=PATH b=PATH")
    for control in controls:
        if control not in names:
            there = f"they are {', '.join(names)}" if names else "it has none, so give prm_path"
            raise ConfigError(f"the control {control!r} is no verifier of this run; {there}")
