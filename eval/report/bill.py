"""The report's bill: what each method spent on a problem, token by token, and how it was counted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prm.report.formatting import Column, Value
from prm.report.page import Section, Table

from ..results import MethodResult, method_title
from .methods import by_method

if TYPE_CHECKING:
    from ..run import EvalResult

TEXT = (
    "FLOPs are 2 per parameter and token (arXiv 2408.03314): generated and prefilled tokens through the generator, "
    "verifier tokens through the verifier; cached tokens cost nothing. n of M samples cost n/M of all of them; the "
    "verifier reads equal samples of a problem once. Seconds are wall time of the batched run, divided by the number "
    "of problems. Recorded samples cost what their file says; a dash: it does not say."
)
HEADERS: list[str | Column] = [
    "method",
    "verifier",
    *(
        Column(name, "si")
        for name in ("generated", "prefilled", "cached", "verifier tokens", "generator FLOPs", "verifier FLOPs")
    ),
    Column("seconds", "number"),
]


def bill_section(result: EvalResult) -> Section:
    """Every method that spent something, at its largest n."""
    largest = [lines[-1] for lines in by_method(result.methods)]
    rows = [_row(line) for line in largest if line.bill.generated_tokens or line.bill.verifier_tokens]
    return Section("The bill", TEXT, tables=[Table(HEADERS, rows, "Means per problem.", "cost.csv")])


def _row(line: MethodResult) -> list[Value]:
    bill = line.bill
    return [
        f"{method_title(line.method)} @ {line.n}",
        line.verifier or None,
        bill.generated_tokens,
        bill.prefilled_tokens,
        bill.cached_tokens,
        bill.verifier_tokens,
        None if math.isnan(bill.generator_flops) else bill.generator_flops,
        bill.verifier_flops,
        bill.seconds,
    ]
