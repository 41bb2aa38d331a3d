"""`prm train` through the real command line: the same program every way it is started."""

from __future__ import annotations

import sys

import pytest

from tests.e2e.runs import PRM, ROOT, Run, Runs, free_port


def test_the_console_script_is_the_module(runs: Runs) -> None:
    by_module = runs.run("one", "a")
    assert runs.start([PRM, "train", "--config", str(runs.recipe("b"))], "b").wait() == 0
    by_script = Run(runs.folder / "b")
    assert by_script.metrics == by_module.metrics
    weights = [(run.directory / "model.safetensors").read_bytes() for run in (by_script, by_module)]
    assert weights[0] == weights[1]


def test_a_mistake_is_one_line_and_exit_code_2(runs: Runs) -> None:
    (runs.folder / "rows.jsonl").write_text('{"prompt": "1", "completions": ["a", "b"], "labels": [1]}\n')
    assert runs.start([PRM, "train", "--config", str(runs.recipe("a"))], "a").wait() == 2
    said = (runs.folder / "a.log").read_text()
    assert said.splitlines()[-1].startswith("error: ")
    assert "rows.jsonl, line 1: 1 labels for 2 steps. Every step needs one label, or null" in said
    assert "Traceback" not in said


def test_the_readmes_launch_of_deepspeed_equals_one_process(runs: Runs) -> None:
    """With `accelerate launch` and Adam; 45 rows leave the last global batch incomplete."""
    keys = {"label_view": "soft", "adam_epsilon": 1e-4}  # the noise of a gradient that is nearly 0 stays small
    one = runs.run("one", "one", **keys)
    two = runs.recipe("two", per_device_train_batch_size=2, gradient_accumulation_steps=2, **keys)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    launch += ["--config_file", str(ROOT / "recipes" / "accelerate" / "cpu_zero2.yaml")]
    launch += ["--main_process_port", free_port(), "-m", "prm.train", "--config", str(two)]
    assert runs.start(launch, "two").wait() == 0, (runs.folder / "two.log").read_text()[-3000:]
    assert Run(runs.folder / "two").facts["processes"] == 2
    assert Run(runs.folder / "two").losses == pytest.approx(one.losses, rel=1e-5)
    assert len(one.losses) == 12
