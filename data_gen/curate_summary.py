"""What a curation kept and why not the rest: per reason, per input, per source of labels, per class, before and
after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .census import Bools, Census, Reason
from .screening import in_play


def curate_summary(
    census: Census,
    inputs: Sequence[str],
    evaluation: Bools,
    written: Mapping[str, int],
    unreadable: Mapping[str, int],
    not_held: Mapping[str, int],
) -> dict[str, Any]:
    """Everything worth knowing about a curation, ready for JSON.

    Args:
        evaluation: which solutions are on the evaluation side.
        written: rows of each output file.
        unreadable: rows that could not be read, by reason.
        not_held: rows that the output's format cannot hold, by reason.
    """
    kept = in_play(census)
    everything = np.ones(len(census), dtype=bool)
    counts = np.bincount(census["reason"].astype(np.int64), minlength=len(Reason))
    return {
        "solutions": len(census),
        "kept": int(kept.sum()),
        "written": dict(written),
        "rejected": {reason.text: int(counts[reason]) for reason in Reason if reason and counts[reason]},
        "unreadable": dict(unreadable),
        "not_held": dict(not_held),
        "test_problems": _test_problems(census),
        "problems": {name: _distinct(census["problem"][rows]) for name, rows in _sides(kept, evaluation).items()},
        "classes": {
            "before": _classes(census, everything),
            **{f"after, {name}": _classes(census, rows) for name, rows in _sides(kept, evaluation).items()},
        },
        "by_input": _by(census, "input", inputs, kept),
        "by_source": _by(census, "source", list(census.sources), kept),
    }


def _sides(kept: Bools, evaluation: Bools) -> dict[str, Bools]:
    sides = {"train": kept & ~evaluation}
    return sides | ({"eval": kept & evaluation} if evaluation.any() else {})


def _distinct(values: Any) -> int:
    return len(np.unique(values))


def _classes(census: Census, rows: Bools) -> dict[str, int]:
    """Solutions with and without a wrong step, and steps by label."""
    right, wrong, unknown = (census[name][rows].astype(np.int64) for name in ("right", "wrong", "unknown"))
    return {
        "solutions_without_error": int(((wrong == 0) & (right > 0)).sum()),
        "solutions_with_error": int((wrong > 0).sum()),
        "right_steps": int(right.sum()),
        "wrong_steps": int(wrong.sum()),
        "unknown_steps": int(unknown.sum()),
    }


def _by(census: Census, column: str, names: Sequence[str], kept: Bools) -> dict[str, dict[str, int]]:
    values = census[column].astype(np.int64)
    before = np.bincount(values, minlength=len(names))
    after = np.bincount(values[kept], minlength=len(names))
    return {name: {"solutions": int(before[i]), "kept": int(after[i])} for i, name in enumerate(names) if before[i]}


def _test_problems(census: Census) -> dict[str, dict[str, int]]:
    """For each test set, the distinct problems and the solutions that meet it, by how they do."""
    rows = np.flatnonzero(census["reason"] == Reason.CONTAMINATED)
    names = list(census.hits)
    table: dict[str, Counter[str]] = {}
    problems: dict[tuple[str, str], set[int]] = {}
    for detail, problem in zip(census["detail"][rows].tolist(), census["problem"][rows].tolist(), strict=True):
        sentence, _, place = names[detail].partition(": ")
        how, name = "equal" if "equal" in sentence else "overlapping", place.rpartition(", line ")[0]
        table.setdefault(name, Counter())[f"{how}_solutions"] += 1
        problems.setdefault((name, how), set()).add(problem)
    for (name, how), found in problems.items():
        table[name][f"{how}_problems"] = len(found)
    return {name: dict(sorted(counts.items())) for name, counts in table.items()}


def curate_table(summary: Mapping[str, Any]) -> str:
    """The summary's main lines, for the terminal."""
    lines = [f"{summary['solutions']:,} solutions, {summary['kept']:,} kept"]
    lines += [f"  left out, {reason}: {count:,}" for reason, count in summary["rejected"].items()]
    lines += [f"  unreadable, {reason}: {count:,}" for reason, count in summary["unreadable"].items()]
    lines += [f"  left out, {reason}: {count:,}" for reason, count in summary["not_held"].items()]
    for name, counts in summary["test_problems"].items():
        found = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items())
        lines.append(f"  test problems of {name}: {found}")
    lines += ["", _class_table(summary["classes"]), ""]
    for title in ("by_input", "by_source"):
        lines += [
            f"{title.removeprefix('by_')} {name}: {row['kept']:,} of {row['solutions']:,} kept"
            for name, row in summary[title].items()
        ]
    lines += [f"written: {name}, {count:,} rows" for name, count in summary["written"].items()]
    return "\n".join(lines)


def _class_table(classes: Mapping[str, Mapping[str, int]]) -> str:
    width = max(map(len, classes))
    names = list(next(iter(classes.values())))
    heads = [name.replace("_", " ") for name in names]
    lines = ["  ".join([" " * width, *heads])]
    for title, counts in classes.items():
        cells = [f"{counts[name]:>{len(head)},}" for name, head in zip(names, heads, strict=True)]
        lines.append("  ".join([f"{title:<{width}}", *cells]))
    return "\n".join(lines)
