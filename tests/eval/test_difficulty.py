"""How hard a problem is, from its samples, and the bins of difficulty."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from prm.eval.difficulty import Bins, Measure, make_bins, measure_named
from prm.eval.search.base import UNCHOOSABLE, Candidates

from prm.errors import ConfigError


def pool(world: SimpleNamespace) -> Candidates:
    correct, classes = (True, True, False, False), (0, 0, 1, -1)
    return Candidates(world.problem(), correct, classes, scores=(0.9, 0.7, 0.4, UNCHOOSABLE))


def test_the_three_measures_grow_with_what_speaks_against_a_right_answer(world: SimpleNamespace) -> None:
    samples = [pool(world)]
    assert Measure("oracle").of(samples) == (0.5,)
    assert Measure("agreement", 4).of(samples) == (0.5,)
    # What the verifier cannot read counts as 0, not as its marker of -1.
    assert Measure("scores", 4).of(samples) == pytest.approx((1 - (0.9 + 0.7 + 0.4) / 4,))


def test_samples_without_an_answer_agree_with_nobody(world: SimpleNamespace) -> None:
    silent = Candidates(world.problem(), (False,) * 3, (-1, -1, -1))
    assert Measure("agreement", 3).of([silent]) == (1.0,)


def test_an_oracle_takes_no_probes_and_the_others_need_enough() -> None:
    assert measure_named("oracle", 4).samples == 0
    with pytest.raises(ConfigError, match="agreement needs at least 2 samples"):
        measure_named("agreement", 1)
    with pytest.raises(ConfigError, match="did you mean 'scores'"):
        measure_named("score", 4)


def test_quantile_bins_hold_about_as_many_problems_each() -> None:
    values = np.random.default_rng(0).random(500)
    counts = Counter(make_bins(values, 5, "quantile").of(values).tolist())
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert max(counts.values()) - min(counts.values()) <= 2


@pytest.mark.parametrize("values", [[0.5] * 8, [0, 0, 0, 0, 0.25, 0.75], [1.0, 1.0, 0.0], [0.3]])
def test_quantile_bins_of_few_distinct_difficulties_fall_together_and_none_is_empty(values: list[float]) -> None:
    bins = make_bins(values, 5, "quantile")
    assert set(bins.of(values).tolist()) == set(range(len(bins)))
    assert len(bins) <= len(set(values))


def test_absolute_bins_are_equally_wide_whatever_the_problems() -> None:
    bins = make_bins([0.9, 0.95], 4, "absolute")
    assert bins.edges == (0.25, 0.5, 0.75)
    assert bins.of([0.0, 0.25, 0.49, 1.0]).tolist() == [0, 1, 1, 3]
    assert bins.bounds == ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


def test_edges_ascend_and_one_bin_has_none() -> None:
    assert len(make_bins([0.1, 0.9], 1, "quantile")) == 1
    with pytest.raises(ConfigError, match="must ascend"):
        Bins((0.5, 0.5))
    with pytest.raises(ConfigError, match="at least 1"):
        make_bins([0.1], 0, "absolute")
