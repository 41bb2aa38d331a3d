"""The default fold follows from the labels, and held-out solutions change it only beyond their noise."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from prm.aggregation import AGGREGATIONS, aggregate
from prm.errors import DataError
from prm.stats.estimators import best_of_n
from prm.stats.ranking import auroc, auroc_within_groups
from prm.training.aggregation_choice import default_aggregation, fold_scores, select_aggregation, solution_outcomes


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *((name, "last") for name in ("monte_carlo", "omega", "math_shepherd", "outcome", "labels", "", "unheard_of")),
        *((name, "min") for name in ("judge", "human", "prm800k", "truth", "first_error", "judge+human")),
        ("judge+monte_carlo", "last"),
    ],
)
def test_the_default_follows_from_what_labels_mean(source: str, expected: str) -> None:
    assert default_aggregation(source) == expected


HARD = np.array(
    [
        [1, 1, 1],
        [0, 0, 1],  # mended on the way
        [1, 0, -100],
        [1, -1, 1],
        [1, 1, -1],
        [-1, 0, -1],
        [-100, -100, -100],
    ],
    dtype=float,
)


def test_outcomes_are_read_off_the_labels_by_what_they_mean() -> None:
    counted = solution_outcomes(HARD, "monte_carlo")
    np.testing.assert_array_equal(counted, [1, 1, 0, 1, math.nan, math.nan, math.nan])
    judged = solution_outcomes(HARD, "judge")
    np.testing.assert_array_equal(judged, [1, 0, 0, math.nan, math.nan, 0, math.nan])


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_many_solutions_are_folded_as_one_is(how: Any) -> None:
    rng = np.random.default_rng(0)
    scores, lengths = rng.random((50, 6)), rng.integers(0, 7, size=50)
    folded = fold_scores(scores, np.arange(6) < lengths[:, None], how)
    expected = [aggregate(row[:length].tolist(), how) for row, length in zip(scores, lengths, strict=True)]
    np.testing.assert_allclose(folded, expected, rtol=1e-12)
    assert (lengths == 0).any()


def solutions(problems: int, *, mended: float, per_problem: int = 6, seed: int = 0) -> dict[str, Any]:
    """Scores that know whether each step is right; where steps are `mended`, the outcome is that of the last step and
    not that of the worst."""
    rng = np.random.default_rng(seed)
    rows = problems * per_problem
    right = (rng.random((rows, 4)) < 0.7).astype(float)
    scores = 1 / (1 + np.exp(-(4 * (right - 0.5) + rng.normal(size=right.shape))))
    outcomes = np.where(rng.random(rows) < mended, right[:, -1], right.min(axis=1))
    groups = np.repeat(np.arange(problems), per_problem)
    return {"scores_NS": scores, "hard_NS": right, "groups_N": groups, "outcomes_N": outcomes}


def test_solutions_choose_the_fold_that_tells_them_apart() -> None:
    found = select_aggregation(**solutions(60, mended=0.0), label_source="monte_carlo")
    assert (found.default, found.chosen, found.measure) == ("last", "min", "auroc_within")
    assert found.gains["min"].low > 0 and found.values["min"].mean > found.values["last"].mean
    other = select_aggregation(**solutions(60, mended=1.0), label_source="judge")
    assert (other.default, other.chosen) == ("min", "last")
    assert json.loads(json.dumps(other.to_dict()))["values"]["last"]["low"] < other.values["last"].mean


def test_its_values_are_those_of_their_definitions() -> None:
    given = solutions(30, mended=0.5)
    found = select_aggregation(**given, label_source="monte_carlo")
    right, groups = given["outcomes_N"] == 1, given["groups_N"]
    for how in AGGREGATIONS:
        folded = fold_scores(given["scores_NS"], np.ones((180, 4), dtype=bool), how)
        assert found.values[how].mean == pytest.approx(auroc_within_groups(folded, right, groups))
        rows = [np.flatnonzero(groups == name) for name in range(30)]
        picked = [best_of_n(folded[i], right[i], 6) for i in rows if 0 < right[i].sum() < 6]
        assert found.best_of_all[how].mean == pytest.approx(np.mean(picked))
    assert found.n == 180


def test_the_default_stands_where_the_others_gain_nothing_but_noise() -> None:
    rng = np.random.default_rng(0)
    stood = []
    for seed in range(20):
        given = solutions(40, mended=0.0, seed=seed)
        given["scores_NS"] = rng.random(given["scores_NS"].shape)
        stood.append(select_aggregation(**given, label_source="judge", resamples=200).chosen == "min")
    assert sum(stood) >= 17
    few = select_aggregation(**solutions(8, mended=0.0), label_source="monte_carlo")
    assert few.chosen == "last" and few.values["min"].mean > few.values["last"].mean


def test_single_solutions_are_compared_over_all_problems() -> None:
    given = solutions(300, mended=0.0, per_problem=1)
    found = select_aggregation(**given, label_source="monte_carlo", resamples=200)
    assert (found.measure, found.chosen, found.best_of_all) == ("auroc", "min", {})
    folded = fold_scores(given["scores_NS"], np.ones((300, 4), dtype=bool), "prod")
    assert found.values["prod"].mean == pytest.approx(auroc(folded, given["outcomes_N"]))


def test_without_outcomes_they_are_read_off_the_labels() -> None:
    given = solutions(60, mended=0.0)
    given["outcomes_N"] = solution_outcomes(given["hard_NS"], "judge")
    explicit = select_aggregation(**given, label_source="judge")
    assert select_aggregation(**{**given, "outcomes_N": None}, label_source="judge") == explicit


def test_the_default_stands_where_nothing_can_be_measured() -> None:
    given = solutions(5, mended=0.0)
    found = select_aggregation(**{**given, "outcomes_N": np.ones(30)}, label_source="judge")
    assert (found.chosen, found.measure, found.values, found.n) == ("min", "", {}, 30)
    unknown = select_aggregation(**{**given, "outcomes_N": np.full(30, math.nan)}, label_source="monte_carlo")
    assert (unknown.chosen, unknown.n) == ("last", 0)
    with pytest.raises(DataError, match="30 solutions, 30 rows of labels, 30 groups, 3 outcomes"):
        select_aggregation(**{**given, "outcomes_N": np.ones(3)}, label_source="judge")
