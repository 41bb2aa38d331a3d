"""Recipes and the command line: what overrides what, and how a wrong key is answered."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from prm.config import parse_config, run_main
from prm.errors import ConfigError, MissingFileError
from prm.run_record import prepare_output
from prm.worlds.models import embedded_model


@dataclass
class Config:
    output_dir: str = field(metadata={"help": "where"})
    num_problems: int = field(default=3, metadata={"help": "how many"})
    prm_path: list[str] = field(default_factory=list, metadata={"help": "verifiers"})
    chat: bool = field(default=False, metadata={"help": "chat"})
    temperature: float = field(default=1.0, metadata={"help": "how wild"})
    device: str | None = field(default=None, metadata={"help": "on what"})
    kind: Literal["prm", "orm"] = field(default="prm", metadata={"help": "which"})
    order: str = field(default="random", metadata={"help": "order", "choices": ["random", "sorted"]})
    widths: list[int] | None = field(default=None, metadata={"help": "how wide"})
    extras: dict | str | None = field(default=None, metadata={"help": "as transformers' lr_scheduler_kwargs"})


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("output_dir: from_recipe\nnum_problems: 7\nprm_path: [a, b]\n")
    return path


def test_the_recipe_sets_defaults_and_the_command_line_overrides_them(recipe: Path) -> None:
    config = parse_config(Config, ["--config", str(recipe), "--num_problems", "9", "--chat"])
    assert config == Config(output_dir="from_recipe", num_problems=9, prm_path=["a", "b"], chat=True)


def test_an_option_alone_empties_a_list_of_the_recipe(recipe: Path) -> None:
    config = parse_config(Config, ["--config", str(recipe), "--prm_path", "--chat"])
    assert (config.prm_path, config.chat) == ([], True)


def test_an_unknown_key_suggests_the_nearest(recipe: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'num_problem'; did you mean 'num_problems'"):
        parse_config(Config, ["--output_dir", "x", "--num_problem", "3"])
    recipe.write_text("output_dir: x\nouput: y\n")
    with pytest.raises(ConfigError, match=r"recipe.yaml: unknown key 'ouput'; did you mean 'output_dir'"):
        parse_config(Config, ["--config", str(recipe)])
    with pytest.raises(ConfigError, match="run with --help"):
        parse_config(Config, ["--zzz", "1"])


def test_broken_recipes_and_values_are_one_message(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such recipe"):
        parse_config(Config, ["--config", str(tmp_path / "absent.yaml")])
    with pytest.raises(ConfigError, match="missing --output_dir"):
        parse_config(Config, [])
    with pytest.raises(ConfigError, match="invalid int value: 'many'"):
        parse_config(Config, ["--output_dir", "x", "--num_problems", "many"])
    recipe.write_text("a: [unclosed\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse_config(Config, ["--config", str(recipe)])
    recipe.write_text("- a list\n")
    with pytest.raises(ConfigError, match="a recipe is a mapping"):
        parse_config(Config, ["--config", str(recipe)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("num_problems: 2.5", "num_problems must be a whole number, not 2.5"),
        ("num_problems: [2]", r"num_problems must be a whole number, not \[2\]"),
        ("num_problems: null", "num_problems must be a whole number, not null"),
        ("num_problems: true", "num_problems must be a whole number, not true"),
        ("temperature: [1]", r"temperature must be a number, not \[1\]"),
        ("temperature: hot", 'temperature must be a number, not "hot"'),
        ("output_dir: 5", "output_dir must be text, not 5; put it in quotes"),
        ("device: 0", "device must be text or null, not 0; put it in quotes"),
        ("chat: 3", "chat must be true or false, not 3"),
        ("kind: rm", 'kind must be one of prm, orm, not "rm"'),
        ("order: backwards", 'order must be one of random, sorted, not "backwards"'),
        ("prm_path: [a, {b: c}]", r'prm_path must be a list of text, not \["a", {"b": "c"}\]'),
        ("prm_path:", "prm_path must be a list of text, not null"),
        ("widths: [4, many]", "widths must be a list of a whole number or null, not"),
        ("chat: true\nchat: false", "line 2: 'chat' is there twice; keep one"),
        ("env: 3", "env is a mapping"),
        ("chat: \xff", "not valid YAML"),
    ],
)
def test_a_recipes_values_are_of_their_fields_types(recipe: Path, line: str, message: str) -> None:
    recipe.write_bytes(line.encode("latin-1"))
    with pytest.raises(ConfigError, match=f"recipe.yaml.*{message}"):
        parse_config(Config, ["--config", str(recipe), "--output_dir", "x"])


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("temperature: 1e-4", "temperature", 1e-4),  # text to YAML
        ("temperature: 2", "temperature", 2.0),
        ("num_problems: '16'", "num_problems", 16),
        ("num-problems: 16", "num_problems", 16),
        ("prm_path: one", "prm_path", ["one"]),
        ("widths: 4", "widths", [4]),
        ("widths: null", "widths", None),
        ("device: cpu", "device", "cpu"),
        ("extras: {power: 2}", "extras", {"power": 2}),
        ("kind: orm", "kind", "orm"),
    ],
)
def test_what_means_a_value_is_taken_as_it(recipe: Path, line: str, key: str, value: Any) -> None:
    recipe.write_text(line)
    found = getattr(parse_config(Config, [f"--config={recipe}", "--output_dir", "x"]), key)
    assert found == value and type(found) is type(value)


def test_the_training_arguments_of_transformers_keep_their_spellings(recipe: Path) -> None:
    from prm.training.config import VerifierConfig

    recipe.write_text(
        "output_dir: x\neval_strategy: no\nlr_scheduler_type: cosine_with_min_lr\n"
        "lr_scheduler_kwargs: {min_lr: 1e-6}\nreport_to: none\nwarmup_steps: 10\nlearning_rate: 1e-4\n"
        "use_cpu: true\nlogging_steps: 5\n"
    )
    config = parse_config(VerifierConfig, ["--config", str(recipe)])
    assert config.eval_strategy == "no" and config.report_to == [] and config.learning_rate == 1e-4
    assert config.lr_scheduler_kwargs == {"min_lr": "1e-6"} and config.logging_steps == 5


@pytest.mark.parametrize("arguments", [[], ["--chat"], ["a", "--config", "b"]])
def test_config_takes_one_recipe(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="--config takes one recipe"):
        parse_config(Config, ["--config", *arguments])


def test_embedded_models_are_named_in_any_option() -> None:
    config = parse_config(Config, ["--output_dir", "embedded:generator", "--prm_path", "zero_shot=embedded:base", "x"])
    assert config.output_dir == str(embedded_model("generator"))
    assert config.prm_path == [f"zero_shot={embedded_model('base')}", "x"]
    with pytest.raises(ConfigError, match="choose from embedded:generator, embedded:base"):
        parse_config(Config, ["--output_dir", "embedded:giant"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["roll"], "unknown command 'roll'; did you mean 'rollout'?"),
        (["rollout", "--n_problems", "3"], "unknown key 'n_problems'; did you mean 'num_problems'?"),
        (["eval", "--config", "absent.yaml"], "absent.yaml: no such recipe"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prm.cli", *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_directory_that_takes_no_files_is_refused_at_the_start(tmp_path: Path) -> None:
    assert prepare_output(tmp_path / "new" / "run") == tmp_path / "new" / "run"
    assert list((tmp_path / "new" / "run").iterdir()) == []
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run"), tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match=r"output_dir .*; give another output_dir"):
            prepare_output(wrong)


def test_what_the_system_refuses_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    def fill_the_disk(arguments: list[str]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/labels.jsonl")

    with pytest.raises(SystemExit) as stop:
        run_main(fill_the_disk)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: runs/labels.jsonl: No space left on device; ")


def test_a_warning_is_one_line_at_the_command_line_and_what_python_makes_of_it_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["prm"])
    before = warnings.showwarning
    run_main(lambda argv: warnings.warn("first this,\n  then that", stacklevel=2))
    assert capsys.readouterr().err == "warning: first this, then that\n"
    assert warnings.showwarning is before


def test_a_command_that_warns_names_no_file_of_ours(tmp_path: Path) -> None:
    rows = [
        {"problem": p, "answer": "2", "unique_id": p, "completions": ["A: 2"] * n} for p, n in (("a", 2), ("b", 3))
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "prm.cli", "eval", "--rollouts", "samples.jsonl", "--output_dir", "run"]
    found = subprocess.run([*command, "--report", "false"], capture_output=True, text=True, check=True, cwd=tmp_path)
    said = [line for line in found.stderr.splitlines() if "samples.jsonl" in line or "arning" in line]
    assert said == ["warning: samples.jsonl has 2 samples of some problems, and up to 3 of others: n is 2"]
    assert ".py" not in found.stderr


def test_every_stage_has_the_same_seed_by_default() -> None:
    from prm.data_gen.label import LabelConfig
    from prm.data_gen.rollout import RolloutConfig
    from prm.eval.evaluate_search import EvalConfig

    from prm.training.config import VerifierConfig

    configs = (RolloutConfig, LabelConfig, VerifierConfig, EvalConfig)
    assert {config.__dataclass_fields__["seed"].default for config in configs} == {0}


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m prm.cli formats | head -1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert found.stdout.startswith("qwen2.5-math-prm") and found.stderr == ""
