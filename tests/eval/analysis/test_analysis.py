"""The whole analysis of a small run: complete, kept in a file, and read back as it was."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from prm.eval.analysis.analysis import Analysis, analyse
from prm.eval.analysis.evidence import Evidence
from prm.eval.cost import Prices


@pytest.fixture
def found(line: Any, pool: Any) -> Analysis:
    rng = np.random.default_rng(0)
    problems, ns = 24, (1, 2, 4)
    methods = []
    for n in ns:
        for method, verifier, kind in (
            ("majority", "", ""),
            ("pass_at_n", "", ""),
            ("best_of_n", "p", "prm"),
            ("best_of_n", "o", "orm"),
        ):
            accuracies = np.minimum(rng.random(problems) * 0.5 + 0.1 * n, 1)
            methods.append(line(method, n, accuracies, flops=float(n), verifier=verifier, kind=kind))
    pools = [
        pool(rng.random(4) < 0.5, rng.random(4), [("a", "b"), ("c",), ("d", "e"), ("f", "f", "f")])
        for _ in range(problems)
    ]
    evidence = Evidence(pools, [[rng.random(k).tolist() for k in (2, 1, 2, 3)] for _ in pools])
    return analyse(
        methods,
        dataset="arithmetic/test",
        baseline="majority",
        n=4,
        evidence={"p": [evidence], "o": [Evidence(pools)]},
        seeds=[0, 1],
        by_seed={one.key: [0.5, math.nextafter(0.5, 1)] for one in methods},
        clusters=[str(i // 2) for i in range(problems)],
        prices=Prices(hour=2.0),
    )


def test_every_part_is_there(found: Analysis) -> None:
    assert {gain.equal for gain in found.gains} == {"n", "flops"}
    assert {gain.reference for gain in found.gains} == {"pass@1", "majority", "best_of_n/o"}
    assert [one.among for one in found.selections] == ["n", "all"]
    assert {one.key for one in found.sample_sizes} == {"best_of_n/p@4", "best_of_n/o@4"}
    assert {one.key for one in found.worths} >= {"majority@2", "best_of_n/p@4"}
    assert {(one.method, one.verifier) for one in found.peaks} == {
        ("majority", ""),
        ("best_of_n", "p"),
        ("best_of_n", "o"),
    }
    assert [(one.verifier, one.n) for one in found.chosen] == [(v, n) for v in "po" for n in (1, 2, 4)]
    assert [one.verifier for one in found.biases] == ["p", "o"]
    assert found.biases[0].position is not None and found.biases[1].position is None
    assert len(found.seeds) == 12
    assert found.money is not None and found.money["majority@4"] == 0.0
    assert "2 N T" in found.flops_formula


def test_every_table_can_say_problems_seeds_and_what_was_held_out(found: Analysis) -> None:
    text = found.basis.sentence
    assert text.startswith("24 problems of arithmetic/test in 12 clusters, drawn together; mean over seeds 0, 1;")
    assert "Held out:" in text


def test_an_analysis_is_read_back_from_its_file_as_it_was(found: Analysis) -> None:
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert Analysis.from_dict(json.loads(text)).to_dict() == found.to_dict()
    again = Analysis.from_dict(json.loads(text))
    assert again.gains == found.gains
    assert again.selections == found.selections
    assert again.basis == found.basis


def test_unknown_money_is_null_in_the_file_and_nan_in_the_record(line: Any) -> None:
    methods = [line("majority", n, [0.2, 0.4], flops=n) for n in (1, 2)]
    found = analyse(methods, dataset="d", baseline="majority", n=2, evidence={}, prices=Prices())
    stored = found.to_dict()
    assert stored["money"] == {"majority@1": None, "majority@2": None}
    read = Analysis.from_dict(stored)
    assert read.money is not None and math.isnan(read.money["majority@1"])


def test_a_run_of_one_problem_without_verifiers_is_analysed_too(line: Any) -> None:
    found = analyse([line("majority", 1, [1.0])], dataset="d", baseline="majority", n=1, evidence={})
    assert (found.gains, found.selections, found.worths, found.peaks, found.seeds) == ((), (), (), (), ())
    assert Analysis.from_dict(found.to_dict()) == found
