"""Warnings as people read them at the command line: `warning: ...`, one line each, on stderr.

Which warnings are shown, and how often, is left to Python's filters (`-W`, `PYTHONWARNINGS`). Users of the library get
warnings as Python shows them, with file and line.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings plainly while this context lasts."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        yield


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """`warnings.showwarning`. Live bars on a terminal step aside."""
    text = f"warning: {' '.join(str(message).split())}"
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=file or sys.stderr)
    else:
        print(text, file=file or sys.stderr, flush=True)
