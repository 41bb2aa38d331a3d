"""Lines of the table: what is kept of every problem comes back from the files of a run."""

from __future__ import annotations

import json

import pytest
from prm.eval.cost import Bill
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import ProblemResult


def test_a_line_keeps_accuracy_and_bill_of_every_problem_and_is_read_back() -> None:
    results = [ProblemResult(i / 4, Bill(generated_tokens=i, generator_flops=10.0 * i)) for i in range(5)]
    line = method_result(results, method="best_of_n", verifier="prm", kind="prm", n=4)
    assert line.per_problem == (0, 0.25, 0.5, 0.75, 1)
    assert [bill.flops for bill in line.bills] == [0, 10, 20, 30, 40]
    assert line.bill.flops == pytest.approx(20)
    rows = [
        {"best_of_n/prm@4": accuracy, "bills": {"best_of_n/prm@4": bill.to_dict(zeros=False)}}
        for accuracy, bill in zip(line.per_problem, line.bills, strict=True)
    ]
    stored = json.loads(json.dumps([line.to_dict(), rows]))
    assert MethodResult.from_dict(*stored) == line
