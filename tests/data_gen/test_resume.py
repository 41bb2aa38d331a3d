"""A stage killed by SIGKILL and run again asks nothing twice and writes the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.rollout import RolloutConfig, run_rollout

from prm.generation.base import GenerationRequest
from prm.generation.hf import HFGenerator

# Batches of two rows, so that there are many moments to be killed at; the files must not depend on the moment.
SCRIPT = """
import json, sys
from prm.data_gen import label, rollout
stage, options = sys.argv[1], json.loads(sys.argv[2])
if stage == "rollout":
    rollout.run_rollout(rollout.RolloutConfig(**options))
else:
    label.run_label(label.LabelConfig(**options))
"""


def run_and_kill(stage: str, options: dict[str, Any], batches: int) -> int:
    """Start a stage in a process of its own, kill it once the ledger holds some batches; returns how many it holds."""
    ledger = Path(options["output_dir"]) / f"{stage}_ledger.jsonl"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, stage, json.dumps(options)], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and (not ledger.exists() or ledger.read_bytes().count(b'"batch"') < batches):
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "the stage ended before it could be killed"
    return ledger.read_bytes().count(b'"batch"')


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[GenerationRequest]:
    """Every request that reaches the model in this process."""
    requests: list[GenerationRequest] = []
    generate = HFGenerator.generate

    def recording(self: HFGenerator, batch: Any, *arguments: Any) -> Any:
        requests.extend(batch)
        return generate(self, batch, *arguments)

    monkeypatch.setattr(HFGenerator, "generate", recording)
    return requests


def outputs(directory: Path, stage: str) -> dict[str, bytes]:
    names = {"rollout": ("rollouts.jsonl", "rollout_report.json"), "label": ("labels.jsonl", "label_report.json")}
    return {name: (directory / name).read_bytes() for name in names[stage]}


def test_killed_stages_resume_exactly(generator_dir: Path, tmp_path: Path, asked: list[GenerationRequest]) -> None:
    shared = {"model_name_or_path": str(generator_dir), "device": "cpu", "max_batch_rows": 2, "max_new_tokens": 24}
    options: dict[str, Any] = {
        **shared,
        **{"dataset_name": "arithmetic", "num_problems": 24, "n": 2, "splitter": "separator:0"},
        "output_dir": str(tmp_path / "whole"),
    }
    run_rollout(RolloutConfig(**options))
    check_resumed("rollout", options, tmp_path, asked)

    # An untrained model writes no lines; any character that it does write separates steps as well.
    options = {**shared, "rollouts_path": str(tmp_path / "whole" / "rollouts.jsonl"), "n": 2, "num_rollouts": 12}
    options["output_dir"] = str(tmp_path / "whole")
    asked.clear()
    run_label(LabelConfig(**options))
    check_resumed("label", options, tmp_path, asked)


def test_two_processes_write_the_bytes_of_one_also_after_a_kill(generator_dir: Path, tmp_path: Path) -> None:
    shared = {"model_name_or_path": str(generator_dir), "device": "cpu", "max_batch_rows": 2, "max_new_tokens": 24}
    rollout: dict[str, Any] = {
        **shared,
        **{"dataset_name": "arithmetic", "num_problems": 24, "n": 2, "splitter": "separator:0"},
    }
    label = {**shared, "rollouts_path": str(tmp_path / "one" / "rollouts.jsonl"), "n": 2, "num_rollouts": 12}
    for stage, options in (("rollout", rollout), ("label", label)):
        for name, workers in (("one", 1), ("two", 2)):
            run_stage(stage, {**options, "output_dir": str(tmp_path / name), "num_workers": workers})
        killed = {**options, "output_dir": str(tmp_path / "killed"), "num_workers": 2}
        run_and_kill(stage, killed, 3)
        assert not (tmp_path / "killed" / f"{stage}_report.json").exists()
        run_stage(stage, killed)
        for name in ("two", "killed"):
            assert outputs(tmp_path / name, stage) == outputs(tmp_path / "one", stage)
            assert ledger_keys(tmp_path / name, stage) == ledger_keys(tmp_path / "one", stage)


def run_stage(stage: str, options: dict[str, Any]) -> Any:
    return run_rollout(RolloutConfig(**options)) if stage == "rollout" else run_label(LabelConfig(**options))


def ledger_keys(directory: Path, stage: str) -> list[str]:
    """The keys of the finished requests, sorted; one that was asked twice is there twice."""
    lines = (directory / f"{stage}_ledger.jsonl").read_text().splitlines()
    return sorted(json.loads(line)["key"] for line in lines if '"token_ids"' in line)


def check_resumed(stage: str, options: dict[str, Any], folder: Path, asked: list[GenerationRequest]) -> None:
    """`asked` holds the uninterrupted run's requests, and its files are in `options["output_dir"]`."""
    whole, everything = Path(options["output_dir"]), list(asked)
    assert len(everything) > 20
    killed = {**options, "output_dir": str(folder / "killed")}
    batches = run_and_kill(stage, killed, 3)
    assert not (folder / "killed" / f"{stage}_report.json").exists()

    asked.clear()
    assert not run_stage(stage, killed).repeated
    assert asked == everything[2 * batches :]
    assert outputs(folder / "killed", stage) == outputs(whole, stage)
    keys = ledger_keys(folder / "killed", stage)
    assert len(keys) == len(set(keys)) == len(everything)
