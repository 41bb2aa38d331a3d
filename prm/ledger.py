"""An append-only ledger of finished requests, so that no generator is asked the same thing twice.

One JSON line per request, keyed by its content: the model's name, revision and dtype, the sampling parameters, the
prompt's token ids and the seed. The requests of one batch are appended together, closed by a `{"batch": n}` line and
synced to disk; lines after the last such line are the torn end of a killed run and are dropped. A batch is thus
answered wholly or not at all, and with a plan that depends on the requests alone a resumed run meets the very batches
the killed one would have met: its results are equal to the byte. A generator that streams its answers has each
appended as it is finished.
"""

from __future__ import annotations

import collections.abc
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from prm.errors import ConfigError, DataError
from prm.fingerprint import dtype_suffix
from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams
from prm.jsonl import dumps
from prm.rollouts import Cost, StopReason
from prm.workers import work_through

logger = logging.getLogger(__name__)

_UNPLANNED_BATCH = 256  # requests per append for a generator that has no plan of its own
_LOCK_PATIENCE_S = 2.0  # the worker processes of a killed run outlive it by a moment, and hold its lock


@runtime_checkable
class PlansBatches(Protocol):
    """A generator that says beforehand which requests it will answer together."""

    def plan_batches(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[list[int]]: ...


@runtime_checkable
class StreamsAnswers(Protocol):
    """A generator that hands over every answer as it is finished, in any order. Each mapping holds those that have
    come since the last, by their request's position; an error is raised behind what was finished before it."""

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> collections.abc.Generator[dict[int, Completion], None, None]: ...


def request_keys(generator: Generator, sampling: SamplingParams, requests: Sequence[GenerationRequest]) -> list[str]:
    """The content keys of requests: 32 hex digits of a SHA-256."""
    revision = generator.revision + dtype_suffix(getattr(generator, "model", None))
    start = hashlib.sha256(dumps([generator.name, revision, sampling.to_dict()]).encode())
    keys = []
    for request in requests:
        digest = start.copy()
        digest.update(np.array([request.seed, *request.prompt_ids], dtype=np.int64).tobytes())
        keys.append(digest.hexdigest()[:32])
    return keys


class Ledger:
    """The finished requests of one output file, open for appending. Use it as a context manager.

    Raises:
        ConfigError: another process has it open.
        DataError: a line before the end is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self.path.open("a+b")
        self.seconds = 0.0  # spent on the batches in the ledger, over all its runs
        try:
            _lock(self._stream.fileno(), self.path)
            self._offsets: dict[str, int] = {}
            self._recover()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()  # which also lets the lock go

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def __getitem__(self, key: str) -> dict[str, Any]:
        """The record of a finished request."""
        self._stream.seek(self._offsets[key])
        record: dict[str, Any] = json.loads(self._stream.readline())
        return record

    def append(self, records: Mapping[str, Mapping[str, Any]], seconds: float = 0.0) -> None:
        """Add the records of one batch, all or none, and sync them to disk."""
        offset = self._stream.seek(0, os.SEEK_END)
        lines, offsets = [], {}
        for key, record in records.items():
            lines.append(dumps({"key": key, **record}).encode() + b"\n")
            offsets[key] = offset
            offset += len(lines[-1])
        lines.append(dumps({"batch": len(records), "seconds": round(seconds, 3)}).encode() + b"\n")
        self._stream.write(b"".join(lines))
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._offsets.update(offsets)
        self.seconds += seconds

    def _recover(self) -> None:
        self._stream.seek(0)
        end = offset = 0
        open_batch: dict[str, int] = {}
        damaged: int | None = None
        for number, line in enumerate(self._stream, start=1):
            record = _parsed(line)
            if record is None:
                damaged = damaged or number
            elif damaged:
                break
            elif "batch" in record:
                self._offsets.update(open_batch)
                self.seconds += record["seconds"]
                open_batch, end = {}, offset + len(line)
            else:
                open_batch[record["key"]] = offset
            offset += len(line)
        else:
            damaged = None  # nothing readable follows it: the torn end
        if damaged:
            raise DataError(
                "damaged, and finished requests follow it",
                path=self.path,
                line=damaged,
                remedy="Delete that line; its request is asked again",
            )
        if offset > end:
            logger.warning(
                "%s: dropped the unfinished batch of an interrupted run (%d bytes)", self.path, offset - end
            )
            self._stream.truncate(end)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """A ledger line, or `None` where it is no such line."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    known = (
        isinstance(record, dict)
        and line.endswith(b"\n")
        and ("key" in record or {"batch", "seconds"} <= record.keys())
    )
    return record if known else None


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system frees it even after SIGKILL
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"{path.parent}: another process is writing here; wait until it is done, or choose another "
                    "output_dir"
                ) from None
        time.sleep(0.05)


