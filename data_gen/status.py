"""`prm status DIR [DIR ...]`: what the runs in directories have done, what is left, at which rate and cost.

    prm status runs/arithmetic/rollouts runs/arithmetic/labels

It reads what the stages write and writes nothing itself, so that it may be asked at any time: while a run goes on,
after it was killed, and when it is finished. A directory without a run of its own stands for those right below it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from prm.cards.benchmarks import BENCHMARKS
from prm.config import run_main
from prm.errors import ConfigError, DataError, MissingFileError
from prm.report.formatting import percent, si
from prm.report.formatting import seconds as duration

from .label_cost import cost_words
from .ledger_tally import LedgerTally, is_held, tally_ledger
from .stage import last_run, read_json_object

STAGES = ("rollout", "label")
FINISHED, RUNNING, STOPPED, UNKNOWN = "finished", "running", "stopped", "unfinished"


@dataclass(frozen=True)
class RunStatus:
    """What is known of one run.

    Attributes:
        directory: where it writes.
        stage: `rollout`, `label`, `train`, `eval` or `bench`.
        state: `finished`, `running`, `stopped`, or `unfinished` where it cannot be told whether it runs.
        lines: what it has done and what is left, as (name, text).
        facts: the same as numbers.
    """

    directory: Path
    stage: str
    state: str
    lines: tuple[tuple[str, str], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = {STOPPED: "stopped; the same command goes on"}.get(self.state, self.state)
        rows = [f"  {name:<9} {text}" for name, text in self.lines]
        return "\n".join([f"{self.directory}: {self.stage}, {said}", *rows])

    def to_dict(self) -> dict[str, Any]:
        return {"directory": str(self.directory), "stage": self.stage, "state": self.state, **self.facts}


def status_of(directory: str | Path) -> list[RunStatus]:
    """The runs in a directory, or right below it where it has none itself.

    Raises:
        MissingFileError: there is no such directory.
        DataError: no run is in it.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise MissingFileError("no such directory", path=directory, remedy="Give the output_dir of a run")
    found = list(_runs_in(directory))
    if not found:
        below = sorted(path for path in directory.iterdir() if path.is_dir())
        found = [run for path in below for run in _runs_in(path)]
    if not found:
        raise DataError("no run is in it", path=directory, remedy="Give the output_dir of prm rollout, label, ...")
    return found


def _runs_in(directory: Path) -> Iterator[RunStatus]:
    for stage in STAGES:
        names = ("ledger.jsonl", "progress.json", "report.json")
        if any((directory / f"{stage}_{name}").is_file() for name in names):
            yield stage_status(directory, stage)
    if any((directory / name).is_file() for name in ("train_settings.json", "train_metrics.json")):
        yield _train_status(directory)
    if (directory / "results.json").is_file() or (directory / "store").is_dir():
        yield _eval_status(directory)
    if any((directory / f"{name}.json").is_file() for name in BENCHMARKS) or (directory / "scores").is_dir():
        yield _bench_status(directory)


def stage_status(directory: Path, stage: str) -> RunStatus:
    """The status of a stage that keeps a ledger."""
    ledger = directory / f"{stage}_ledger.jsonl"
    held = is_held(ledger)
    progress = last_run(directory, stage)
    tally = tally_ledger(ledger, int(progress.get("other_bytes") or 0))
    report = read_json_object(directory / f"{stage}_report.json")
    finished = (directory / f"{stage}s.jsonl").is_file() and _same_run(progress, report)
    state = RUNNING if held else FINISHED if finished else UNKNOWN if held is None else STOPPED
    asked = tally.requests
    bound = None if state == FINISHED else progress.get("requests")
    facts = {
        "requests": asked,
        "requests_in_all": bound,
        "left": None if bound is None else max(0, bound - asked),
        **_ledger_facts(tally),
    }
    lines = [("work", _work(progress, stage)), ("done", _done(asked, bound, progress, tally))]
    if tally.requests:
        lines += [("cost", _cost(tally)), ("rate", _rate(tally))]
    if state == FINISHED:
        lines.append(("result", _result(report, stage, tally)))
    elif facts["left"] is not None:
        lines.append(("left", _left(int(facts["left"]), bool(progress.get("exact")), tally)))
    if state not in (FINISHED, RUNNING) and ledger.is_file():
        lines.append(("written", f"{duration(max(0, round(time.time() - ledger.stat().st_mtime)))} ago"))
    return RunStatus(directory, stage, state, tuple((name, text) for name, text in lines if text), facts)


def _same_run(progress: dict[str, Any], report: dict[str, Any]) -> bool:
    """Whether the report is that of the run that was started last."""
    return bool(report.get("settings")) and progress.get("settings", report["settings"]) == report["settings"]


def _ledger_facts(tally: LedgerTally) -> dict[str, Any]:
    names = ("completions", "verdicts", "votes", "generated", "prefilled", "cached", "seconds")
    requests, tokens, seconds = tally.recent
    return {name: getattr(tally, name) for name in names} | {
        "tokens_per_second": tally.generated / tally.seconds if tally.seconds else None,
        "requests_per_second_now": requests / seconds if seconds else None,
        "tokens_per_second_now": tokens / seconds if seconds else None,
    }


def _work(facts: dict[str, Any], stage: str) -> str:
    settings = facts.get("settings") or {}
    unit = "problems" if stage == "rollout" else "rollouts"
    source = settings.get("dataset_name") if stage == "rollout" else settings.get("rollouts_path")
    parts = [str(settings["labeler"])] if "labeler" in settings else []
    if facts.get(unit) is not None:
        parts.append(f"{facts[unit]:,} {unit}" + (f" of {source}" if source else ""))
    if settings.get("model_name_or_path"):
        parts.append(f"with {settings['model_name_or_path']}")
    return ", ".join(parts)


