"""What to say of a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """`did you mean 'x'?` where a known name is near, else `otherwise`, by default the choices."""
    choices = list(known)
    near = difflib.get_close_matches(name, choices, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise or f"choose from {', '.join(choices)}"
