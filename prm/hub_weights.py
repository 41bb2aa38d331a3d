"""The weights as they are published: an adapter merged where that is asked for, and files no larger than a limit.

What lies in the verifier's directory is never changed: what is published lies in a folder of its own, made of links to
the files that stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.cards.facts import METRICS_FILE, VerifierFacts, read_facts, read_header, read_json
from prm.errors import ConfigError, HubError
from prm.jsonl import write_json

INDEX_FILE = "model.safetensors.index.json"
MERGED = "merged"  # where `prm train --merge_adapter` puts the merged checkpoint
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_CHUNK = 1 << 24


def parse_size(text: str) -> int:
    """Bytes of a size such as `5GB`, in decimal units as the Hub counts them.

    Raises:
        ConfigError: not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B)\s*", text, re.IGNORECASE)
    size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
    if size <= 0:
        raise ConfigError(f"max_shard_size {text!r} is not a size; give one such as 5GB or 500MB")
    return size


def merged(facts: VerifierFacts, folder: Path) -> VerifierFacts:
    """The plain checkpoint of an adapter: the one that the training run wrote, or one made now in `folder`.

    Raises:
        HubError: not an adapter, or its base cannot be found.
        ModelError: its base cannot be loaded, or is not the one it was trained on.
    """
    if not facts.is_adapter:
        raise HubError(f"{facts.directory} is no adapter, so there is nothing to merge; leave merge_adapter out")
    ready = facts.directory / MERGED
    if facts.metrics and (ready / METRICS_FILE).is_file() and read_json(ready / METRICS_FILE) == facts.metrics:
        return _of_the_run(ready, facts)
    from prm.heads import merge_lora
    from prm.verifier import Verifier

    verifier = Verifier.from_pretrained(facts.directory, device="cpu", dtype=_dtype_of(facts.adapter_base))
    merge_lora(verifier.model).save_pretrained(folder)
    verifier.tokenizer.save_pretrained(folder)
    replace(facts.spec, adapter_base="").save(folder)
    return _of_the_run(folder, facts)


def _of_the_run(directory: Path, facts: VerifierFacts) -> VerifierFacts:
    """The same verifier in another directory, with the records of its training."""
    return replace(read_facts(directory), metrics=facts.metrics, record=facts.record, report=facts.report)


def _dtype_of(base: str) -> str:
    """What a base's weights are stored in; the merged ones are, too."""
    from transformers import AutoConfig

    from prm.generation.checkpoint import DTYPES, LOAD_ERRORS, first_line

    try:
        dtype = str(AutoConfig.from_pretrained(base).dtype).removeprefix("torch.")
    except LOAD_ERRORS as error:
        raise HubError(
            f"the adapter's base {base!r} cannot be loaded ({first_line(error)}), and merging needs it. Restore it, "
            "or set base_model_name_or_path in adapter_config.json to where it is"
        ) from error
    return dtype if dtype in DTYPES else "float32"


def sharded(facts: VerifierFacts, max_bytes: int, folder: Path) -> VerifierFacts:
    """The same verifier with no weight file above `max_bytes` (a tensor is never cut): itself where that is so
    already, else links and new shards in `folder`. An adapter is one file, whatever its size."""
    names = [name for name in facts.files if name.endswith(".safetensors")]
    if facts.is_adapter or all(_tensor_bytes(facts.directory / name) <= max_bytes for name in names):
        return facts
    for name in facts.files:
        if name not in (*names, INDEX_FILE):
            (folder / name).symlink_to((facts.directory / name).resolve())
    shards = list(_shards([tensor for name in names for tensor in _tensors(facts.directory / name)], max_bytes))
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        _write(folder / name, shard)
        weight_map |= {tensor.name: name for tensor in shard}
    if len(shards) > 1:
        total = sum(tensor.size for shard in shards for tensor in shard)
        write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return _of_the_run(folder, facts)


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor's bytes lie."""

    name: str
    dtype: str
    shape: Sequence[int]
    path: Path
    start: int
    size: int


def _tensors(path: Path) -> Iterator[_Tensor]:
    """The tensors of a file in the order of their bytes."""
    header, start = read_header(path)
    entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    for name, entry in sorted(entries, key=lambda item: item[1]["data_offsets"]):
        low, high = entry["data_offsets"]
        yield _Tensor(name, entry["dtype"], entry["shape"], path, start + low, high - low)


def _tensor_bytes(path: Path) -> int:
    return path.stat().st_size - read_header(path)[1]


def _shards(tensors: Sequence[_Tensor], max_bytes: int) -> Iterator[list[_Tensor]]:
    """Tensors in their order, cut where the next one would be too much."""
    shard: list[_Tensor] = []
    for tensor in tensors:
        if shard and sum(one.size for one in shard) + tensor.size > max_bytes:
            yield shard
            shard = []
        shard.append(tensor)
    if shard:
        yield shard


def _write(path: Path, tensors: Sequence[_Tensor]) -> None:
    """A safetensors file of tensors copied byte by byte, so that nothing is held in memory or computed anew."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        offsets = [end, end + tensor.size]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
        end += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format aligns what follows
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            with tensor.path.open("rb") as source:
                source.seek(tensor.start)
                left = tensor.size
                while left:
                    left -= out.write(source.read(min(_CHUNK, left)))
