"""The chunks of a stage, worked on by several processes.

The processes are forked when a stage begins, so that they share the models that are already loaded; each works with
one thread. That suits small models on a CPU, which leave cores idle; a CUDA context does not survive a fork.
Chunks are dealt by the plan alone, so that a result never depends on which process was faster. A process ends with
its parent, however that ended; only the parent is interrupted from the terminal, and ends the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from prm.errors import ConfigError, ModelError

Advance = Callable[[int], None]
Chunk = Sequence[int]
Work = Callable[[Chunk, Advance], list[dict[str, Any]]]


def check_workers(workers: int, device: str | None) -> None:
    """Refuse what cannot be shared out.

    Args:
        device: the models'; `None` means CUDA where there is one.

    Raises:
        ConfigError: fewer than one process, or several on an accelerator.
    """
    if workers < 1:
        raise ConfigError("num_workers must be at least 1")
    if workers == 1:
        return
    import torch

    if (device or ("cuda" if torch.cuda.is_available() else "cpu")) != "cpu":
        raise ConfigError(f"num_workers={workers} is for models on a CPU; use --num_workers 1, or --device cpu")


def work_through(
    chunks: Sequence[Chunk], work: Work, workers: int, advance: Advance
) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
    """Yield every chunk with its rows, as they are finished; with one worker, in order and in this process. Rows that
    others have finished when one fails are yielded before its error is raised.

    Raises:
        ModelError: a process died, for want of memory for instance.
        Exception: whatever `work` raised.
    """
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from ((chunk, work(chunk, advance)) for chunk in chunks)
        return
    running: dict[Connection, BaseProcess] = {}
    try:
        for first in range(workers):
            connection, process = _start(range(first, len(chunks), workers), chunks, work)
            running[connection] = process
        while running:
            ready = set(wait(list(running)))
            for connection in [open_one for open_one in running if open_one in ready]:
                kind, content = _receive(connection, running[connection])
                if kind == "advance":
                    advance(content)
                elif kind == "rows":
                    number, rows = content
                    yield chunks[number], rows
                elif kind == "error":
                    others = [other for other in running if other is not connection]
                    yield from ((chunks[number], rows) for number, rows in _waiting_rows(others, advance))
                    raise content
                else:
                    running.pop(connection).join()
                    connection.close()
    finally:
        for process in running.values():
            process.kill()
        for connection, process in running.items():
            process.join()
            connection.close()


def _waiting_rows(connections: Sequence[Connection], advance: Advance) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The rows in these pipes, each with the number of its chunk; nobody is waited for."""
    for connection in connections:
        try:
            while connection.poll():
                kind, content = connection.recv()
                if kind == "advance":
                    advance(content)
                elif kind == "rows":
                    yield content
        except (EOFError, OSError):
            continue


def _start(numbers: Sequence[int], chunks: Sequence[Chunk], work: Work) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, numbers, chunks, work), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _run(sender: Connection, numbers: Sequence[int], chunks: Sequence[Chunk], work: Work) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # the parent's OpenMP threads do not exist here
    try:
        for number in numbers:
            sender.send(("rows", (number, work(chunks[number], lambda count: sender.send(("advance", count))))))
        sender.send(("end", None))
    except BrokenPipeError:
        os._exit(1)  # the parent is gone
    except Exception as error:
        sender.send(("error", error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _receive(connection: Connection, process: BaseProcess) -> tuple[str, Any]:
    """The next message; an error, where the process died before one or within it."""
    try:
        message: tuple[str, Any] = connection.recv()
        return message
    except (EOFError, OSError):  # the latter says "got end of file during message"
        process.join()
        return "error", ModelError(
            f"a worker process died (exit code {process.exitcode}); if memory ran out, use --num_workers 1 "
            "or a smaller --batch_tokens"
        )
