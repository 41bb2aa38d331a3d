"""Nothing that opens a door leaves the machine: tokens and keys are looked for in every text that would be published,
the headers of weight files included."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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
_NO_TEXT = (".parquet",)


def refuse_secrets(payload: Mapping[str, bytes | Path], *known: str | None) -> None:
    """Look through all files that would be published.

    Args:
        known: secrets of this very session, such as the user's token, wherever they are.

    Raises:
        HubError: the first thing that looks like a secret, with its file and line; never the secret itself.
    """
    own = [secret for secret in known if secret and len(secret) >= 8]
    for name, content in sorted(payload.items()):
        if name.endswith(_NO_TEXT):
            continue
        for number, line in enumerate(_lines(name, content), start=1):
            if what := _secret(line, own):
                raise HubError(
                    f"{name}, line {number}: what looks like {what}. Nothing was pushed: take it out, and revoke it "
                    "if anyone else may have seen it"
                )


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