def _done(asked: int, bound: int | None, progress: dict[str, Any], tally: LedgerTally) -> str:
    text = f"{asked:,} requests"
    if bound:
        exact = progress.get("exact")
        text += f" of {bound:,} ({percent(asked / bound)})" if exact else f" of at most {bound:,}"
    graded = [f"{tally.verdicts:,} graded"] if tally.verdicts else []
    cut = tally.stop_reasons["length"]
    undecided = [f"{percent(cut / tally.completions)} cut off"] if cut else []
    open_end = [f"{si(tally.open_bytes)}B of an unfinished batch"] if tally.open_bytes else []
    return ", ".join([text, *graded, *undecided, *open_end])


def _cost(tally: LedgerTally) -> str:
    parts = ", ".join(f"{si(getattr(tally, name))} {name}" for name in ("generated", "prefilled", "cached"))
    return f"{parts} tokens; {tally.generated / tally.requests:.1f} generated a request"


def _rate(tally: LedgerTally) -> str:
    if not tally.seconds:
        return ""
    text = f"{tally.generated / tally.seconds:,.0f} tokens/s and {tally.requests / tally.seconds:,.1f} requests/s"
    text += f" over {duration(tally.seconds)}"
    requests, tokens, seconds = tally.recent
    if not seconds or seconds >= tally.seconds:
        return text
    return f"{text}; lately {tokens / seconds:,.0f} tokens/s and {requests / seconds:,.1f} requests/s"


def _left(left: int, exact: bool, tally: LedgerTally) -> str:
    requests, _, seconds = tally.recent
    if exact and not left:
        return "no request; what is done is being graded and written"
    text = f"{'' if exact else 'at most '}{left:,} requests"
    if left and requests and seconds:
        text += f", {'about' if exact else 'at most about'} {duration(left * seconds / requests)} at this rate"
    return text


def _result(report: dict[str, Any], stage: str, tally: LedgerTally) -> str:
    if stage == "rollout":
        right = (report.get("outcomes") or {}).get("correct")
        return f"{report.get('rollouts', 0):,} rollouts" + (f", {right:,} right" if right is not None else "")
    labels = report.get("step_labels", 0)
    text = cost_words({"step_labels": 0, **report})
    return text + (f", {labels / tally.seconds:,.1f} labels/s" if tally.seconds else "")


def _train_status(directory: Path) -> RunStatus:
    metrics = read_json_object(directory / "train_metrics.json")
    if metrics:
        training = metrics.get("training") or {}
        lines = (("result", f"a verifier ({metrics.get('kind', '?')}), {training.get('steps', 0):,} steps"),)
        return RunStatus(directory, "train", FINISHED, lines, {"steps": training.get("steps")})
    states = [read_json_object(path) for path in directory.glob("checkpoint-*/trainer_state.json")]
    latest = max(states, key=lambda state: state.get("global_step", 0), default={})
    step, total = latest.get("global_step", 0), latest.get("max_steps")
    text = f"{step:,} of {total:,} steps saved" if total else "no checkpoint yet"
    facts = {"steps": step, "steps_in_all": total}
    return RunStatus(directory, "train", UNKNOWN, (("done", text),), facts)


def _eval_status(directory: Path) -> RunStatus:
    results = read_json_object(directory / "results.json")
    if results:
        methods = len(results.get("methods") or ())
        text = f"{methods} lines of methods, up to n = {results.get('n', '?')}"
        return RunStatus(directory, "eval", FINISHED, (("result", text),), {"methods": methods})
    stores = sorted((directory / "store").glob("*.jsonl"))
    rows = {path.stem: path.read_bytes().count(b"\n") for path in stores}
    lines = tuple(("done", f"{name}: {count:,} problems") for name, count in rows.items())
    return RunStatus(directory, "eval", UNKNOWN, lines, {"problems": rows})


def _bench_status(directory: Path) -> RunStatus:
    """Of `prm bench`: its headline, or how many solutions the cache of an unfinished run has scores of."""
    for name, benchmark in BENCHMARKS.items():
        if found := read_json_object(directory / f"{name}.json"):
            value, solutions = found.get(benchmark.overall or "best_of_n"), found.get("solutions", "?")
            number = "undefined" if value is None else percent(value)
            text = f"{benchmark.title} of {found.get('verifier', '?')}: {number} over {solutions} solutions"
            return RunStatus(directory, "bench", FINISHED, (("result", text),), {"benchmark": name, "value": value})
    caches = (directory / "scores").glob("scores-*.jsonl")
    rows = sum(path.read_bytes().count(b"\n") for path in caches)
    lines = (("done", f"{rows:,} solutions scored"),)
    return RunStatus(directory, "bench", UNKNOWN, lines, {"solutions": rows})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"prm status: {message}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the status of every directory.

    Raises:
        PrmError: a directory that is not there, or has no run in it.
    """
    parser = _Parser(prog="prm status", description="What the runs in directories have done, and what is left.")
    parser.add_argument("directories", nargs="+", metavar="DIR", help="output_dir of a run, or a folder of several")
    parser.add_argument("--json", action="store_true", help="one JSON object a run, in the place of text")
    asked = parser.parse_args(list(arguments or []))
    found = [run for directory in asked.directories for run in status_of(directory)]
    print("\n".join(json.dumps(run.to_dict()) if asked.json else str(run) for run in found))


if __name__ == "__main__":
    run_main(main)
