"""`docs/training.md` says what is true: its objectives and losses are there, its commands and its script run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.losses import LOSSES_OF
from prm.rows.training_rows import StepRow
from prm.verifier import Verifier
from tests.guides import ROOT, Page, run, run_all

GUIDE = Page("docs/training.md")
LAUNCHED = "--accelerate_config"
STAGES = (
    "prm rollout --config recipes/arithmetic/rollout.yaml --num_problems 10 --output_dir runs/rollouts",
    "prm label --config recipes/arithmetic/label.yaml --n 2",
    "prm label --config recipes/arithmetic/label.yaml --labeler first_error --n 2",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rollouts and two sets of labels of ten problems."""
    path = tmp_path_factory.mktemp("guide")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        Path("recipes").symlink_to(ROOT / "recipes")
        Path("mixture.yaml").write_text(GUIDE.blocks("yaml")[0])
        rollouts, labels, first_error = map(str.split, STAGES)
        run(rollouts)
        for command, name in ((labels, "labels"), (first_error, "first_error")):
            run([*command, "--rollouts_path", "runs/rollouts/rollouts.jsonl", "--output_dir", f"runs/{name}"])
    return path


def test_objectives_and_losses_are_those_that_there_are() -> None:
    rows = {row[0].strip("`"): re.findall(r"`(\w+)`", row[3]) for row in GUIDE.rows("`--objective`")}
    assert {name: tuple(losses) for name, losses in rows.items()} == LOSSES_OF


def test_accelerate_configurations_are_those_that_are_shipped() -> None:
    named = {name for row in GUIDE.rows("`--accelerate_config`") for name in re.findall(r"`(\w+)`", row[0])}
    assert named == {path.stem for path in (ROOT / "recipes" / "accelerate").glob("*.yaml")}


def test_its_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    here = [command for command in GUIDE.commands() if LAUNCHED not in command]
    run(here[0])
    assert "memory per device" in capsys.readouterr().out and not Path("runs/prm").exists()
    run_all(here[1:], {"--learning_rate 1e-4": "--learning_rate 1e-4 --num_train_epochs 1"})
    for name in ("prm", "mixture", "lora", "lora/merged", "further"):
        scores = Verifier.from_pretrained(Path("runs") / name, device="cpu").score("7a+5b", ["a7+5=12", "A: 12"])
        assert len(scores) == 2
    spec = json.loads(Path("runs/further/scoring_spec.json").read_text())
    assert "check {problem}" in json.dumps(spec)  # as in the run that it went on from
    assert {"settled", "eval"} <= json.loads(Path("runs/prm/train_metrics.json").read_text()).keys()
    assert all((Path("runs") / name / "train_report.html").is_file() for name in ("orm", "mixture", "lora"))


@pytest.mark.slow
def test_its_launched_command_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    launched = [command for command in GUIDE.commands() if LAUNCHED in command]
    run_all(launched, {})
    assert json.loads(Path("runs/zero2/train_run.json").read_text())["processes"] == 2


def test_its_script_runs(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path
) -> None:
    from datasets import Dataset

    (script,) = GUIDE.blocks("python")
    for there, here in (
        ("Qwen/Qwen2.5-Math-1.5B", str(base_dir())),
        ("runs/prm", str(tmp_path)),
        ('objective="prm"', 'objective="prm", use_cpu=True, max_steps=2'),
    ):
        assert there in script
        script = script.replace(there, here)
    rows = [{"prompt": r.prompt, "completions": list(r.completions), "labels": list(r.labels)} for r in make_rows(12)]
    found: dict[str, Any] = {"dataset": Dataset.from_list(rows), "peft_config": None}
    exec(script, found)
    assert found["trainer"].state.global_step == 2
