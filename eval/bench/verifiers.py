"""The verifier of a run: loaded, and known by its content, so that its scores are found again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from prm.fingerprint import dtype_suffix, fingerprint, weights_fingerprint
from prm.scoring_spec import SPEC_FILE

from ..identity import split_name
from ..sample_store import settings_key
from ..search.base import StepVerifier
from .config import BenchConfig

if TYPE_CHECKING:
    from prm.verifier import Verifier

SCORES = "scores"


@dataclass(frozen=True)
class Opened:
    """A verifier, the fingerprint of its checkpoint (`None` of one in memory), and the file of its scores."""

    verifier: StepVerifier
    fingerprint: str | None
    cache: Path


def verifier_key(config: BenchConfig, in_memory: StepVerifier | None = None) -> str:
    """What tells the verifier of a config from others before it is loaded: the content of its directory, a Hub name,
    or of one in memory its own key."""
    if in_memory is not None:
        return _key_in_memory(in_memory)
    from prm.worlds.models import expand_embedded

    return fingerprint(expand_embedded(split_name(config.prm_path)[1]))


def open_verifier(config: BenchConfig, in_memory: StepVerifier | None = None) -> Opened:
    """Load the verifier of a config, or take the one in memory.

    Raises:
        MissingFileError, DataError, ModelError, ConfigError: it cannot be loaded.
    """
    folder = Path(config.score_cache or Path(config.output_dir) / SCORES)
    if in_memory is not None:
        return Opened(in_memory, None, _cache(folder, _key_in_memory(in_memory)))
    from prm.verifier import Verifier
    from prm.worlds.models import expand_embedded

    name, path = split_name(config.prm_path)
    path = expand_embedded(path)
    measured = fingerprint(path)  # `prm push` asks whether it publishes the weights that were measured
    verifier = Verifier.from_pretrained(
        path,
        name=name,
        format=config.prm_format,
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.batch_tokens,
    )
    key = measured + _commit(verifier) + dtype_suffix(verifier.model)
    if not (Path(path) / SPEC_FILE).is_file():
        key += settings_key(verifier.spec.to_dict())  # how it is read is not in its directory
    return Opened(verifier, measured, _cache(folder, key))


def _cache(folder: Path, key: str) -> Path:
    return folder / f"scores-{settings_key({'verifier': key})}.jsonl"


def _commit(verifier: Verifier) -> str:
    """The commit of a checkpoint from the Hub, whose name alone does not tell its weights."""
    commit = getattr(verifier.model.config, "_commit_hash", None)
    return f"@{commit}" if commit else ""


def _key_in_memory(verifier: StepVerifier) -> str:
    """Its own `revision` or its weights; with neither it cannot be recognised, and its scores are no one else's."""
    if revision := getattr(verifier, "revision", None):
        return str(revision)
    model = getattr(verifier, "model", None)
    return weights_fingerprint(model) if model is not None else uuid4().hex
