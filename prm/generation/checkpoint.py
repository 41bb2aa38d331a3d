"""Loading a causal language model to sample from, and naming the weights it has.

What can be wrong with a path or a checkpoint is said here, in one message each.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from prm.errors import ConfigError, MissingFileError, ModelError

_WHOLE_FILE = 64 * 2**20
_BLOCK = 2**20
_BLOCKS = 32
_WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
# Written beside the weights, and no part of what the model computes.
_NOT_THE_MODEL = ("run.json", "trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")
DTYPES = ("auto", "float32", "bfloat16", "float16")
# What a checkpoint that is missing, damaged or of another shape raises when it is loaded.
LOAD_ERRORS = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)


def is_local(model_name_or_path: str) -> bool:
    """Whether the name is a directory, or can only be one; anything else is looked up on the Hub.

    Raises:
        MissingFileError: it can only be a directory, and there is none.
        ModelError: a directory with neither a model's `config.json` nor an adapter's.
    """
    path = Path(model_name_or_path).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise ModelError(f"{path}: no config.json in it, so it is not a model; give the directory of a checkpoint")
        return True
    parts = model_name_or_path.split("/")
    if len(parts) > 2 or model_name_or_path.startswith((".", "/", "~")) or path.exists() or parts[-1] == "":
        raise MissingFileError(
            "no such model directory", path=path, remedy="Check model_name_or_path, or train the model first"
        )
    return False


def model_name(model_name_or_path: str) -> str:
    """How the model is called in files and tables: its Hub name, or its directory's own name."""
    if is_local(model_name_or_path):
        return Path(model_name_or_path).expanduser().resolve().name
    return model_name_or_path


def model_revision(model_name_or_path: str) -> str:
    """What identifies the weights: a Hub model's commit, or a hash (12 hex digits) of a directory's content.

    Files up to 64 MiB are hashed whole, larger ones by their size and 32 blocks of 1 MiB spread evenly.
    """
    if not is_local(model_name_or_path):
        config = _guarded(model_name_or_path, _load_config, model_name_or_path)
        return str(getattr(config, "_commit_hash", None) or "unknown")[:12]
    digest = hashlib.sha256()
    for path in sorted(Path(model_name_or_path).expanduser().iterdir()):
        if path.is_file() and path.suffix in _WEIGHTS and path.name not in _NOT_THE_MODEL:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
            _hash_file(path, digest)
    return digest.hexdigest()[:12]


def _hash_file(path: Path, digest: Any) -> None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= _WHOLE_FILE:
            digest.update(stream.read())
            return
        for block in range(_BLOCKS):
            stream.seek(block * (size - _BLOCK) // (_BLOCKS - 1))
            digest.update(stream.read(_BLOCK))


def load_causal_lm(model_name_or_path: str, *, device: str, dtype: str | None = None) -> tuple[Any, Any]:
    """The model in evaluation mode on its device, and its tokenizer.

    Args:
        dtype: one of `DTYPES`; by default float32 on a CPU and the checkpoint's own elsewhere.

    Raises:
        MissingFileError, ModelError: the directory is not there, is not a model, or lacks weights of a causal
            language model (a verifier's directory, for example).
    """
    check_dtype(dtype)
    is_local(model_name_or_path)
    dtype = dtype or ("float32" if device == "cpu" else "auto")
    model, info = _guarded(model_name_or_path, _load_model, model_name_or_path, dtype)
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{model_name_or_path}: no weights for {missing[0]!r} in it, so it cannot generate; "
            "give a causal language model"
        )
    return model.eval().to(device), load_tokenizer(model_name_or_path)


def load_tokenizer(name_or_path: str) -> Any:
    """The tokenizer of a checkpoint, or one that lies alone in a directory or on the Hub.

    Raises:
        ModelError: there is none.
    """
    try:
        return _load_tokenizer(name_or_path)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"{name_or_path}: no tokenizer can be loaded from it ({first_line(error)}); give the model's directory or "
            "its name on the Hub"
        ) from error


def check_dtype(dtype: Any) -> None:
    """Refuse a dtype's name that is none of `DTYPES`; `None` and a `torch.dtype` pass.

    Raises:
        ConfigError: another name.
    """
    if isinstance(dtype, str) and dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says anything, or its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _guarded(name: str, load: Any, *arguments: Any) -> Any:
    try:
        return load(*arguments)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"{name}: cannot be loaded as a causal language model ({first_line(error)}); check the name, the files "
            "and the connection to the Hub"
        ) from error


def _load_config(name: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(name)


def _load_model(name: str, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, output_loading_info=True)


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)
