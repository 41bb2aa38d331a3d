"""Plain text tables for the terminal: aligned, and wrapped to the width there is, so that nothing is cut off."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence

from prm.report.formatting import Column, Row, as_columns, format_rows

GAP = "  "


def render_table(headers: Sequence[str | Column], rows: Sequence[Row], *, width: int | None = None) -> str:
    """An aligned table, numbers to the right and text to the left.

    Args:
        headers: names, or `Column`s that say how their values are written.
        rows: one value per column.
        width: characters there are; by default the terminal's, and no limit where the output is not a terminal.
            Wide columns wrap between words until the table fits or only whole words are left.

    Raises:
        DataError: a row of another length than the headers.
    """
    columns = as_columns(headers)
    cells, right = format_rows(columns, rows)
    texts = [[column.name for column in columns], *([str(cell) for cell in row] for row in cells)]
    widths = _fitted_widths(texts, _room(width))
    lines = [line for row in texts[:1] for line in _wrapped_row(row, widths, right)]
    lines.append(GAP.join("─" * w for w in widths))
    lines += [line for row in texts[1:] for line in _wrapped_row(row, widths, right)]
    return "\n".join(lines)


def display_width(text: str) -> int:
    """Character cells a text takes: 2 for wide East Asian ones, 0 for combining ones."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _room(width: int | None) -> int | None:
    if width is not None:
        return width
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fitted_widths(texts: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Natural widths, the widest column narrowed cell by cell while the table is too wide."""
    by_column = list(zip(*texts, strict=True))
    widths = [max(display_width(text) for text in column) for column in by_column]
    least = [max(display_width(word) for text in column for word in _words(text)) for column in by_column]
    spare = (room or 0) - len(GAP) * (len(widths) - 1)
    while room is not None and sum(widths) > spare:
        shrinkable = [i for i in range(len(widths)) if widths[i] > least[i]]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
    return widths


def _words(text: str) -> list[str]:
    # Not str.split(): a no-break space keeps an interval in one piece.
    return text.split(" ")


def _wrapped_row(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    blocks = [_wrap(text, width) for text, width in zip(row, widths, strict=True)]
    height = max(len(block) for block in blocks)
    lines = []
    for i in range(height):
        parts = [block[i] if i < len(block) else "" for block in blocks]
        padded = [_pad(part, w, r) for part, w, r in zip(parts, widths, right, strict=True)]
        lines.append(GAP.join(padded).rstrip())
    return lines


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in _words(text):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and display_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _pad(text: str, width: int, right: bool) -> str:
    blank = " " * (width - display_width(text))
    return blank + text if right else text + blank
