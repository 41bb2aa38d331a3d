"""Markdown tables, and how a card writes the values in them: rounded, with their intervals, never completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A titled Markdown table, with what is to be known first; title and text may be empty, and the table where there
    is a text."""

    title: str
    markdown: str
    text: str = ""


def number(value: Any) -> str:
    """A value as a card shows it: four significant digits, thousands marked."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value)
    text = str(value)
    return text if text == text.strip() and "\n" not in text else f"`{text!r}`"  # whitespace that one should see


def decimals(value: float, *, signed: bool = False) -> str:
    """Three decimals; what rounds to zero has no sign."""
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    return "0.000" if float(text) == 0 else text


def cell(text: str) -> str:
    """Text that cannot break out of a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of ready-made texts."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def show(value: Any) -> str:
    """A value, with its 95% interval where it carries one."""
    if not isinstance(value, Mapping):
        return number(value)
    center = value["mean"] if "mean" in value else value["value"]
    if value.get("low") is None or value.get("high") is None:
        return number(center)
    return f"{number(center)} [{number(value['low'])}, {number(value['high'])}]"


def words(key: str) -> str:
    """A key as words."""
    return key.replace("_", " ")
