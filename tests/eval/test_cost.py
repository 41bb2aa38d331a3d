"""Bills: what is unknown stays unknown, and nothing is lost on the way to a file and back."""

from __future__ import annotations

import json
import math

from prm.eval.cost import Bill


def test_a_bill_survives_a_file_with_and_without_its_zeros() -> None:
    bill = Bill(generated_tokens=3.5, generator_flops=70, seconds=0.25)
    for zeros in (True, False):
        values = json.loads(json.dumps(bill.to_dict(zeros=zeros)))
        assert Bill.from_dict(values) == bill
        assert values["flops"] == 70
    assert "verifier_tokens" not in bill.to_dict(zeros=False)


def test_unknown_flops_are_null_in_a_file_and_not_nothing() -> None:
    values = Bill(generated_tokens=3, generator_flops=math.nan).to_dict(zeros=False)
    assert values == {"generated_tokens": 3, "generator_flops": None, "flops": None}
    assert math.isnan(Bill.from_dict(values).flops)
