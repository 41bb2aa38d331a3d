"""Which problems a bootstrap draws: clusters of them, whole, and at one seed the same ones for every number of a
report. What is computed from them is `prm.stats.intervals`'s."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prm.errors import ConfigError, DataError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_CHUNK = 4_000_000  # resampled indices held at a time, 32 MB
_KEPT = 50_000_000  # counts that are kept, 100 MB: 2,000 resamples of 25,000 problems


def cluster_sums(columns: FloatArray, clusters: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """Sums of the columns (U, K) and numbers of problems (U,) of each cluster; a problem alone is a cluster of one.

    Raises:
        DataError: other than one cluster for each problem.
    """
    if clusters is None:
        return columns, np.ones(len(columns))
    index = cluster_index(clusters, len(columns))
    sizes = np.bincount(index).astype(np.float64)
    sums = np.zeros((len(sizes), columns.shape[1]))
    np.add.at(sums, index, columns)
    return sums, sizes


def cluster_index(clusters: ArrayLike | None, problems: int) -> IntArray:
    """The number of each problem's cluster, (P,), from 0 on.

    Raises:
        DataError: other than one cluster for each problem.
    """
    if clusters is None:
        return np.arange(problems)
    names: NDArray[Any] = np.asarray(clusters)
    if names.shape != (problems,):
        raise DataError(f"{names.size} clusters for {problems} problems", remedy="Give every problem one cluster")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def resampled_counts(units: int, resamples: int, seed: int) -> Iterator[FloatArray]:
    """How often each unit is drawn in each resample, in chunks of (R, units)."""
    small = units < 2**16 and resamples * units <= _KEPT
    chunks = _kept_counts(units, resamples, seed) if small else map(_counts, draws(units, resamples, seed))
    for chunk in chunks:
        yield chunk.astype(np.float64)


@lru_cache(maxsize=2)  # a report asks hundreds of times for the same resamples
def _kept_counts(units: int, resamples: int, seed: int) -> tuple[NDArray[np.uint16], ...]:
    return tuple(_counts(drawn).astype(np.uint16) for drawn in draws(units, resamples, seed))


def _counts(drawn: IntArray) -> IntArray:
    rows, units = drawn.shape
    flat = (drawn + units * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * units).reshape(rows, units)


def draws(units: int, resamples: int, seed: int) -> Iterator[IntArray]:
    """Yield resampled unit indices in chunks of (R, units)."""
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, not {resamples}")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // units)
    for start in range(0, resamples, step):
        yield rng.integers(0, units, size=(min(step, resamples - start), units))
