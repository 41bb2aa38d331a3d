"""What a ledger holds, counted without opening it as one: no lock is taken and nothing is repaired, so that a run may
go on writing meanwhile. Only closed batches count, as they do when the run is taken up again (`prm.ledger`)."""

from __future__ import annotations

import fcntl
import json
from collections import Counter, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RECENT_S = 60.0  # the rate of now is that of the last batches that took so long together


@dataclass
class LedgerTally:
    """Counts over the finished batches of a ledger.

    Attributes:
        completions: answers of the generator.
        verdicts: outcomes of grading.
        votes: answers of a judge.
        generated, prefilled, cached: tokens of completions and votes.
        steps: of decoding: as many as the longest completion of each batch has tokens.
        seconds: spent on all batches, over all runs.
        stop_reasons, outcomes: of completions and of verdicts.
        recent: requests, generated tokens and seconds of the last batches.
        open_bytes: bytes behind the last closed batch: one being written, or the torn end of a killed run.
    """

    completions: int = 0
    verdicts: int = 0
    votes: int = 0
    generated: int = 0
    prefilled: int = 0
    cached: int = 0
    steps: int = 0
    seconds: float = 0.0
    stop_reasons: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    recent: tuple[int, int, float] = (0, 0, 0.0)
    open_bytes: int = 0

    @property
    def requests(self) -> int:
        """What was asked of a generator or of a judge."""
        return self.completions + self.votes

    def count(self, record: Mapping[str, Any]) -> None:
        """Add one record."""
        if "outcome" in record:
            self.verdicts += 1
            self.outcomes[record["outcome"] or "undecided"] += 1
            return
        if "token_ids" in record:
            self.completions += 1
            self.stop_reasons[str(record.get("stop_reason"))] += 1
        else:
            self.votes += 1
        self.generated += _generated(record)
        self.prefilled += int(record.get("prefilled", 0))
        self.cached += int(record.get("cached", 0))


def tally_ledger(path: str | Path, start: int = 0, keys: Container[str] | None = None) -> LedgerTally:
    """Count what a ledger holds; one that is not there is empty, and damaged lines are passed over.

    Args:
        start: bytes to leave out at its beginning: other runs' requests.
        keys: of the requests to count; by default all are.
    """
    tally, path = LedgerTally(), Path(path)
    recent: deque[tuple[int, int, float]] = deque()
    if not path.is_file():
        return tally
    batch: list[dict[str, Any]] = []
    with path.open("rb") as stream:
        stream.seek(start)
        for line in stream:
            tally.open_bytes += len(line)
            record = _parsed(line)
            if record is None:
                continue
            if "key" in record:
                if keys is None or record["key"] in keys:
                    batch.append(record)
                continue
            for one in batch:
                tally.count(one)
            tally.steps += max((_generated(one) for one in batch if "token_ids" in one), default=0)
            tally.seconds += record["seconds"]
            _remember(recent, batch, record["seconds"])
            batch, tally.open_bytes = [], 0
    tally.recent = (sum(r[0] for r in recent), sum(r[1] for r in recent), sum(r[2] for r in recent))
    return tally


def is_held(path: str | Path) -> bool | None:
    """Whether a process has the ledger open for writing, `None` where the file system cannot say. For an instant this
    shares the lock that a run waits for; a run that starts in that very instant waits for it."""
    try:
        with Path(path).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not line.endswith(b"\n"):
        return None
    return record if "key" in record or isinstance(record.get("seconds"), int | float) else None


def _remember(recent: deque[tuple[int, int, float]], batch: list[dict[str, Any]], seconds: float) -> None:
    asked = [record for record in batch if "outcome" not in record]
    if not asked:
        return
    recent.append((len(asked), sum(map(_generated, asked)), seconds))
    while len(recent) > 1 and sum(entry[2] for entry in recent) - recent[0][2] >= RECENT_S:
        recent.popleft()


def _generated(record: Mapping[str, Any]) -> int:
    return int(record.get("generated", len(record.get("token_ids", ()))))
