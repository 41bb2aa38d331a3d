"""Markdown tables of what a JSON file says, whatever its exact keys: shown as they are, rounded, never completed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A titled Markdown table; the title may be empty."""

    title: str
    markdown: str


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


def cell(text: str) -> str:
    """Text that cannot break out of a table's cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of ready-made texts."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def tables_of(values: Mapping[str, Any], title: str = "") -> list[Table]:
    """One table of the plain values, then one for each mapping in it. Lists of records (a loss curve) stay in the
    file."""
    plain = {key: value for key, value in values.items() if _is_plain(value)}
    tables = []
    if plain:
        rows = [(words(key), show(value)) for key, value in plain.items()]
        tables.append(Table(title, markdown_table(["", "value"], rows)))
    for key, value in values.items():
        if isinstance(value, Mapping) and not _is_estimate(value):
            tables += tables_of(value, f"{title}: {words(key)}" if title else words(key).capitalize())
    return tables


def show(value: Any) -> str:
    """A value, with its 95% interval where it carries one."""
    if not isinstance(value, Mapping):
        return number(value)
    center = value["mean"] if "mean" in value else value["value"]
    return f"{number(center)} [{number(value['low'])}, {number(value['high'])}]"


def words(key: str) -> str:
    """A key as words."""
    return key.replace("_", " ")


def _is_estimate(value: Any) -> bool:
    return isinstance(value, Mapping) and {"low", "high"} <= set(value) and bool({"mean", "value"} & set(value))


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, str | int | float) for item in value)
    return isinstance(value, str | int | float) or _is_estimate(value)
