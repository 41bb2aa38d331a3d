"""`--help`: what a command says of its options, in which order, and that it says it of every one."""

from __future__ import annotations

import dataclasses
import importlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from prm.cli import COMMANDS
from prm.config import parse_config

CONFIGS = {
    "eval": "prm.eval.evaluate_search:EvalConfig",
    "label": "prm.data_gen.label:LabelConfig",
    "rollout": "prm.data_gen.rollout:RolloutConfig",
    "bench": "prm.eval.bench.config:BenchConfig",
    "push": "prm.hub:PushConfig",
}


@dataclass(kw_only=True)
class Engine:
    """Which engine runs. More of it than a title says."""

    backend: str = field(default="here", metadata={"help": "Where it runs"})


@dataclass(kw_only=True)
class Command(Engine):
    """What is done."""

    output_dir: str = field(metadata={"help": "Where to write."})
    kind: Literal["prm", "orm"] = field(default="prm", metadata={"help": "Which"})
    calibrate: bool = field(default=True, metadata={"help": "Fit a temperature"})
    chat: bool = field(default=False, metadata={"help": "With the template"})
    template: str = field(default="{problem}\n", metadata={"help": "The prompt"})
    widths: list[int] = field(default_factory=list, metadata={"help": "How wide"})
    device: str | None = field(default=None, metadata={"help": "On what"})


def shown(capsys: pytest.CaptureFixture[str], kinds: type | list[type], *arguments: str, prog: str = "prm do") -> str:
    with pytest.raises(SystemExit) as stop:
        parse_config(kinds, [*arguments, "--help"], prog=prog)
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_the_commands_own_options_come_first_and_each_is_said_with_its_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, Command)
    assert text.startswith("usage: prm do --output_dir ... [--config RECIPE.yaml] [--key value ...]\n")
    assert (
        text.partition("What is done:\n")[2]
        == """\
  --output_dir TEXT       Where to write (required)
  --kind prm|orm          Which (default: prm)
  --calibrate BOOL, --no_calibrate
                          Fit a temperature (default: true)
  --chat BOOL             With the template (default: false)
  --template TEXT         The prompt (default: {problem}\\n)
  --widths INT ...        How wide
  --device TEXT           On what

Which engine runs:
  --backend TEXT          Where it runs (default: here)

Of every command:
  --config RECIPE.yaml    A recipe of keys and values
  -h, --help              Show this, with the recipe's values as defaults
"""
    )


def test_a_flag_that_is_true_by_default_is_turned_off_as_the_help_says(tmp_path: Path) -> None:
    given = ["--output_dir", str(tmp_path)]
    assert parse_config(Command, given).calibrate
    for off in (["--no_calibrate"], ["--no-calibrate"], ["--calibrate", "false"]):
        assert not parse_config(Command, [*given, *off]).calibrate


def test_the_defaults_are_those_of_the_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("output_dir: runs/x\nwidths: [4, 8]\ncalibrate: false\n")
    text = shown(capsys, Command, "--config", str(tmp_path / "recipe.yaml"))
    assert "Where to write (default: runs/x)" in text and "How wide (default: 4 8)" in text
    assert "Fit a temperature (default: false)" in text and "usage: prm do [--config" in text


@pytest.mark.parametrize("command", CONFIGS)
def test_every_option_of_a_command_is_said_once_its_own_first(
    capsys: pytest.CaptureFixture[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    module, _, name = CONFIGS[command].partition(":")
    config = getattr(importlib.import_module(module), name)
    text = shown(capsys, config, prog=f"prm {command}")
    *listed, last = re.findall(r"^  --(\w+)", text, re.MULTILINE)
    assert last == "config"
    assert sorted(listed) == sorted(one.name for one in dataclasses.fields(config))
    assert listed[0] in vars(config)["__annotations__"]
    assert COMMANDS[command][1][1:] in text.replace("\n", " ")
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"default: (None|\[\]|\))", text)


def test_arguments_of_other_libraries_come_last(capsys: pytest.CaptureFixture[str]) -> None:
    from prm.training.arguments import CONFIGS as train

    text = shown(capsys, train, prog="prm train")
    order = [
        text.index(f"\n  --{name} ") for name in ("dataset_name", "output_dir", "objective", "lora_r", "adam_beta1")
    ]
    assert order == sorted(order)
    assert "\nTrainingArguments of transformers:\n" in text and "\nModelConfig of trl:\n" in text
