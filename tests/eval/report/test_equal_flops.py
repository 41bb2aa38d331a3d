"""What the page and the terminal say where a reference has not enough samples for a method's FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prm.eval.analysis.analysis import Analysis, analyse
from prm.eval.cost import Bill
from prm.eval.report.equal_flops import needed_sentence
from prm.eval.report.gains import gains_section
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import ProblemResult

from prm.report.page import Choice


def line(method: str, n: int, right: int, flops: float, verifier: str = "") -> MethodResult:
    """A method that is right on the first `right` of 20 problems."""
    results = [ProblemResult(float(index < right), Bill(generator_flops=flops)) for index in range(20)]
    return method_result(results, method=method, n=n, verifier=verifier, kind="prm" if verifier else "")


VOTES = [line(name, n, 6 + n // 4, 10.0 * n) for name in ("pass_at_n", "majority") for n in (1, 4, 8, 16)]
BEAM = [line("beam_search", n, 12, 15.0 * n, "prm") for n in (4, 8, 16)]
"""Half as much again as sampling: the vote matches it at 4 and 8, with 24 samples it would at 16."""
BEST = [line("best_of_n", n, 11, 26.5 * n, "prm") for n in (4, 16)]
DEAR = [line("dvts", n, 12, 40.0 * n, "prm") for n in (8, 16)]
"""Beyond all that the vote spends."""
AT_24 = "beam search, prm @ 16 (now 66.7% of its FLOPs)"


def analysed(methods: Sequence[MethodResult]) -> Analysis:
    return analyse(methods, dataset="sums", baseline="majority", n=16, evidence={})


def flops_picture(methods: Sequence[MethodResult]) -> tuple[str, str, str]:
    """Its tab, what it says to a screen reader, and its caption."""
    section = gains_section(analysed(methods), {line.key: line for line in methods}, 16)
    choice = next(one for one in section.figures if isinstance(one, Choice))
    name, figure = next((name, figure) for name, figure in choice.options if "FLOPs" in name)
    return name, figure.svg.split('aria-label="')[1].split('"')[0], figure.caption


def test_at_equal_flops_each_method_stands_at_the_largest_n_that_the_reference_can_match() -> None:
    name, said, caption = flops_picture([*VOTES, *BEAM, *BEST])
    assert name == "majority, equal FLOPs"
    assert said.startswith("Gain over majority, equal FLOPs, percentage points")
    assert "beam search, prm @ 8 +" in said and "best-of-n, prm @ 4 +" in said and "@ 16" not in said
    assert "not at equal FLOPs" not in caption


def test_what_cannot_be_matched_is_not_called_equal() -> None:
    name, said, caption = flops_picture([*VOTES, *BEAM, *DEAR])
    assert name == "majority, up to equal FLOPs"
    assert said.startswith("Gain over majority, up to equal FLOPs, percentage points")
    assert "DVTS, prm @ 8 (against 50.0%) +" in said and "beam search, prm @ 8 +" in said
    assert "not at equal FLOPs" in caption


def test_the_table_says_in_words_which_gains_are_at_equal_flops() -> None:
    methods = [*VOTES, *BEAM]
    table = gains_section(analysed(methods), {line.key: line for line in methods}, 16).tables[0]
    rows = [row for row in table.rows if row[0] == "beam search, prm" and row[2] == "majority" and row[3] != "n"]
    assert [row[3] for row in rows] == ["FLOPs", "FLOPs", "FLOPs (not reached)"]
    assert [row[-1] for row in rows] == pytest.approx([6, 12, 24], rel=0.02)


@pytest.mark.parametrize(
    ("methods", "recorded", "said"),
    [
        (BEAM, False, f"one method at the largest n: prm eval --from runs/x --n 24 would match {AT_24}"),
        (
            [*BEAM, *BEST], False,
            f"2 methods at the largest n: prm eval --from runs/x --n 24 would match {AT_24}, --n 43 all of them at "
            f"the n they have now, the "
            "dearest best-of-n, prm @ 16 (now 37.7% of its FLOPs)",
        ),
        (BEAM, True, f"one method at the largest n: 24 recorded samples would match {AT_24}"),
    ],
)  # fmt: skip
def test_it_is_said_which_n_would_match_the_methods(methods: list[MethodResult], recorded: bool, said: str) -> None:
    config = SimpleNamespace(panel=False, rollouts="r.jsonl" if recorded else None, output_dir="runs/x")
    lines = [*VOTES, *methods]
    result = SimpleNamespace(methods=lines, analysis=analysed(lines), ns=[1, 4, 8, 16])
    found = needed_sentence(cast(Any, config), cast(Any, result))
    assert found == f"majority at n=16 spends fewer FLOPs than {said}"


def test_nothing_is_said_where_the_vote_matches_all() -> None:
    lines = [*VOTES, *BEAM[:2]]
    result = SimpleNamespace(methods=lines, analysis=analysed(lines), ns=[1, 4, 8, 16])
    config = SimpleNamespace(panel=False, rollouts=None, output_dir="runs/x")
    assert needed_sentence(cast(Any, config), cast(Any, result)) == ""
