"""Nothing that opens a door leaves the machine: tokens and keys are looked for in every text that would be published,
the headers of weight files and the texts of Parquet files included."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.errors import HubError

# What each contains, which is looked for first, and its whole form. Providers give their keys prefixes so that they
# can be found; the last one goes by the name, with a value that is no placeholder.
_NAMES = ("api_key", "api_token", "hub_token", "auth_token", "access_token", "password", "secret", "secret_key")
_KINDS = {
    "a Hugging Face token": (("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    "an API key": (("sk-",), r"\bsk-(?:[A-Za-z0-9]{32,}|(?:proj|ant|or|svcacct)-[A-Za-z0-9_-]{20,})"),
    "an AWS key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": (("gh", "github_pat_"), r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})"),
    "a Google key": (("AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
    "a Slack token": (("xox",), r"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
    "a private key": (("PRIVATE KEY",), r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a password in a URL": (("://",), r"\bhttps?://[^\s/:@\"'<>]+:[^\s/:@\"'<>]+@"),
    "a secret": (_NAMES, rf"\"(?:\w*_)?(?:{'|'.join(_NAMES)})\"\s*:\s*\"(?!<)[^\"\s]{{8,}}\""),
}


def refuse_secrets(payload: Mapping[str, bytes | Path], *known: str | None) -> None:
    """Look through all files that would be published.

    Args:
        known: secrets of this very session, such as the user's token, wherever they are.

    Raises:
        HubError: the first thing that looks like a secret, with its file and line or row; never the secret itself.
    """
    own = [secret for secret in known if secret and len(secret) >= 8]
    for name, content in sorted(payload.items()):
        for where, text in _texts(name, content):
            if what := _secret(text, own):
                raise HubError(
                    f"{name}, {where}: what looks like {what}. Nothing was pushed: take it out, and revoke it "
                    "if anyone else may have seen it"
                )


def _texts(name: str, content: bytes | Path) -> Iterator[tuple[str, str]]:
    """Every text of a file, with where in it that is."""
    if name.endswith(".parquet"):
        yield from _columns(name, content)
        return
    for number, line in enumerate(_lines(name, content), start=1):
        yield f"line {number}", line


def _secret(text: str, own: Sequence[str]) -> str:
    """What a text gives away, or `""`. A tokenizer is one line of many megabytes, so whole forms are looked for only
    where a part of them is."""
    if any(secret in text for secret in own):
        return "your own token"
    for what, (parts, form) in _KINDS.items():
        if any(part in text for part in parts) and re.search(form, text):
            return what
    return ""


def _lines(name: str, content: bytes | Path) -> Iterator[str]:
    """The lines of a text; of weights the header, which holds metadata as JSON."""
    if isinstance(content, bytes):
        yield from content.decode("utf-8", "replace").splitlines()
    elif name.endswith(".safetensors"):
        with content.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            yield stream.read(min(length, content.stat().st_size)).decode("utf-8", "replace")
    else:
        with content.open(encoding="utf-8", errors="replace") as text:
            yield from text


def _columns(name: str, content: bytes | Path) -> Iterator[tuple[str, str]]:
    """The texts in a Parquet file: its metadata, and every value of a column that holds texts, however nested.

    Raises:
        HubError: it is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content) if isinstance(content, bytes) else str(content))
    except pa.ArrowInvalid as error:
        raise HubError(f"{name}: no Parquet file, so that no secret could be looked for in it ({error})") from None
    for key, value in (file.metadata.metadata or {}).items():
        yield "its metadata", f"{key.decode('utf-8', 'replace')} {value.decode('utf-8', 'replace')}"
    names = [field.name for field in file.schema_arrow if "string" in str(field.type)]
    first = 1
    for batch in file.iter_batches(columns=names) if names else ():
        for column, values in batch.to_pydict().items():
            for row, value in enumerate(values, start=first):
                for text in _flat(value):
                    yield f"row {row}, column {column}", text
        first += batch.num_rows


def _flat(value: Any) -> Iterator[str]:
    """The texts in a value; a mapping as JSON, by whose keys secrets are known."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _flat(item)
    elif isinstance(value, dict):
        yield json.dumps(value, ensure_ascii=False, default=str)