@contextmanager
def locked_output(path: str | Path) -> Iterator[None]:
    """Hold an output for this process alone, where there is no ledger to hold.

    Raises:
        ConfigError: another process has it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        _lock(stream.fileno(), path)
        yield


def generate_once(
    generator: Generator,
    requests: Sequence[GenerationRequest],
    sampling: SamplingParams,
    ledger: Ledger,
    progress: Callable[[int], None] | None = None,
    workers: int = 1,
) -> list[Completion]:
    """Answer every request, in order, from the ledger where it is there and from the generator where not.

    Every answer returned was on disk before; `progress` counts those found there too. With several `workers` the
    batches of the plan are shared out among processes, and this one alone writes the ledger.

    Raises:
        ConfigError: several workers for a generator that streams, whose servers share out the work.
    """
    keys = request_keys(generator, sampling, requests)
    if isinstance(generator, StreamsAnswers):
        if workers > 1:
            raise ConfigError(f"num_workers={workers} is for models in this process; use --num_workers 1 with servers")
        _stream_once(generator, requests, keys, sampling, ledger, progress or (lambda count: None))
        return [_completion(ledger[key], generator.num_parameters) for key in keys]
    plan = _plan(generator, requests, sampling)
    missing = _missing(plan, keys, ledger)
    advance = progress or (lambda count: None)
    advance(len(requests) - sum(map(len, missing)))

    def work(batch: Sequence[int], _: Callable[[int], None]) -> list[dict[str, Any]]:
        start = time.monotonic()
        completions = generator.generate([requests[i] for i in batch], sampling)
        return [{"records": list(map(_record, completions)), "seconds": time.monotonic() - start}]

    for batch, [made] in work_through(missing, work, workers, advance):
        ledger.append(dict(zip((keys[i] for i in batch), made["records"], strict=True)), made["seconds"])
        advance(len(batch))
    return [_completion(ledger[key], generator.num_parameters) for key in keys]


def _stream_once(
    generator: StreamsAnswers,
    requests: Sequence[GenerationRequest],
    keys: Sequence[str],
    sampling: SamplingParams,
    ledger: Ledger,
    advance: Callable[[int], None],
) -> None:
    asked = [i for batch in _missing([range(len(requests))], keys, ledger) for i in batch]
    advance(len(requests) - len(asked))
    start = time.monotonic()
    with closing(generator.stream([requests[i] for i in asked], sampling)) as stream:
        for answers in stream:
            now = time.monotonic()
            ledger.append({keys[asked[at]]: _record(answer) for at, answer in answers.items()}, now - start)
            start = now
            advance(len(answers))


def _missing(plan: Sequence[Sequence[int]], keys: Sequence[str], ledger: Ledger) -> list[list[int]]:
    """The batches of the plan without what the ledger has; of equal requests, the first alone is asked."""
    seen: set[str] = set()
    missing = []
    for batch in plan:
        asked = []
        for i in batch:
            if keys[i] not in ledger and keys[i] not in seen:
                seen.add(keys[i])
                asked.append(i)
        if asked:
            missing.append(asked)
    return missing


def _plan(generator: Generator, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[list[int]]:
    if isinstance(generator, PlansBatches):
        return generator.plan_batches(requests, sampling)
    indices = list(range(len(requests)))
    return [indices[at : at + _UNPLANNED_BATCH] for at in range(0, len(indices), _UNPLANNED_BATCH)]


def _record(completion: Completion) -> dict[str, Any]:
    record = {
        "token_ids": list(completion.token_ids),
        "text": completion.text,
        "stop_reason": completion.stop_reason.value,
        "prefilled": completion.cost.prefilled_tokens,
        "cached": completion.cost.cached_tokens,
    }
    if completion.cost.generated_tokens != len(completion.token_ids):
        record["generated"] = completion.cost.generated_tokens  # the ids are encoded from a text that a server gave
    return record


def _completion(record: Mapping[str, Any], num_parameters: int) -> Completion:
    ids = record["token_ids"]
    generated = record.get("generated", len(ids))
    cost = Cost(
        generated_tokens=generated,
        prefilled_tokens=record["prefilled"],
        cached_tokens=record["cached"],
        flops=2.0 * num_parameters * (record["prefilled"] + generated),
    )
    return Completion(tuple(ids), record["text"], StopReason(record["stop_reason"]), cost)
