"""What a bootstrap draws: clusters whole, as often as it says, and the same whether it is kept or drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

from prm.errors import ConfigError, DataError
from prm.stats import resampling
from prm.stats.resampling import cluster_index, cluster_sums, draws, resampled_counts


def test_counts_say_how_often_each_unit_was_drawn() -> None:
    rows = np.concatenate(list(draws(7, 20, seed=1)))
    counts = np.concatenate(list(resampled_counts(7, 20, seed=1)))
    assert counts.shape == (20, 7) and (counts.sum(axis=1) == 7).all()
    assert [[list(row).count(unit) for unit in range(7)] for row in rows] == counts.tolist()


def test_counts_too_many_to_be_kept_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = np.concatenate(list(resampled_counts(50, 40, seed=2)))
    monkeypatch.setattr(resampling, "_KEPT", 0)
    anew = np.concatenate(list(resampled_counts(50, 40, seed=2)))
    assert (kept == anew).all()


def test_a_chunk_does_not_change_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draws(30, 10, seed=3)))
    monkeypatch.setattr(resampling, "_CHUNK", 60)
    chunks = list(draws(30, 10, seed=3))
    assert len(chunks) == 5
    assert (np.concatenate(chunks) == whole).all()


def test_clusters_are_summed_whole_and_a_problem_alone_is_one() -> None:
    columns = np.arange(10.0).reshape(5, 2)
    sums, sizes = cluster_sums(columns, ["b", "a", "b", "c", "a"])
    assert sizes.tolist() == [2, 2, 1]
    assert sums.tolist() == [[2 + 8, 3 + 9], [0 + 4, 1 + 5], [6, 7]]
    alone, ones = cluster_sums(columns, None)
    assert (alone == columns).all() and ones.tolist() == [1] * 5
    assert cluster_index(None, 3).tolist() == [0, 1, 2]


def test_bad_resamples_and_clusters_are_refused() -> None:
    with pytest.raises(ConfigError, match="resamples must be at least 1"):
        next(draws(3, 0, seed=0))
    with pytest.raises(DataError, match="2 clusters for 3 problems"):
        cluster_index(["a", "b"], 3)
