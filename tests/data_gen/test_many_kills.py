"""Stages killed at twenty random moments and run again: nothing is asked twice, nothing lost, and the files are those
of a run left alone, to the byte."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.rollout import RolloutConfig, run_rollout

from prm.worlds.models import expand_embedded

pytestmark = pytest.mark.slow

KILLS = 20
SHARED = {
    "model_name_or_path": expand_embedded("embedded:generator"),
    "device": "cpu",
    "max_batch_rows": 4,
    "max_new_tokens": 96,
}
ROLLOUT = {"dataset_name": "arithmetic", "num_problems": 16, "n": 4, "splitter": "line", **SHARED}
LABELS: dict[str, dict[str, Any]] = {
    "monte_carlo": {"rule": "interval", "n": 16},
    "first_error": {"labeler": "first_error"},
    "omega": {"labeler": "omega", "searches": 6},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A forked process has none of the threads that this one's matrix products may have started, and would wait for
    them for ever."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(stage: str, options: dict[str, Any]) -> None:
    if stage == "rollout":
        run_rollout(RolloutConfig(**options))
    else:
        run_label(LabelConfig(**options))


def run_and_kill(stage: str, options: dict[str, Any], seconds: float) -> bool:
    """Run a stage in a process of its own and kill it after so long; whether it was killed before it ended."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(stage, options))
    process.start()
    process.join(seconds)
    assert process.pid is not None
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def first_growth(stage: str, options: dict[str, Any], ledger: Path) -> float:
    """Run a stage and kill it at its first finished batch; the seconds it took to get there."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(stage, options))
    start = time.monotonic()
    process.start()
    while not ledger.exists() or not ledger.stat().st_size:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    return time.monotonic() - start


def ledger_keys(path: Path) -> Counter[str]:
    return Counter(json.loads(line)["key"] for line in path.read_text().splitlines() if '"key"' in line)


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rollouts")
    run("rollout", {**ROLLOUT, "output_dir": str(directory)})
    return directory / "rollouts.jsonl"


@pytest.mark.parametrize("name", ["rollout", *LABELS])
def test_twenty_kills_leave_no_trace(name: str, rollouts: Path, tmp_path: Path) -> None:
    stage = "rollout" if name == "rollout" else "label"
    options = ROLLOUT if stage == "rollout" else {**SHARED, "rollouts_path": str(rollouts), **LABELS[name]}
    start = time.monotonic()
    run(stage, {**options, "output_dir": str(tmp_path / "alone")})
    whole = time.monotonic() - start

    moments, killed = random.Random(name), {**options, "output_dir": str(tmp_path / "killed")}
    ledger = tmp_path / "killed" / f"{stage}_ledger.jsonl"
    startup = first_growth(stage, killed, ledger)
    lengths = [ledger.stat().st_size]
    while len(lengths) < KILLS:
        longest = startup + (whole - startup) / 16
        assert run_and_kill(stage, killed, moments.uniform(startup / 4, longest)), "it ended before all kills"
        lengths.append(ledger.stat().st_size)
    assert len(set(lengths)) > 4, "the kills were no test: little was done between them"
    run(stage, killed)

    for file in (f"{stage}s.jsonl", f"{stage}_report.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "alone" / file).read_bytes()
    alone, resumed = (ledger_keys(tmp_path / folder / f"{stage}_ledger.jsonl") for folder in ("alone", "killed"))
    assert resumed == alone
    assert set(resumed.values()) == {1}
