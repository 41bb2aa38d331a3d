"""What identifies a checkpoint: the content of its weights, configuration, tokenizer and scoring spec.

`prm eval` keeps scores by it and writes it into `results.json`; `prm push` holds it against the directory it is to
publish. Records of a run that lie beside the weights are no part of it.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json"),
)
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin")
_PROBED_ROWS = 32
CONTENT = (*WEIGHTS, "config.json", "adapter_config.json", "scoring_spec.json", *TOKENIZER_FILES)


def fingerprint(path: str | Path) -> str:
    """16 hex digits of what a checkpoint's directory computes with (an adapter's with those of its base), or of a
    file's content; a name that is no path (a Hub id) stands for itself."""
    path = Path(path)
    if path.is_file():
        return _digest([path])
    if not path.is_dir():
        return str(path)
    own = _digest(sorted(file for file in path.iterdir() if _is_content(file.name)))
    adapter = path / "adapter_config.json"
    if not adapter.is_file():
        return own
    base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return f"{own}+{fingerprint(base)}" if base else own


def file_hash(path: str | Path) -> str:
    """16 hex digits that identify a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def weights_fingerprint(model: Any) -> str:
    """16 hex digits of a model in memory: the names and values of its weights."""
    from torch import uint8

    whole = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(tensor.detach().cpu().contiguous().flatten().view(dtype=uint8).numpy().tobytes())
    return whole.hexdigest()[:16]


def base_probe(model: Any) -> str:
    """16 hex digits by which an adapter knows its base again: of the first rows of the input embedding, which LoRA
    leaves alone and quantisation too, rounded to bfloat16, so that the dtype it is loaded in does not matter."""
    import torch

    from prm.heads.partitioned import whole

    embedding = model.get_input_embeddings()
    while inner := getattr(embedding, "original_module", None) or getattr(embedding, "base_layer", None):
        embedding = inner
    with whole([embedding.weight]):
        rows = embedding.weight[:_PROBED_ROWS].detach().to("cpu", torch.bfloat16).contiguous()
    return hashlib.sha256(rows.view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def dtype_suffix(model: Any) -> str:
    """What a key of reused results adds for the dtype a model computes in, such as `+bfloat16`: nothing for float32,
    nor for what has no dtype."""
    dtype = str(getattr(model, "dtype", "float32")).removeprefix("torch.")
    return "" if dtype == "float32" else f"+{dtype}"


def _is_content(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in CONTENT)


def _digest(files: Iterable[Path]) -> str:
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()[:16]
