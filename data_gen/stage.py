"""What a stage's output directory knows about itself: the settings that made it, and whether it is finished.

The report beside a data file holds the settings and the data file's hash. The same settings and an untouched data file
mean that there is nothing to do. A run with other settings is refused, unless it adds to what is there (more problems,
more samples) or `overwrite` is set. What a run is about to do is written down before it starts, for `prm status`, and
that file is gone when it is finished: its run record has what is still of use.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prm.fingerprint import file_hash
from prm.grading import MathGrader
from prm.jsonl import dumps, write_json, write_jsonl
from prm.ledger import Ledger
from prm.run_record import RunRecord, other_run

from .ledger_tally import LedgerTally, tally_ledger

logger = logging.getLogger(__name__)

# Options that say where and how fast, not what.
NO_SETTINGS = frozenset(
    {"output_dir", "overwrite", "device", "batch_tokens", "max_batch_rows", "num_workers", "choices_per_request"}
    | {"endpoint_urls", "api_key_env", "max_concurrency", "max_retries", "connect_timeout", "request_timeout"}
    | {"dry_run", "push_to_hub", "private"}
)


# Options that make a sample another one; changing any other setting finds the samples of before in the ledger.
DECIDE_SAMPLES = frozenset(
    {"model_name_or_path", "model_revision", "dtype", "temperature", "top_p", "max_new_tokens", "stop", "seed"}
    | {"backend", "served_model_name", "tokenizer_name_or_path", "prompt_template", "chat", "system_prompt"}
)


def config_settings(config: Any) -> dict[str, Any]:
    """The options of a config that decide what comes out."""
    left_out = NO_SETTINGS | config.unused_settings() | (set() if config.shard else {"shard"})
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in left_out}


def items_hash(items: Iterable[Any]) -> str:
    """16 hex digits that identify problems or rollouts by all they hold."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(dumps(item.to_dict()).encode() + b"\n")
    return digest.hexdigest()[:16]


def grown_settings(unit: str, items: Sequence[Any], n: int, report: Mapping[str, Any]) -> set[str]:
    """The settings whose change adds to an earlier run: more samples, and items behind those it had.

    Args:
        unit: what the items are, `problems` or `rollouts`, as the report counts them and the settings name them.
        report: the earlier run's.
    """
    before = report["settings"]
    grown = {"n"} if n >= before.get("n", math.inf) else set()
    whole = report.get("shard", {}).get("items", report[unit])  # a shard knows the hash of the undivided run
    if items_hash(items[:whole]) == before.get(f"{unit}_hash"):
        grown |= {f"num_{unit}", f"{unit}_hash"}
    return grown


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object that a run wrote, empty where there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def last_run(directory: Path, stage: str) -> dict[str, Any]:
    """What the last run of a stage wrote down as it began, or, where it is finished, in its report and its record:
    its `settings`, `other_bytes`, and how many problems or rollouts it had. Empty where there was none."""
    if progress := read_json_object(directory / f"{stage}_progress.json"):
        return progress
    report, run = (read_json_object(directory / f"{stage}_{name}.json") for name in ("report", "run"))
    kept = {name: value for name, value in run.items() if name in ("problems", "rollouts", "other_bytes")}
    return {**report, **kept} if report else {}


def _brief(value: Any) -> str:
    """A setting's value for a message; of a long text its ends."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:38]}...{text[-38:]}"


def _nothing_grown(report: Mapping[str, Any]) -> set[str]:
    return set()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a stage is about to do.

    Attributes:
        unit, items: what is worked on, `problems` or `rollouts`, and how many.
        requests: what it will ask at most, what the ledger has included; `None` where that is not known.
        exact: whether it will ask so many, and no fewer.
    """

    unit: str
    items: int
    requests: int | None = None
    exact: bool = False


