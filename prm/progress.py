"""One kind of progress for every stage: what is done, how fast, how long it will still take, and how it goes.

On a terminal it is one live line; elsewhere (a log file, CI) plain lines, seldom, without carriage returns. It goes to
stderr, so that what a command prints can be piped. What is said beside the count is the stage's: a `Tally`, or any
function that returns a text.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

Advance = Callable[[int], None]
Status = Callable[[], str]
Clock = Callable[[], float]

EARLY = 0.02  # of the work: before, a rate says nothing of the time that is left, for a search ends many at once
SECONDS_BETWEEN_LINES = 10.0
"""Away from a terminal, at most one line in so many seconds; the last one always comes."""


@contextmanager
def progress_bar(
    label: str, total: int | None, unit: str = "it", status: Status | None = None, *, stream: TextIO | None = None
) -> Iterator[Advance]:
    """Show how a stage goes; the function it yields advances it by a number of units.

    Args:
        total: how many units there are; `None` where nobody knows.
        unit: what is counted, in the singular (`solution`).
        status: what to say beside the count, asked whenever it is shown; empty for nothing.
        stream: where to; by default stderr.
    """
    stream = stream or sys.stderr
    if not _live(stream):
        lines = ProgressLines(label, total, unit, status, stream)
        try:
            yield lines.advance
        finally:
            lines.close()
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=f" {unit}", mininterval=0.2, dynamic_ncols=True, file=stream) as bar:

        def say() -> None:
            if status is not None:
                bar.set_postfix_str(status(), refresh=False)

        def advance(count: int) -> None:
            say()
            bar.update(count)

        try:
            yield advance
        finally:
            say()  # what the last units came to is known after they were counted
            bar.refresh()


def _live(stream: TextIO) -> bool:
    """Whether a line can be written over: on a terminal that knows its width. One that nobody told its size (of a
    container, or under `script`) has 0 columns, and no room for a live line."""
    if not stream.isatty():
        return False
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except (OSError, ValueError):  # not known here; tqdm has its own ways to find out
        return True


class ProgressLines:
    """Progress in a file: one line now and then, and one at the end.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        status: Status | None,
        stream: TextIO,
        *,
        clock: Clock = time.monotonic,
    ):
        self.label, self.total, self.unit = label, total, unit
        self.status, self.stream, self.clock = status, stream, clock
        self.done = 0
        self._started = self._said = clock()

    def advance(self, count: int) -> None:
        self.done += count
        if self.done != self.total and self.clock() - self._said >= SECONDS_BETWEEN_LINES:
            self._say(last=False)

    def close(self) -> None:
        """Say what was reached, also where an error ended the stage."""
        self._say(last=True)

    def _say(self, *, last: bool) -> None:
        self._said = self.clock()
        print(self._line(self._said - self._started, last), file=self.stream, flush=True)

    def _line(self, elapsed: float, last: bool) -> str:
        from prm.report.formatting import seconds

        rate = self.done / elapsed if elapsed > 0 else 0.0
        parts = [self._count()]
        if last:
            parts[0] += f" in {seconds(elapsed)}"
        elif rate:
            parts.append(_rate(rate, self.unit))
            if self.total and self.total > self.done >= EARLY * self.total:
                parts.append(f"{seconds((self.total - self.done) / rate)} left")
        said = self.status() if self.status else ""
        return ", ".join([f"{self.label}: {parts[0]}", *parts[1:], *([said] if said else [])])

    def _count(self) -> str:
        unit = self.unit if max(self.done, self.total or 0) == 1 or self.unit == "it" else f"{self.unit}s"
        if not self.total or self.done == self.total:
            return f"{self.done:,} {unit}"
        return f"{self.done:,} of {self.total:,} {unit} ({self.done / self.total:.0%})"


class Tally:
    """What an evaluation can say of itself while it runs: problems done, accuracy so far, tokens per second.

    It is a `status` of `progress_bar`; whoever works adds what is done. Problems whose answers nobody has graded yet
    count as done, and not in the accuracy.

    Args:
        problems: how many there are.
        clock: monotonic seconds.
    """

    def __init__(self, problems: int, *, clock: Clock = time.monotonic):
        self.problems, self.clock = problems, clock
        self.done = self.graded = 0
        self.right = 0.0
        self.tokens = 0.0
        self._started = clock()

    def add(self, *, problems: int = 0, graded: int = 0, right: float = 0.0, tokens: float = 0.0) -> None:
        """Count what was done since the last call.

        Args:
            problems: problems that are finished.
            graded: problems whose accuracy is known, finished here or earlier.
            right: the sum of their accuracies.
            tokens: tokens through any model.
        """
        self.done += problems
        self.graded += graded
        self.right += right
        self.tokens += tokens

    def __call__(self) -> str:
        """Empty until the first problem is done."""
        parts = [f"{self.done:,}/{self.problems:,} problems"] if self.done else []
        if self.graded:
            parts.append(f"accuracy {self._accuracy()}")
        elapsed = self.clock() - self._started
        if self.tokens and elapsed > 0:
            parts.append(_rate(self.tokens / elapsed, "token"))
        return ", ".join(parts)

    def _accuracy(self) -> str:
        from prm.report.formatting import percent
        from prm.stats.intervals import wilson

        found = wilson(min(self.right, self.graded), self.graded)
        low, high = (percent(end).removesuffix("%") for end in (found.low, found.high))
        return f"{percent(self.right / self.graded)} [{low}, {high}]"


def _rate(rate: float, unit: str) -> str:
    from prm.report.formatting import si

    return f"{si(rate)} {unit}/s" if unit == "it" else f"{si(rate)} {unit}s/s"
