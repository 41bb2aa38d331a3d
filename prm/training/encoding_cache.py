"""Encoded rows on disk, under a digest of everything that went into them.

Tokenising Math-Shepherd's 445,000 solutions takes minutes, and every start, every process and every learning rate that
is tried would do it again. The arrays are mapped into memory, so that the processes of a machine share them. The cache
lies in `$PRM_CACHE`, by default in `prm/encoded` of the Hugging Face cache, and can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prm import __version__
from prm.encoding import EncodedDataset, EncodingCounts
from prm.jsonl import write_json
from prm.rows.training_rows import Kind, StepRow
from prm.step_format import StepFormat

FEWEST_ROWS = 2_000  # encoding fewer takes no longer than finding them again
_META = "meta.json"
_ARRAYS = (
    *("tokens", "token_ends", "positions", "targets", "hard", "n_correct", "n_total", "step_ends"),
    *("prompt_lengths", "groups", "sources"),
)


def cache_directory() -> Path:
    """Where encoded rows are kept."""
    from huggingface_hub.constants import HF_HOME

    return Path(os.environ.get("PRM_CACHE") or Path(HF_HOME) / "prm" / "encoded")


def encoding_key(
    rows: Sequence[StepRow], step_format: StepFormat, tokenizer: Any, *, kind: Kind, max_length: int
) -> str:
    """24 hex digits of everything that decides what rows become."""
    digest = hashlib.sha256()
    settings = {"version": __version__, "format": step_format.to_dict(), "kind": kind, "max_length": max_length}
    digest.update(json.dumps(settings, sort_keys=True).encode())
    digest.update(_tokenizer_content(tokenizer))
    for row in rows:
        digest.update(repr((row.content, row.hard, row.source, row.path, row.line)).encode())
    return digest.hexdigest()[:24]


def load_encoded(key: str) -> tuple[EncodedDataset, list[tuple[int, str]]] | None:
    """The dataset and the refused rows (number, reason) under a key, or `None`."""
    import numpy as np

    folder = cache_directory() / key
    if not (folder / _META).is_file():
        return None
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        arrays: dict[str, Any] = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    except (OSError, ValueError):
        shutil.rmtree(folder, ignore_errors=True)  # damaged: it will be written again
        return None
    dataset = EncodedDataset(
        **arrays,
        source_names=tuple(meta["source_names"]),
        origins=tuple((path, line) for path, line in meta["origins"]),
        counts=EncodingCounts(**meta["counts"]),
        pad_token_id=meta["pad_token_id"],
    )
    return dataset, [(int(number), str(why)) for number, why in meta["refused"]]


def save_encoded(key: str, dataset: EncodedDataset, refused: Sequence[tuple[int, str]]) -> None:
    """Keep a dataset; a disk that is full or not writable keeps nothing, and says nothing."""
    import numpy as np

    folder = cache_directory() / key
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=folder.parent))
        try:
            for name in _ARRAYS:
                np.save(scratch / f"{name}.npy", getattr(dataset, name))
            meta = {
                "counts": asdict(dataset.counts),
                "pad_token_id": dataset.pad_token_id,
                "source_names": list(dataset.source_names),
                "origins": [list(origin) for origin in dataset.origins],
                "refused": [list(each) for each in refused],
            }
            write_json(scratch / _META, meta)
            scratch.rename(folder)  # whole or not at all; another process may have been first
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _tokenizer_content(tokenizer: Any) -> bytes:
    """What decides the ids: the fast tokenizer's own serialisation, or the vocabulary of a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    names = ("bos_token", "pad_token", "chat_template", "add_bos_token")
    special = {name: str(getattr(tokenizer, name, "")) for name in names}
    return f"{type(tokenizer).__name__}\0{content}\0{json.dumps(special)}".encode()