@dataclasses.dataclass(frozen=True)
class StageOutput:
    """The files of one stage.

    Attributes:
        directory: the stage's `output_dir`.
        stage: its name, which its files have: `rollout` writes `rollouts.jsonl` and `rollout_report.json`.
        settings: everything that decides what comes out, model revision and input hash included.
        overwrite: whether a finished run with other settings may be replaced.
        grown: given the report of an earlier run, the settings whose change keeps all that run has and adds to it.
        plan: what the run is about to do, for `prm status`; `None` writes none down.
    """

    directory: Path
    stage: str
    settings: dict[str, Any]
    overwrite: bool = False
    grown: Callable[[Mapping[str, Any]], set[str]] = _nothing_grown
    plan: Plan | None = None

    @property
    def data_path(self) -> Path:
        return self.directory / f"{self.stage}s.jsonl"

    @property
    def report_path(self) -> Path:
        return self.directory / f"{self.stage}_report.json"

    @property
    def ledger_path(self) -> Path:
        return self.directory / f"{self.stage}_ledger.jsonl"

    @property
    def progress_path(self) -> Path:
        return self.directory / f"{self.stage}_progress.json"

    def note_start(self) -> None:
        """Write down what is about to be done."""
        if self.plan is None:
            return
        facts = {
            "stage": self.stage,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            self.plan.unit: self.plan.items,
            "requests": self.plan.requests,
            "exact": self.plan.exact,
            "other_bytes": self.other_bytes(),
            "settings": self.settings,
        }
        write_json(self.progress_path, facts)

    def note_end(self) -> None:
        """The run is finished; the report says so from now on."""
        self.progress_path.unlink(missing_ok=True)

    def facts_to_keep(self) -> dict[str, Any]:
        """What was written down at the start and is of use when the run is finished."""
        if self.plan is None:
            return {}
        return {self.plan.unit: self.plan.items, "other_bytes": self.other_bytes()}

    def tally(self, keys: Set[str] | None = None) -> LedgerTally:
        """What the ledger holds of this run: of the requests with these keys, whoever asked them, or where those are
        not known, of the runs that this one goes on from."""
        if keys is None:
            return tally_ledger(self.ledger_path, self.other_bytes())
        return tally_ledger(self.ledger_path, keys=keys)

    def other_bytes(self) -> int:
        """How many bytes at the ledger's beginning are those of runs that this one does not go on from."""
        before = last_run(self.directory, self.stage)
        if not isinstance(before.get("settings"), dict):
            return 0
        changed = self._changed(before)
        changed -= self.grown(before) if changed else set()
        if any(name in DECIDE_SAMPLES or name.endswith("_hash") for name in changed):
            whole = self.ledger_path.stat().st_size if self.ledger_path.is_file() else 0
            return max(0, whole - tally_ledger(self.ledger_path).open_bytes)
        return int(before.get("other_bytes", 0))

    def _changed(self, report: Mapping[str, Any]) -> set[str]:
        """The settings that differ from an earlier run's."""
        before, after = report["settings"], json.loads(dumps(self.settings))
        return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}

    def _in_order(self, report: Mapping[str, Any]) -> list[str]:
        """The settings that differ, hashes behind those that a user sets."""
        return sorted(self._changed(report), key=lambda name: (name.endswith("_hash"), name))

    def finished_report(self) -> dict[str, Any] | None:
        """The report of a finished run with the same settings, or `None` where there is something to do.

        Raises:
            ConfigError: a finished run with other settings that may not be replaced.
        """
        report = self._report_there()
        if report is None:
            return None
        changed = self._in_order(report)
        if changed:
            self._check_replaceable(report, [name for name in changed if name not in self.grown(report)])
            return None
        return report if report["data_hash"] == file_hash(self.data_path) else None

    def say_changed(self) -> None:
        """Warn of what differs from the finished run that is made anew, and from one that was stopped here."""
        if report := self._report_there():
            if differences := self._differences(report):
                logger.warning("%s: made anew with other settings (%s)", self.data_path, differences)
            elif report["data_hash"] != file_hash(self.data_path):
                logger.warning("%s: changed since it was written; it is made anew from the ledger", self.data_path)
        stopped = read_json_object(self.progress_path)
        if isinstance(stopped.get("settings"), dict) and (differences := self._differences(stopped)):
            logger.warning("%s: goes on from a stopped run of other settings (%s)", self.directory, differences)
            logger.warning("of its requests those that fit are used again, and the others are asked anew")

    def _differences(self, report: Mapping[str, Any]) -> str:
        before, after = report["settings"], self.settings
        return ", ".join(
            f"{name}: {_brief(before.get(name))} -> {_brief(after.get(name))}" for name in self._in_order(report)
        )

    def _report_there(self) -> dict[str, Any] | None:
        if not self.data_path.is_file():
            return None
        report = read_json_object(self.report_path)
        return report if isinstance(report.get("settings"), dict) and report.get("data_hash") else None

    def _check_replaceable(self, report: Mapping[str, Any], changed: list[str]) -> None:
        if not changed or self.overwrite:
            return
        before, name = report["settings"], changed[0]
        there = f"{name}={_brief(before[name])}" if name in before else f"{name} unknown"
        raise other_run(self.directory, there, _brief(self.settings.get(name)))

    def write(
        self, rows: Iterable[dict[str, Any]], report: dict[str, Any], record: RunRecord, run_facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the data file, then the run record, and last the report that declares the stage finished."""
        write_jsonl(self.data_path, rows)
        record.write(self.directory, run_facts, name=f"{self.stage}_run.json")
        report = {**report, "settings": self.settings, "data_hash": file_hash(self.data_path)}
        write_json(self.report_path, report)
        return report


@dataclasses.dataclass(frozen=True)
class StageSummary:
    """Where a stage's data is, and the report on it. `repeated` says that there was nothing to do."""

    path: Path
    report: dict[str, Any]
    repeated: bool = False


Make = Callable[[Ledger, MathGrader], tuple[Iterable[dict[str, Any]], dict[str, Any]]]


def run_stage(output: StageOutput, record: RunRecord, make: Make) -> StageSummary:
    """Run a stage, alone in its directory; a finished one with the same settings is left as it is.

    Args:
        make: samples what is not in the ledger, and returns the rows and the report on them.

    Raises:
        ConfigError: another process writes there, or a finished run with other settings lies there.
    """
    with Ledger(output.ledger_path) as ledger, MathGrader() as grader:
        if report := output.finished_report():
            output.note_end()
            return StageSummary(output.data_path, report, repeated=True)
        output.say_changed()
        output.note_start()
        rows, report = make(ledger, grader)
        facts = {"generation_seconds": round(ledger.seconds, 3), **output.facts_to_keep()}
        report = output.write(rows, report, record, facts)
        output.note_end()
    return StageSummary(output.data_path, report)
