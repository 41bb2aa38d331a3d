"""Chunks worked on by several processes: the same rows as by one, and errors that reach the caller."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.errors import ConfigError, DataError, ModelError
from prm.workers import check_workers, work_through

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


def test_a_worker_killed_within_a_message_is_told_of() -> None:
    def die_sending(chunk: Sequence[int], advance: Any) -> list[dict[str, Any]]:
        advance(1)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return [{"text": "x" * 2**22}]  # more than a pipe holds

    def hold(count: int) -> None:
        wait_until(lambda: not multiprocessing.active_children())

    with pytest.raises(ModelError, match=r"a worker process died \(exit code -9\)"):
        dict(work_through(CHUNKS[:2], die_sending, 2, hold))


def test_rows_that_wait_when_another_worker_fails_are_kept(tmp_path: Path) -> None:
    asked, sent = tmp_path / "asked", tmp_path / "sent"

    def work(chunk: Sequence[int], advance: Any) -> list[dict[str, Any]]:
        if 0 in chunk:
            advance(1)
            raise DataError("no such problem", path=Path("problems.jsonl"), line=3)
        if 3 in chunk:
            sent.touch()
            time.sleep(600)
        wait_until(asked.exists)
        return rows_of(chunk, advance)

    def hold(count: int) -> None:
        asked.touch()
        wait_until(lambda: sent.exists() and len(multiprocessing.active_children()) == 1)

    found = []
    with pytest.raises(DataError, match="no such problem"):
        for chunk, rows in work_through([[0], [1], [2], [3]], work, 2, hold):
            found.append((chunk, rows[0]["index"]))
    assert found == [([1], 1)]
    assert not multiprocessing.active_children()


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = """
import os, sys, time
from pathlib import Path
from prm.workers import work_through

def note_and_sleep(chunk, advance):
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(600)

list(work_through([[0], [1]], note_and_sleep, 2, print))
"""
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    try:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(alive(int(path.name)) for path in tmp_path.iterdir()))


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("workers", "device", "message"),
    [(0, None, "num_workers must be at least 1"), (2, "cuda", "num_workers=2 is for models on a CPU")],
)
def test_what_cannot_be_shared_out_is_refused(workers: int, device: str | None, message: str) -> None:
    check_workers(2, "cpu")
    check_workers(1, "cuda")
    with pytest.raises(ConfigError, match=message):
        check_workers(workers, device)
