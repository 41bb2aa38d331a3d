"""The lines of a run as rows of a table: every method with its accuracy, its gain and its cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prm.report.formatting import Column, Value
from prm.report.page import Table

from ..results import MethodResult, method_title
from .money import MONEY
from .wording import capital, known

if TYPE_CHECKING:
    from ..run import EvalResult

DRAWN = "drawn"
DRAWN_MEANS = "drawn: how many of n solutions a method that may stop early took, on average"
HEADERS = (
    Column("method"),
    Column("verifier"),
    Column("n", "integer"),
    Column(DRAWN, "si"),
    Column("accuracy", "percent"),
    Column("gain", "points"),
    Column("FLOPs", "si"),
    Column("generated", "si"),
    Column("verifier tokens", "si"),
    Column("seconds", "number"),
)


def method_grid(
    lines: Sequence[MethodResult], money: Mapping[str, float] | None = None
) -> tuple[list[Column], list[list[Value]]]:
    """Columns, and a row for each line; how many solutions were drawn is a column where a method may stop early, and
    money (`money.money_by_line`) where it is given."""
    used = [i for i, column in enumerate(HEADERS) if column.name != DRAWN or may_stop_early(lines)]
    rows = [_row(line) for line in lines]
    if not money:
        return [HEADERS[i] for i in used], [[row[i] for i in used] for row in rows]
    return [*(HEADERS[i] for i in used), MONEY], [
        [*(row[i] for i in used), money.get(line.key)] for line, row in zip(lines, rows, strict=True)
    ]


def may_stop_early(lines: Sequence[MethodResult]) -> bool:
    """Whether one of the methods may draw fewer solutions than its n."""
    return any(line.samples is not None for line in lines)


def _row(line: MethodResult) -> list[Value]:
    bill = line.bill
    return [
        method_title(line.method),
        line.verifier + (" (control)" if line.control else "") if line.verifier else None,
        line.n,
        line.samples,
        line.accuracy,
        line.gain,
        *(known(value) for value in (bill.flops, bill.generated_tokens, bill.verifier_tokens, bill.seconds)),
    ]


def method_tables(result: EvalResult) -> list[Table]:
    """Every method at its largest n, and, where there are more, all of them on demand."""
    largest = [lines[-1] for lines in by_method(result.methods)]
    about = "Gains in percentage points; tokens, FLOPs and seconds are means per problem."
    if may_stop_early(result.methods):
        about += f" {capital(DRAWN_MEANS)}."
    tables = [_table(largest, result, f"Every method at its largest n. {about}", "methods.csv")]
    if len(largest) < len(result.methods):
        tables.append(
            _table(result.methods, result, f"Every method at every n. {about}", "methods_all_n.csv", folded=True)
        )
    return tables


def _table(
    lines: Sequence[MethodResult], result: EvalResult, caption: str, csv_name: str, *, folded: bool = False
) -> Table:
    best = [i for i, line in enumerate(lines) if result.best and line.key == result.best.key]
    name = f"All {len(lines)} lines, every n" if folded else ""
    return Table(*method_grid(lines), caption, csv_name, best, name)


def by_method(methods: Sequence[MethodResult]) -> list[list[MethodResult]]:
    """The lines of each method and verifier, in order of n."""
    found: dict[tuple[str, str], list[MethodResult]] = {}
    for line in methods:
        found.setdefault((line.method, line.verifier), []).append(line)
    return [sorted(lines, key=lambda line: line.n) for lines in found.values()]
