"""The pool under attack. Deadlines here are short where an item must reach them, and long where it must not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prm.errors import ConfigError
from prm.grading import MathGrader
from prm.grading.workers import WorkerPool
from prm.rollouts import Outcome

HANGS = ["9999999999!", "9^{9^{9^{9}}}", r"\frac{" * 400 + "1" + "}{2}" * 400, "(" * 2000 + "1" + ")" * 2000]
HOSTILE = [
    *HANGS,
    "9**9**9**9",
    "[{(" * 350_000,
    "(" * 500_000 + ")" * 500_000,
    r"\operatorname{zeros}(100000,100000)",
    "\x00\udc80",
]
PYTHON = [
    "__import__('os').system('touch {canary}')",
    r"\text{{__import__('os').system('touch {canary}')}}",
    r"\operatorname{{exec}}(open('{canary}','w'))",
    "exec(\"open('{canary}','w')\")",
    "lambda: open('{canary}', 'w')",
    "$__import__('subprocess').run(['touch', '{canary}'])$",
]


def _good(index: int) -> tuple[str, str]:
    """A pair that only Math-Verify can decide, another one for each index."""
    return rf"\sqrt{{4}}+{index}", str(2 + index)


def _gone(pid: int) -> bool:
    """Whether a process is no more: ended and reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def _wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.parametrize("fast_path", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_hostile_answers_come_back_execute_nothing_and_cost_no_worker(tmp_path: Path, fast_path: bool) -> None:
    canary = tmp_path / "canary"
    attacks = [*HOSTILE, *(text.format(canary=canary) for text in PYTHON)]
    pairs = [pair for i, attack in enumerate(attacks) for pair in ((attack, "7"), _good(i))]
    with MathGrader(timeout_s=3, fast_path=fast_path) as grader:
        outcomes = grader.grade_many(pairs)
        assert Outcome.CORRECT not in outcomes[0::2]
        assert outcomes[1::2] == [Outcome.CORRECT] * len(attacks)
        assert outcomes[0 : 2 * len(HANGS) : 2] == [Outcome.TIMEOUT] * len(HANGS)
        assert len(grader.pool.pids()) == 2
        assert grader.grade(*_good(1000)) is Outcome.CORRECT
    assert not canary.exists()


def test_it_works_from_many_threads_at_once(grader: MathGrader) -> None:
    with ThreadPoolExecutor(4) as executor:
        futures = [executor.submit(grader.grade_many, [_good(i), ("x", "y")]) for i in range(12)]
        assert [future.result() for future in futures] == [[Outcome.CORRECT, Outcome.WRONG]] * 12


def test_a_deadline_holds_outside_the_main_thread_and_for_references() -> None:
    outcomes: list[Outcome] = []
    with MathGrader(timeout_s=1, workers=1) as grader:
        thread = threading.Thread(target=lambda: outcomes.append(grader.grade("7", "9^{9^{9^{9}}}")))
        thread.start()
        thread.join(timeout=120)
    assert outcomes == [Outcome.TIMEOUT]


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(timeout_s=60, workers=1)
    yield pool
    pool.close()


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_a_worker_that_dies_at_work_loses_only_its_own_item(pool: WorkerPool, how: signal.Signals) -> None:
    assert pool.compare(*_good(0)) is Outcome.CORRECT
    (before,) = pool.pids()
    with ThreadPoolExecutor(1) as executor:
        lost = executor.submit(pool.compare, "9999999999!", "7")
        assert _wait_until(lambda: pool._idle.empty())
        time.sleep(0.5)
        os.kill(before, how)
        assert lost.result() is Outcome.UNPARSABLE
    (after,) = pool.pids()
    assert after != before and _gone(before)
    assert pool.compare(*_good(1)) is Outcome.CORRECT


def test_a_worker_that_died_idle_loses_nothing(pool: WorkerPool) -> None:
    assert pool.compare(*_good(2)) is Outcome.CORRECT
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert pool.compare(*_good(3)) is Outcome.CORRECT


def test_memory_is_bounded_and_a_worker_that_hit_the_bound_still_grades() -> None:
    with MathGrader(timeout_s=60, workers=1, memory_mb=64) as grader:
        assert grader.grade(r"\operatorname{eye}(6000)", "7") is Outcome.UNPARSABLE
        assert grader.grade(*_good(0)) is Outcome.CORRECT
        status = Path(f"/proc/{grader.pool.pids()[0]}/status")
        if status.exists():
            peak_kb = next(int(row.split()[1]) for row in status.read_text().splitlines() if row.startswith("VmHWM"))
            assert peak_kb < 256 * 1024


def test_closing_leaves_no_process_and_the_pool_can_be_used_again() -> None:
    grader = MathGrader(timeout_s=60, workers=1)
    assert grader.grade(*_good(0)) is Outcome.CORRECT
    pids = grader.pool.pids()
    grader.close()
    grader.close()
    assert pids and all(_gone(pid) for pid in pids)
    assert grader.grade(*_good(0)) is Outcome.CORRECT
    pids = grader.pool.pids()
    del grader  # forgotten rather than closed
    assert pids and all(_gone(pid) for pid in pids)


def test_workers_do_not_outlive_a_parent_that_is_killed() -> None:
    program = (
        "import threading, time\n"
        "from prm.grading import MathGrader\n"
        "grader = MathGrader(timeout_s=1)\n"
        r"grader.grade_many([(rf'\sqrt{{4}}+{i}', str(i)) for i in range(6)])" + "\n"
        "threading.Thread(target=grader.grade, args=('9999999999!', '7')).start()\n"
        "time.sleep(0.3)\n"
        "print(*grader.pool.pids(), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.communicate()
    assert pids
    assert _wait_until(lambda: all(_ended(pid) for pid in pids))


def _ended(pid: int) -> bool:
    """Gone, or a zombie that its new parent (a container's init, say) has not reaped."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _gone(pid)
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_forked_child_starts_its_own_workers_and_leaves_the_parents_alone(grader: MathGrader) -> None:
    assert grader.grade(*_good(0)) is Outcome.CORRECT
    before = grader.pool.pids()
    child = os.fork()
    if child == 0:
        fine = grader.grade(*_good(1)) is Outcome.CORRECT and not set(before) & set(grader.pool.pids())
        grader.close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert grader.pool.pids() == before
    assert grader.grade(*_good(2)) is Outcome.CORRECT


def test_a_worker_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ConfigError, match=r"did not start \(exit code 1\).*pip install"):
        WorkerPool(timeout_s=1, workers=1).compare("x", "y")


def test_impossible_settings_are_refused() -> None:
    for settings in ({"timeout_s": 0}, {"workers": 0}, {"memory_mb": 0}):
        with pytest.raises(ConfigError, match="must be positive"):
            MathGrader(**settings)  # type: ignore[arg-type]
