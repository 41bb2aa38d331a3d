"""PRMScore, against counts made by hand and against the definition of precision and recall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prm.errors import DataError
from prm.stats.step_f1 import StepCounts, prm_score


def f1(hits: float, missed: float, false: float) -> float:
    precision, recall = hits / (hits + false), hits / (hits + missed)
    return 2 * precision * recall / (precision + recall)


def test_it_is_half_of_each_f1_and_pools_steps() -> None:
    rng = np.random.default_rng(0)
    correct, accepted = rng.random(400) < 0.7, rng.random(400) < 0.6
    categories = np.where(np.arange(400) < 150, "circular", "redundency")
    found = prm_score(accepted, correct, categories)

    def expected(rows: np.ndarray) -> float:
        yes, right = accepted[rows], correct[rows]
        cells = [(yes & right).sum(), (~yes & right).sum(), (yes & ~right).sum(), (~yes & ~right).sum()]
        return float(f1(cells[0], cells[1], cells[2]) + f1(cells[3], cells[2], cells[1])) / 2

    assert found.overall == pytest.approx(expected(np.arange(400)))
    assert found.categories["circular"] == pytest.approx(expected(np.arange(150)))
    both = [found.categories["circular"], found.categories["redundency"]]
    assert found.dimensions == {"simplicity": pytest.approx(np.mean(both))}
    assert found.overall != pytest.approx(np.mean(both))  # steps are pooled, categories are not averaged


def test_solutions_without_a_wrong_step_go_by_the_right_ones() -> None:
    found = prm_score([1, 1, 0], [1, 1, 1], ["multi_solutions"] * 3)
    assert found.categories["multi_solutions"] == pytest.approx(0.8)
    assert found.overall == pytest.approx(0.4)  # as the authors pool it: the F1 of wrong steps is 0


def test_nothing_over_nothing_is_no_number() -> None:
    assert math.isnan(StepCounts(3, 0, 0, 0).f1_of_wrong)
    assert StepCounts(0, 2, 0, 0).f1_of_right == 0.0
    with pytest.raises(DataError, match="0 verdicts"):
        prm_score([], [], [])
