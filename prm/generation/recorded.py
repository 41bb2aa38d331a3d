r"""Solutions that someone else sampled, imported as rollouts.

Two kinds of JSONL rows are read, each with `problem`/`answer` or `question`/`answer` columns (`ground_truth` serves as
an answer):

- a panel, one solution per system, each with the record's own verdict (OpenAI's recorded GSM8K solutions):
  `{"question": ..., "ground_truth": ..., "6b_finetuning": {"is_correct": false, "solution": "..."}, ...}`;
- samples of one system: `completions` or `solutions` (a list of texts, as search-and-learn writes), or `solution`.

A rollout's `source` is the key it came from. Texts stay as they are, calculator marks (`<<16-3=13>>`) included. The
record's verdict never enters the rollout, whose outcome is `None` until we grade it; `RecordedSample.verdict` keeps it
for comparison. A record does not say whether a text was cut off: the stop reason is `eos`. A blank text is a rollout
without steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.jsonl import read_jsonl
from prm.problems import Problem, problem_from_row
from prm.rollouts import Rollout, StopReason
from prm.splitting import split_steps

SAMPLE_COLUMNS = ("completions", "solutions", "solution")


@dataclass(frozen=True)
class RecordedSample:
    """An ungraded rollout, and what the record says of it: `None` where it says nothing."""

    rollout: Rollout
    verdict: bool | None = None


def read_recorded(
    path: str | Path, splitter: str = "line", *, keys: Sequence[str] = (), limit: int = 0
) -> list[RecordedSample]:
    """Read a file of recorded solutions, in its order.

    Args:
        splitter: how texts become steps, see `prm.splitting`.
        keys: the keys to import; by default every system of a panel, or else the first of `SAMPLE_COLUMNS` in the
            first row.
        limit: import the solutions of the first `limit` problems; 0 imports all.

    Raises:
        DataError: a row without a problem or an answer, without one of the keys, or with something else than a
            solution under it; a repeated problem; an empty file.
    """
    samples: list[RecordedSample] = []
    seen: dict[str, int] = {}
    for line, row in read_jsonl(path):
        if limit and len(seen) == limit:
            break
        problem = problem_from_row(row, path=path, line=line)
        if problem.unique_id in seen:
            raise DataError(
                f"the problem of line {seen[problem.unique_id]} again ({problem.unique_id})",
                path=path,
                line=line,
                remedy="Put all its solutions into one row, or give it a unique_id of its own",
            )
        seen[problem.unique_id] = line
        keys = keys or _find_keys(row, path, line)
        for key in keys:
            samples += _samples(row, key, problem, splitter, path, line)
    if not samples:
        raise DataError("no recorded solutions in it", path=path, remedy="Give a file with at least one row")
    return samples


def _find_keys(row: dict[str, Any], path: str | Path, line: int) -> list[str]:
    panel = [key for key, value in row.items() if isinstance(value, dict) and "solution" in value]
    columns = [key for key in SAMPLE_COLUMNS if key in row]
    if panel or columns:
        return panel or columns[:1]
    raise DataError(
        f"no recorded solution in a row with the columns {sorted(row)}",
        path=path,
        line=line,
        remedy=f"Name the columns in recorded_keys, or call one of them {', '.join(SAMPLE_COLUMNS)}",
    )


def _samples(
    row: dict[str, Any], key: str, problem: Problem, splitter: str, path: str | Path, line: int
) -> Iterator[RecordedSample]:
    if key not in row:
        raise DataError(
            f"no {key!r} among the columns {sorted(row)}",
            path=path,
            line=line,
            remedy="Every row needs a solution under every key; choose others with recorded_keys, or delete the row",
        )
    entries = row[key] if isinstance(row[key], list) else [row[key]]
    for index, entry in enumerate(entries):
        text = entry.get("solution") if isinstance(entry, dict) else entry
        if not isinstance(text, str):
            raise DataError(
                f"solution {index} under {key!r} is of type {type(text).__name__}, not a text",
                path=path,
                line=line,
                remedy="Mend or delete the row",
            )
        verdict = entry.get("is_correct") if isinstance(entry, dict) else None
        split = split_steps(text, splitter)
        rollout = Rollout(problem, split.steps, split.gaps, index, StopReason.EOS, source=key)
        yield RecordedSample(rollout, verdict if isinstance(verdict, bool) else None)
