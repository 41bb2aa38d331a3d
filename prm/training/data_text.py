"""The labels and lengths of training rows as bars of text, for a terminal; as a page shows them in
`prm.training.page.rows`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from prm.report.formatting import percent

if TYPE_CHECKING:
    from prm.training.page.rows import RowFacts

_WIDTH = 40  # characters of the longest bar
_LABEL_BINS, _LENGTH_BINS = 5, 8
_EIGHTHS = " ▏▎▍▌▋▊▉"

Bin = tuple[str, int]


def data_text(rows: RowFacts) -> str:
    """Histograms of the labels and of the lengths; only that of lengths where no label is known."""
    known = [target for row in rows.targets for target in row if target >= 0]
    parts = [bars("labels", label_bins(known)), bars("tokens of a solution", length_bins(rows.lengths))]
    return "\n".join(part for part in parts if part)


def label_bins(values: Sequence[float]) -> list[Bin]:
    """How many are 0 and 1, and, where there are others, how many of these are in each fifth between."""
    between = [0] * _LABEL_BINS
    for value in values:
        if 0 < value < 1:
            between[min(_LABEL_BINS - 1, int(value * _LABEL_BINS))] += 1
    middle = [(f"{n / _LABEL_BINS:g} to {(n + 1) / _LABEL_BINS:g}", count) for n, count in enumerate(between)]
    ends = [("0, wrong", sum(value == 0 for value in values)), ("1, right", sum(value == 1 for value in values))]
    return [ends[0], *(middle if any(between) else ()), ends[1]]


def length_bins(lengths: Sequence[int]) -> list[Bin]:
    """How many lie in each of up to eight ranges of equal width, from the shortest to the longest."""
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    width = max(1, math.ceil((high - low + 1) / _LENGTH_BINS))
    counts = [0] * (1 + (high - low) // width)
    for length in lengths:
        counts[(length - low) // width] += 1
    starts = [low + n * width for n in range(len(counts))]
    return [
        (f"{start:,}" if width == 1 else f"{start:,} to {min(high, start + width - 1):,}", count)
        for start, count in zip(starts, counts, strict=True)
    ]


def bars(title: str, bins: Sequence[Bin]) -> str:
    """A bar for each bin, with its count and its share; empty where nothing was counted."""
    total = sum(count for _, count in bins)
    if not total:
        return ""
    most = max(count for _, count in bins)
    width = max(len(name) for name, _ in bins)
    digits = len(f"{most:,}")
    lines = [title]
    for name, count in bins:
        drawn = _bar(count / most)
        lines.append(f"{name:>{width}}  {drawn:<{_WIDTH}}  {count:>{digits},}  {percent(count / total)}")
    return "\n".join(lines)


def _bar(share: float) -> str:
    whole, eighths = divmod(round(8 * _WIDTH * share), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()
