"""The report's bill: what each method spent on a problem, token by token, and how it was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prm.report.formatting import Column, Value
from prm.report.page import Section, Table

from ..cost import FLOPS_FORMULA, Bill
from ..results import MethodResult, method_title
from .methods import by_method
from .money import MONEY, money_by_line
from .wording import capital, known

if TYPE_CHECKING:
    from ..run import EvalResult

TEXT = (
    "n of M samples cost n/M of all of them, but read their prompt as n samples would; the verifier reads equal "
    "samples of a problem once, and, where it can, what they begin with alike. Lookahead and pruned tokens are parts "
    "of the generated ones: sampled only to look ahead, and for branches that a search gave up. The cache is the "
    "key-value cache of both models at its peak, in a run that advances many problems together; that of shared "
    "samples is of the batches that drew all of them, and a verifier reads finished solutions without one. Seconds "
    "are wall time of the batched run, divided by the number of problems. Recorded samples cost what their file "
    "says. A dash: nothing was spent, or nobody says it; of their caches neither recorded samples nor vLLM nor an "
    "endpoint say anything."
)
TOKENS = ("generated", "lookahead", "pruned", "prefilled", "cached", "verifier")


def bill_section(result: EvalResult, unpriced: str = "") -> Section:
    """Every method that spent something, at its largest n.

    Args:
        unpriced: which prices lack (`money.unpriced_sentence`).
    """
    largest = [lines[-1] for lines in by_method(result.methods)]
    lines = [line for line in largest if line.bill.generated_tokens or line.bill.verifier_tokens]
    tokens = [name for name in TOKENS if any(known(getattr(line.bill, f"{name}_tokens")) for line in lines)]
    tables = [
        Table(
            ["method", "verifier", *(Column(f"{name} tokens", "si") for name in tokens)],
            [[*_names(line), *(known(getattr(line.bill, f"{name}_tokens")) for name in tokens)] for line in lines],
            "Tokens, means per problem.",
            "tokens.csv",
        ),
        _flops_table(lines, money_by_line(result.analysis)),
    ]
    return Section(
        "The bill", "\n\n".join([FLOPS_FORMULA, TEXT, *([f"{capital(unpriced)}."] if unpriced else [])]), tables=tables
    )


def _flops_table(lines: list[MethodResult], money: Mapping[str, float]) -> Table:
    headers: list[str | Column] = ["method", "verifier"]
    headers += [Column(name, "si") for name in ("generator FLOPs", "verifier FLOPs", "of these for difficulty")]
    headers += [Column("cache at peak", "si", "B"), Column("seconds", "number")]
    headers += [MONEY] if money else []
    rows = [[*_names(line), *_spent(line.bill), *([money.get(line.key)] if money else [])] for line in lines]
    used = [i for i, header in enumerate(headers) if i < 2 or any(row[i] is not None for row in rows)]
    return Table(
        [headers[i] for i in used],
        [[row[i] for i in used] for row in rows],
        "FLOPs, memory and time, means per problem; the cache is that of the whole run at its peak.",
        "cost.csv",
    )


def _names(line: MethodResult) -> list[Value]:
    return [f"{method_title(line.method)} @ {line.n}", line.verifier or None]


def _spent(bill: Bill) -> list[Value]:
    generator = None if math.isnan(bill.generator_flops) else bill.generator_flops
    return [
        generator,
        known(bill.verifier_flops),
        known(bill.difficulty_flops),
        known(bill.cache_bytes),
        known(bill.seconds),
    ]
