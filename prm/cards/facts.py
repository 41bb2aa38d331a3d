"""What is known of a verifier directory without loading it: its files, its parameters, its spec and its metrics.

Everything a card says comes from here or from an execution; nothing is guessed, and what is missing stays missing.
Which files may leave the machine is decided here too (an allow-list), so that optimiser states, checkpoints and logs
never do.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.errors import DataError, HubError, MissingFileError
from prm.fingerprint import TOKENIZER_FILES
from prm.scoring_spec import SPEC_FILE, ScoringSpec

METRICS_FILE = "train_metrics.json"
REPORT_FILE = "train_report.html"
RUN_FILE = "train_run.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"

# What a checkpoint consists of. Only these names, at the top of the directory, are uploaded.
UPLOADED = (
    SPEC_FILE,
    METRICS_FILE,
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    *TOKENIZER_FILES,
)
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
# An absolute path of two parts or more; not the path of a URL.
_PATH = re.compile(r"(?<![\w./:@-])/(?:[\w.+@=-]+/)+[\w.+@=-]+")
# The Trainer leaves these beside the weights of a run; they are no weights and are not uploaded.
TRAINER_STATE = ("training_args.bin", "optimizer*", "scheduler*", "scaler*", "rng_state*", "trainer_state*")


@dataclass(frozen=True)
class VerifierFacts:
    """What a verifier directory holds.

    Attributes:
        directory: where it is.
        spec: how its scores are read.
        files: names of the files to upload, sorted.
        num_parameters: parameters in its safetensors files; of an adapter, the adapter's own.
        is_adapter: a PEFT adapter rather than a full model.
        adapter_base: the base model an adapter names; empty for a full model.
        architecture: the class that `config.json` names, or `""`.
        metrics: the content of `train_metrics.json`; empty where there is none.
        record: the content of `train_run.json`: machine, versions, commit; empty where there is none.
        report: where `train_report.html` is, if it is.
    """

    directory: Path
    spec: ScoringSpec
    files: tuple[str, ...]
    num_parameters: int
    is_adapter: bool
    adapter_base: str = ""
    architecture: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    report: Path | None = None


def read_facts(directory: str | Path) -> VerifierFacts:
    """Inspect a verifier directory.

    Raises:
        MissingFileError: there is no such directory.
        HubError: not a verifier, or one that must not be published as it is.
        DataError: a file of it that cannot be read.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise MissingFileError("no such directory", path=directory, remedy="Give the output_dir of `prm train`")
    if not (directory / SPEC_FILE).is_file():
        raise HubError(f"{directory} is not a verifier: it has no {SPEC_FILE}. Give the output_dir of `prm train`")
    _refuse_pickles(directory)
    files = tuple(sorted(path.name for path in directory.iterdir() if path.is_file() and is_uploaded(path.name)))
    weights = _weights(directory, files)
    if not set(files) & set(TOKENIZERS):  # transformers would make up an empty one
        raise HubError(f"{directory} has no tokenizer. Save it beside the weights with `save_pretrained`")
    is_adapter = ADAPTER_WEIGHTS in weights
    config = read_json(directory / (ADAPTER_CONFIG if is_adapter else "config.json"))
    metrics = read_json(directory / METRICS_FILE) if METRICS_FILE in files else {}
    return VerifierFacts(
        directory=directory,
        spec=ScoringSpec.load(directory),
        files=files,
        num_parameters=sum(count_parameters(directory / name) for name in weights),
        is_adapter=is_adapter,
        adapter_base=str(config.get("base_model_name_or_path") or "") if is_adapter else "",
        architecture="" if is_adapter else ", ".join(config.get("architectures") or []),
        metrics=metrics,
        record=read_json(directory / RUN_FILE) if (directory / RUN_FILE).is_file() else {},
        report=directory / REPORT_FILE if (directory / REPORT_FILE).is_file() else None,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: the file is missing, or is no JSON object.
    """
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Save the model again with `save_pretrained`")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not valid JSON ({error})", path=path, remedy="Restore the file") from None
    if not isinstance(value, dict):
        raise DataError(f"a JSON {type(value).__name__}, not an object", path=path, remedy="Restore the file")
    return value


def without_local_paths(value: Any) -> Any:
    """A JSON value in which absolute paths of this machine are cut to their last part, for nobody else has them."""
    if isinstance(value, dict):
        return {key: without_local_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_local_paths(item) for item in value]
    if not isinstance(value, str):
        return value
    name, equals, path = value.rpartition("=")  # as in `prm=/home/me/runs/prm`
    if path.startswith("/") and len(path) < 4096 and Path(path).exists():
        return f"{name}{equals}{Path(path).name}"
    return value


def text_without_local_paths(text: str) -> str:
    """A text, such as a page, in which absolute paths of this machine are cut to their last part."""

    def cut(found: re.Match[str]) -> str:
        path = Path(found[0])
        return path.name if path.name and path.exists() else found[0]

    return _PATH.sub(cut, text)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and where its tensors begin.

    Raises:
        DataError: the file is cut short, or is no safetensors file.
    """
    remedy = "Copy or save the weights again"
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(min(length, path.stat().st_size)))
    except (struct.error, ValueError) as error:
        raise DataError(f"not a safetensors file ({error})", path=path, remedy=remedy) from None
    ends = (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    expected = 8 + length + max(ends, default=0)
    if path.stat().st_size != expected:
        raise DataError(f"{path.stat().st_size} bytes where its header says {expected}", path=path, remedy=remedy)
    return header, 8 + length


def count_parameters(path: Path) -> int:
    """Parameters in a safetensors file, from its header alone.

    Raises:
        DataError: the file is cut short, or is no safetensors file.
    """
    header, _ = read_header(path)
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def is_uploaded(name: str) -> bool:
    """Whether a file of this name belongs to a published verifier (its card apart)."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in UPLOADED)


def _refuse_pickles(directory: Path) -> None:
    names = sorted(path.name for path in directory.iterdir() if path.is_file())
    for name in names:
        state = any(fnmatch.fnmatchcase(name, pattern) for pattern in TRAINER_STATE)
        if not state and any(fnmatch.fnmatchcase(name, pattern) for pattern in PICKLES):
            raise HubError(
                f"{directory / name} is a pickle, which can run code where it is loaded, and is not published. "
                "Save the weights as safetensors and remove it"
            )


def _weights(directory: Path, files: tuple[str, ...]) -> list[str]:
    """Names of the weight files; a sharded checkpoint must be complete."""
    weights = [name for name in files if name.endswith(".safetensors")]
    if not weights:
        raise HubError(
            f"{directory} has no safetensors weights. Give the output_dir of a finished `prm train`, "
            "or save the model with `save_pretrained`"
        )
    if "model.safetensors.index.json" in files and "model.safetensors" not in files:
        index = read_json(directory / "model.safetensors.index.json")
        missing = sorted(set(index.get("weight_map", {}).values()) - set(weights))
        if missing:
            raise HubError(f"{directory} lacks the weight file {missing[0]} that its index names. Copy it there")
    if ADAPTER_WEIGHTS in weights and len(weights) > 1:
        raise HubError(
            f"{directory} holds both an adapter and full weights, and a loader would take either. "
            f"Remove {ADAPTER_WEIGHTS} or {weights[-1]}"
        )
    return weights
