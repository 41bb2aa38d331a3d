"""One kind of progress bar for every stage: what is done, how fast, and how long it will still take."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(label: str, total: int | None, unit: str = "it") -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr; the function it yields advances it by a number of units. A `total` of `None` is open."""
    from tqdm import tqdm

    # Away from a terminal (a log file, CI) one line every ten seconds is enough.
    interval = 0.2 if sys.stderr.isatty() else 10.0
    with tqdm(total=total, desc=label, unit=unit, mininterval=interval, dynamic_ncols=True, file=sys.stderr) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        yield advance
