"""How numbers are written, the same in the terminal, in HTML and (raw) in CSV.

A `Column` states what its values are; the values themselves stay numbers or `Estimate`s until they are printed, so
that an interval can never be lost on the way and a CSV holds what was computed, not what was rounded.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from prm.errors import ConfigError, DataError
from prm.stats.intervals import Estimate

Kind = Literal["auto", "percent", "points", "number", "integer", "si", "seconds"]
Value = str | int | float | None | Estimate
Row = Sequence[Value]

MISSING = "–"
_MINUS = "−"  # of the width of a plus, so that signed columns line up
_SI = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


@dataclass(frozen=True)
class Column:
    """A column's header and what its values are.

    Attributes:
        name: the header.
        kind: `percent` (a fraction shown as 52.3%), `points` (a difference of fractions shown as +7.3 percentage
            points), `number` (three decimals), `integer` (with thousands separators), `si` (1.25M), `seconds`
            (3 min 20 s); `auto` goes by the value's type.
        unit: written after every `si` value.
    """

    name: str
    kind: Kind = "auto"
    unit: str = ""


@dataclass(frozen=True)
class Cell:
    """A value ready to print; `interval` is empty where the value has none."""

    text: str
    interval: str = ""
    numeric: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.interval}" if self.interval else self.text


def as_columns(headers: Sequence[str | Column]) -> list[Column]:
    """A plain header is a column whose values are formatted by their type."""
    return [header if isinstance(header, Column) else Column(header) for header in headers]


def check_rows(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Raise a `DataError` for a row with more or fewer values than there are columns."""
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            names = ", ".join(column.name for column in columns)
            raise DataError(f"row {number} of a table has {len(row)} values for the {len(columns)} columns {names}")


def format_rows(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[list[list[Cell]], list[bool]]:
    """Write all values, and tell which columns hold numbers (and dashes) only and so stand to the right.

    Raises:
        DataError: a row with more or fewer values than there are columns.
    """
    check_rows(columns, rows)
    cells = [[format_cell(value, column) for value, column in zip(row, columns, strict=True)] for row in rows]
    present = [[row[i].numeric for row in cells if row[i].text != MISSING] for i in range(len(columns))]
    return cells, [bool(flags) and all(flags) for flags in present]


def format_cell(value: Value, column: Column) -> Cell:
    """Write one value; an `Estimate` gets its interval in brackets, a missing or undefined one a dash."""
    if isinstance(value, str):
        return Cell(value)
    if value is None:
        return Cell(MISSING)
    if isinstance(value, Estimate):
        write = _writer(column, value.mean)
        if math.isnan(value.mean):
            return Cell(MISSING)
        # The unit is said once, and no line may break inside the brackets.
        low, high = (write(end).removesuffix("%") for end in (value.low, value.high))
        return Cell(write(value.mean), f"[{low},\N{NO-BREAK SPACE}{high}]", numeric=True)
    if math.isnan(value):
        return Cell(MISSING)
    return Cell(_writer(column, value)(value), numeric=True)


def percent(value: float) -> str:
    """0.523 -> 52.3%."""
    return MISSING if math.isnan(value) else f"{_signless_zero(100 * value, 1)}%"


def points(value: float) -> str:
    """0.073 -> +7.3, a difference in percentage points."""
    if math.isnan(value):
        return MISSING
    text = _signless_zero(100 * value, 1)
    return text if text.startswith(_MINUS) or float(text) == 0 else f"+{text}"


def number(value: float) -> str:
    """0.12345 -> 0.123."""
    return MISSING if math.isnan(value) else _signless_zero(value, 3)


def integer(value: float) -> str:
    """12345 -> 12,345."""
    return MISSING if math.isnan(value) else f"{round(value):,}".replace("-", _MINUS)


def si(value: float, unit: str = "", *, trim: bool = False) -> str:
    """1,250,000 -> 1.25M: three digits that count and a prefix; `trim` drops zeros at the end, as ticks want it."""
    if math.isnan(value):
        return MISSING
    if not math.isfinite(value) or value == 0:
        return f"{value:g}{unit}"
    power = min(max(0, math.floor(math.log10(abs(value)) / 3)), len(_SI) - 1)
    if f"{abs(value) / 1000**power:.3g}" == "1e+03" and power < len(_SI) - 1:  # 999,600 is 1M, not 1000k
        power += 1
    scaled = value / 1000**power
    decimals = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    text = f"{scaled:.{decimals}f}" if power or abs(scaled) >= 1 else f"{scaled:.3g}"
    if "." in text and (trim or (not power and value == round(value))):
        text = text.rstrip("0").rstrip(".")
    return f"{text}{_SI[power]}{unit}".replace("-", _MINUS)


def seconds(value: float) -> str:
    """200 -> 3 min 20 s."""
    if math.isnan(value):
        return MISSING
    whole = round(value)
    if value < 10:
        text = f"{value:.2g} s" if value else "0 s"
    elif whole < 60:
        text = f"{whole} s"
    elif whole < 3600:
        text = f"{whole // 60} min {whole % 60:02d} s"
    else:
        text = f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def to_csv(headers: Sequence[str | Column], rows: Sequence[Row]) -> str:
    """The raw values as CSV; a column with intervals becomes three: the mean, its low and its high end."""
    columns = as_columns(headers)
    check_rows(columns, rows)
    with_interval = [any(isinstance(row[i], Estimate) for row in rows) for i in range(len(columns))]
    head: list[str] = []
    for column, wide in zip(columns, with_interval, strict=True):
        head += [column.name, f"{column.name} low", f"{column.name} high"] if wide else [column.name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        cells: list[Value] = []
        for value, wide in zip(row, with_interval, strict=True):
            ends = (value.low, value.high) if isinstance(value, Estimate) else (None, None)
            cells += [value.mean if isinstance(value, Estimate) else value, *(ends if wide else ())]
        writer.writerow("" if cell is None else cell for cell in cells)
    return text.getvalue()


def _writer(column: Column, value: float) -> Callable[[float], str]:
    kinds: dict[str, Callable[[float], str]] = {
        "percent": percent,
        "points": points,
        "number": number,
        "integer": integer,
        "si": lambda x: si(x, column.unit),
        "seconds": seconds,
        "auto": integer if isinstance(value, int) else number,
    }
    if column.kind not in kinds:
        raise ConfigError(f"column {column.name!r} has the unknown kind {column.kind!r}; known: {', '.join(kinds)}")
    return kinds[column.kind]


def _signless_zero(value: float, decimals: int) -> str:
    value = round(value, decimals + 6)  # 41.25 and 41.25 + 1e-14 are one number, computed in two ways
    text = f"{value:.{decimals}f}"
    return (text.removeprefix("-") if float(text) == 0 else text).replace("-", _MINUS)
