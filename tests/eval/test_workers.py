"""Chunks worked on by several processes: the same rows as by one, and errors that reach the caller."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from prm.eval.workers import work_through

from prm.errors import DataError, ModelError

CHUNKS = [range(0, 3), range(3, 5), range(5, 9), range(9, 10), range(10, 12)]


def rows_of(chunk: Sequence[int], advance: Any) -> list[dict[str, Any]]:
    advance(len(chunk))
    weights = torch.linspace(-1, 1, 64 * 64).reshape(64, 64)  # big enough for OpenMP to share
    return [{"index": i, "pid": os.getpid(), "value": (weights @ weights * i).sum().item()} for i in chunk]


@pytest.mark.parametrize("workers", [2, 3, 9])
def test_several_processes_make_the_rows_of_one(workers: int) -> None:
    torch.ones(512, 512) @ torch.ones(512, 512)  # the parent has used its own threads before
    advanced: list[int] = []
    alone = dict(work_through(CHUNKS, rows_of, 1, lambda count: None))
    shared = dict(work_through(CHUNKS, rows_of, workers, advanced.append))
    assert sum(advanced) == 12
    assert set(shared) == set(alone) == set(CHUNKS)
    values = [{row["index"]: row["value"] for rows in found.values() for row in rows} for found in (shared, alone)]
    assert values[0] == pytest.approx(values[1], rel=1e-4)
    pids = {row["pid"] for rows in shared.values() for row in rows}
    assert len(pids) == min(workers, len(CHUNKS))
    assert os.getpid() not in pids


def test_an_error_of_a_worker_is_raised_here() -> None:
    def fail(chunk: Sequence[int], advance: Any) -> list[dict[str, Any]]:
        if 3 in chunk:
            raise DataError("no such problem", path=Path("problems.jsonl"), line=3)
        return rows_of(chunk, advance)

    with pytest.raises(DataError, match="no such problem") as caught:
        dict(work_through(CHUNKS, fail, 2, lambda count: None))
    assert "problems.jsonl" in str(caught.value)


def test_a_killed_worker_is_told_of() -> None:
    def die(chunk: Sequence[int], advance: Any) -> list[dict[str, Any]]:
        if 9 in chunk:
            os.kill(os.getpid(), signal.SIGKILL)
        return rows_of(chunk, advance)

    with pytest.raises(ModelError, match=r"a worker process died \(exit code -9\)"):
        dict(work_through(CHUNKS, die, 2, lambda count: None))
