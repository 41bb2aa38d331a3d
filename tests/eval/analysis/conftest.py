"""Lines of the table from accuracies and FLOPs written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from prm.eval.cost import Bill
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import Candidates, ProblemResult

from prm.problems import Problem

MakeLine = Callable[..., MethodResult]


@pytest.fixture
def line() -> MakeLine:
    """`line("best_of_n", 4, accuracies, flops=..., verifier="prm")`: FLOPs one number or one of each problem."""

    def make(
        method: str,
        n: int,
        accuracies: Sequence[float],
        *,
        flops: float | Sequence[float] = 1.0,
        verifier: str = "",
        kind: str = "",
        control: bool = False,
    ) -> MethodResult:
        spent = [flops] * len(accuracies) if isinstance(flops, float | int) else flops
        results = [
            ProblemResult(float(right), Bill(generator_flops=float(cost)))
            for right, cost in zip(accuracies, spent, strict=True)
        ]
        kind = kind or ("prm" if verifier else "")
        return method_result(results, method=method, n=n, verifier=verifier, kind=kind, control=control)

    return make


@pytest.fixture
def pool() -> Callable[..., Candidates]:
    """`pool(correct, scores, steps)`: the candidates of one problem."""

    def make(correct: Sequence[bool], scores: Sequence[float], steps: Sequence[Sequence[str]]) -> Candidates:
        return Candidates(
            Problem("p", "1", "p"),
            tuple(map(bool, correct)),
            tuple(0 if right else 1 for right in correct),
            scores=tuple(scores),
            steps=tuple(tuple(one) for one in steps),
        )

    return make
