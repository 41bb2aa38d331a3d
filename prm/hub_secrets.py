"""Nothing that opens a door leaves the machine: tokens and keys are looked for in every text that would be published,
the headers of weight files included."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from prm.errors import HubError

# By what they look like; each provider gives its keys a prefix so that they can be found.
_KINDS = {
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-(?:[A-Za-z0-9]{32,}|(?:proj|ant|or|svcacct)-[A-Za-z0-9_-]{20,})",
    "an AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40,})",
    "a Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "a Slack token": r"\bxox[abprs]-[0-9A-Za-z-]{20,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a password in a URL": r"\bhttps?://[^\s/:@\"'<>]+:[^\s/:@\"'<>]+@",
    # By what they are called, with a value that is no placeholder.
    "a secret": r"\"(?:\w*_)?(?:api_key|api_token|hub_token|auth_token|access_token|password|secret|secret_key)\"\s*:"
    r"\s*\"(?!<)[^\"\s]{8,}\"",
}
_SECRET = re.compile("|".join(f"({pattern})" for pattern in _KINDS.values()))
_NO_TEXT = (".parquet",)


def refuse_secrets(payload: Mapping[str, bytes | Path], *known: str | None) -> None:
    """Look through all files that would be published.

    Args:
        known: secrets of this very session, such as the user's token, wherever they are.

    Raises:
        HubError: the first thing that looks like a secret, with its file and line; never the secret itself.
    """
    own = [re.escape(secret) for secret in known if secret and len(secret) >= 8]
    for name, content in sorted(payload.items()):
        if name.endswith(_NO_TEXT):
            continue
        for number, line in enumerate(_lines(name, content), start=1):
            found = _SECRET.search(line)
            what = list(_KINDS)[found.lastindex - 1] if found and found.lastindex else ""
            if own and re.search("|".join(own), line):
                what = "your own token"
            if what:
                raise HubError(
                    f"{name}, line {number}: what looks like {what}. Nothing was pushed: take it out, and revoke it "
                    "if anyone else may have seen it"
                )


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
