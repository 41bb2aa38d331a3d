"""Recipes say how they are run and are read by their commands; those that generate run on a tiny model.

Those that train are run by `test_recipe_runs.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig
from prm.data_gen.label import main as label
from prm.data_gen.options import SamplingOptions
from prm.data_gen.rollout import RolloutConfig
from prm.data_gen.rollout import main as rollout
from prm.eval.bench import BenchConfig
from prm.eval.evaluate_search import EvalConfig

from prm.config import parse_config
from prm.train import TrainScriptArguments, VerifierModelConfig
from prm.training.config import VerifierConfig
from prm.worlds.pretrain import PretrainConfig

RECIPES = Path(__file__).resolve().parents[2] / "recipes"
CONFIGS: dict[str, list[Any]] = {
    "rollout": [RolloutConfig],
    "label": [LabelConfig],
    "train": [TrainScriptArguments, VerifierConfig, VerifierModelConfig],
    "eval": [EvalConfig],
    "bench": [BenchConfig],
    "pretrain": [PretrainConfig],
}


def test_generator_recipes_run(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "1+1", "answer": "#### 2"}\n{"question": "2+2", "answer": "#### 4"}\n')
    common = ["--model_name_or_path", str(base_dir("llama", chat=True)), "--max_new_tokens", "8", "--n", "2"]
    common += ["--dtype", "float32", "--device", "cpu"]
    recipe = str(RECIPES / "llama-generator" / "rollout.yaml")
    rollout(["--config", recipe, "--dataset_name", str(problems), "--output_dir", str(tmp_path / "a"), *common])
    rows = (tmp_path / "a" / "rollouts.jsonl").read_text().splitlines()
    assert len(rows) == 4
    recipe = str(RECIPES / "llama-generator" / "label.yaml")
    rollouts = ["--rollouts_path", str(tmp_path / "a" / "rollouts.jsonl")]
    label(["--config", recipe, *rollouts, "--output_dir", str(tmp_path / "b"), *common])
    assert (tmp_path / "b" / "labels.jsonl").is_file()


@pytest.mark.parametrize("path", sorted((RECIPES / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_configurations_are_accelerates(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes >= 1
    if "zero" in path.stem:
        assert config.deepspeed_config["zero_stage"] == int(path.stem[-1])


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recipe_says_how_it_is_run(path: Path) -> None:
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    launches = [line for line in head if f"recipes/{path.parent.name}/{path.name}" in line]
    assert launches, f"the header of {path} has no line that runs it"
    if path.parent.name != "accelerate":
        parts = [line.split(":")[0] for line in head if re.match(r"# [A-Z]\w+: ", line)]
        assert parts[:3] == ["# Purpose", "# Prerequisite", "# Command"]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(RECIPES.glob("*/*.yaml")) if path.parent.name != "accelerate"],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_recipe_is_read_by_its_command(path: Path) -> None:
    command = command_of(path)
    on_a_cpu = ["--use_cpu", "true", "--bf16", "false"] if command == "train" else []
    for config in parse_config(CONFIGS[command], ["--config", str(path), *on_a_cpu]):
        if isinstance(config, SamplingOptions):
            config.check()


def command_of(path: Path) -> str:
    """The `prm` command that the recipe's header runs it with."""
    head = "".join(line.removeprefix("#") + "\n" for line in path.read_text().splitlines() if line.startswith("#"))
    launch = head.replace("\\\n", " ").split("Command: ")[1].splitlines()[0]
    assert f"--config recipes/{path.parent.name}/{path.name}" in " ".join(launch.split())
    found = re.search(r"^prm (\w+) |-m prm\.(\w+) ", launch)
    assert found, launch
    return found[1] or found[2]
