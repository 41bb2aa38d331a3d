"""A pool of Math-Verify processes that are killed at their deadline, replaced, and usable from any thread.

The processes are started with `exec`, not forked (a fork of a process with threads or CUDA is unsafe), and not through
`multiprocessing.Process` either: that re-imports the caller's main module, and is refused in daemonic processes. They
start when the first comparison needs one. What they compute is `prm.grading.math_verify_worker`'s business.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from prm.errors import ConfigError
from prm.rollouts import Outcome

START_TIMEOUT_S = 120.0
DEFAULT_MEMORY_MB = 512


class WorkerDied(Exception):
    """The process ended while it was idle. Internal: never leaves the pool."""


class _Worker:
    """One process and the pipe to it. Not thread-safe: whoever took it from the pool's queue has it alone."""

    def __init__(self, timeout_s: float, memory_mb: int):
        self.timeout_s, self.memory_mb = timeout_s, memory_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._ready = False

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the process; returns before it is ready."""
        ours, theirs = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        arguments = [str(theirs.fileno()), str(self.timeout_s), str(self.memory_mb)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "prm.grading.math_verify_worker", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A fixed hash seed: SymPy orders some sets by hash, and a verdict must not depend on it.
                env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
            )
        finally:
            theirs.close()
        self._pipe, self._ready = ours, False

    def stop(self) -> None:
        """Kill the process and reap it."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._pipe = None

    def compare(self, answer: str, reference: str) -> Outcome:
        """One comparison, within the deadline; leaves a process running, the same or a new one.

        An item whose process turns out to have died while idle is not to blame, and is asked again.
        """
        try:
            self._hand_over(answer, reference)
        except WorkerDied:
            self.stop()
            self._hand_over(answer, reference)
        outcome = self._receive()
        if self._process is None:
            self.start()
        return outcome

    def _hand_over(self, answer: str, reference: str) -> None:
        """Send one item and see it taken: from here on, what happens to the process is the item's doing."""
        if self.pid is None:
            self.stop()
            self.start()
        assert self._pipe is not None
        self._await_ready()
        try:
            self._pipe.send_bytes(json.dumps([answer, reference]).encode())
            if not self._pipe.poll(START_TIMEOUT_S):
                raise WorkerDied
            self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise WorkerDied from None

    def _await_ready(self) -> None:
        """Wait for the imports, which do not count against the first item's deadline."""
        if self._ready:
            return
        assert self._pipe is not None and self._process is not None
        try:
            if self._pipe.poll(START_TIMEOUT_S):
                self._pipe.recv_bytes()
                self._ready = True
                return
            what = f"not ready after {START_TIMEOUT_S:.0f} s"
        except (EOFError, OSError):
            what = f"exit code {self._process.wait()}"
        self.stop()
        raise ConfigError(
            f"a grading worker did not start ({what}). "
            "Check that `python -c 'import math_verify'` works; `pip install 'math-verify[antlr4_13_2]'` installs it"
        )

    def _receive(self) -> Outcome:
        """The verdict, or what became of it. The process is stopped unless it can take another item."""
        assert self._pipe is not None
        try:
            if not self._pipe.poll(self.timeout_s):
                self.stop()
                return Outcome.TIMEOUT
            reply = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self.stop()
            return Outcome.UNPARSABLE
        if reply["retire"]:
            self.stop()
        return Outcome(reply["outcome"])


class WorkerPool:
    """Compares pairs of answers by Math-Verify, `workers` at a time, each within `timeout_s` seconds.

    Args:
        timeout_s: wall-clock seconds for one comparison; at the deadline its process is killed: `Outcome.TIMEOUT`.
        workers: the number of processes, started when first needed.
        memory_mb: address space a process may take beyond its imports; a process that dies of it, or of anything else,
            loses its own item only: `Outcome.UNPARSABLE`.
    """

    def __init__(self, timeout_s: float, workers: int, memory_mb: int = DEFAULT_MEMORY_MB):
        if timeout_s <= 0 or workers < 1 or memory_mb < 1:
            raise ConfigError(f"timeout_s={timeout_s}, workers={workers} and memory_mb={memory_mb} must be positive")
        self._workers = [_Worker(timeout_s, memory_mb) for _ in range(workers)]
        self._owner = os.getpid()
        self._reset()

    def _reset(self) -> None:
        # Last in, first out: where one process is enough, a second is never started.
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._closing = threading.Lock()
        self._finalizer = weakref.finalize(self, _stop_all, self._workers, self._owner)

    def compare(self, answer: str, reference: str) -> Outcome:
        """Compare one pair; waits for a free process. Safe from any thread."""
        if os.getpid() != self._owner:
            self._after_fork()
        worker = self._idle.get()
        try:
            return worker.compare(answer, reference)
        finally:
            self._idle.put(worker)

    def compare_many(self, pairs: Sequence[tuple[str, str]]) -> list[Outcome]:
        """Compare many pairs, in order, on all processes. Safe from any thread."""
        threads = min(len(self._workers), len(pairs))
        if threads < 2:
            return [self.compare(*pair) for pair in pairs]
        with ThreadPoolExecutor(threads, thread_name_prefix="grading") as executor:
            return list(executor.map(lambda pair: self.compare(*pair), pairs))

    def pids(self) -> list[int]:
        """The processes that run now: none before the first comparison, at most `workers`."""
        return [pid for worker in self._workers if (pid := worker.pid) is not None]

    def close(self) -> None:
        """End and reap all processes, once comparisons under way in other threads have their verdicts.

        Idempotent; a later comparison starts the processes again.
        """
        if os.getpid() != self._owner:
            return
        with self._closing:
            workers = [self._idle.get() for _ in self._workers]
            _stop_all(workers, self._owner)
            for worker in workers:
                self._idle.put(worker)

    def _after_fork(self) -> None:
        """In a forked child the processes are the parent's: forget them, and start our own when needed."""
        self._finalizer.detach()
        self._workers = [_Worker(worker.timeout_s, worker.memory_mb) for worker in self._workers]
        self._owner = os.getpid()
        self._reset()


def _stop_all(workers: list[_Worker], owner: int) -> None:
    if os.getpid() == owner:
        for worker in workers:
            worker.stop()
