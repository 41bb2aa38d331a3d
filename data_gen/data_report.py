"""The report on labels that `prm data curate` or `convert` wrote: what `prm label` reports of its own, counted from
the rows, and what the command's summary says of where they are from and what was left out.

A summary names its inputs without their folders; what their own reports know of how they were made is noted when the
command runs, and is in the summary since.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.fingerprint import file_hash
from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout
from prm.problems import dataset_label

from .label_report import label_report
from .stage import read_json_object

COMMANDS = ("curate", "convert")
_MADE_BY = ("labeler", "problem_set", "grader", "settings")


def origins(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the reports beside inputs know of how their labels were made, by the inputs' names; the inputs that have
    no report, or that of other labels, are not in it."""
    found = {}
    for path in map(Path, paths):
        report = read_json_object(path.with_name("label_report.json"))
        if report.get("data_hash") and path.is_file() and report["data_hash"] == file_hash(path):
            found[dataset_label(str(path))] = {name: report[name] for name in _MADE_BY if report.get(name)}
    return found


def data_report(path: Path) -> dict[str, Any] | None:
    """The report on labels that a `prm data` command wrote, `None` where none did.

    Raises:
        DataError: they were changed since, or are no rows of the format `labels`.
    """
    for command in COMMANDS:
        for summary_path in path.parent.glob(f"*.{command}.json"):
            summary = read_json_object(summary_path)
            if path.name in summary.get("outputs", {}):
                return _report(path, command, summary)
    return None


def _report(path: Path, command: str, summary: dict[str, Any]) -> dict[str, Any]:
    again = f"Run the same `prm data {command}` again"
    if summary["outputs"][path.name] != file_hash(path):
        raise DataError("changed since its summary was written", path=path, remedy=again)
    form = summary.get("to") or summary["settings"].get("to_format")
    if form != "labels" or path.suffix != ".jsonl":
        raise DataError(
            f"{path.suffix.removeprefix('.')} rows of the format {form!r} cannot be published as step labels",
            path=path,
            remedy=f"{again} with --to labels and an output that ends in .jsonl",
        )
    rows = [LabelledRollout.from_dict(row, path=path, line=line) for line, row in read_jsonl(path)]
    made_by = list(summary.get("origins", {}).values())
    common = _common(made_by)
    report = label_report(rows, {}, str(common.get("grader", ""))) | common
    return report | {"made_from": _made_from(command, summary)}


def _made_from(command: str, summary: dict[str, Any]) -> dict[str, Any]:
    """What a card says of the command: its inputs, how many solutions it read and left out, and why."""
    settings = summary["settings"]
    left_out = {**summary.get("rejected", {}), **summary.get("unreadable", {}), **summary.get("not_held", {})}
    return {
        "command": command,
        "inputs": settings.get("inputs") or [settings.get("input", "")],
        "from": summary.get("from"),
        "solutions": summary.get("solutions", summary.get("records")),
        "left_out": left_out,
        "lost": summary.get("lost", {}),
        "settings": {name: value for name, value in settings.items() if not name.endswith(("hash", "hashes"))},
    }


def _common(made_by: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all inputs were made by alike, of their settings too."""
    if not made_by:
        return {}
    first, *others = made_by
    alike = {name: first[name] for name in first if all(one.get(name) == first[name] for one in others)}
    settings = [one.get("settings", {}) for one in made_by]
    same = {name: value for name, value in settings[0].items() if all(one.get(name) == value for one in settings)}
    return {**alike, "settings": same}
