"""The quickstart's road: every command is one that its subcommand accepts, and each stage reads what another wrote."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from prm.config import parse_config
from prm.errors import ConfigError
from prm.quickstart import QuickstartConfig, stages
from tests.training.test_recipes import CONFIGS


@pytest.mark.parametrize("options", [{}, {"smoke": True}, {"use_peft": True}, {"from_scratch": True}])
def test_every_command_is_accepted_by_its_subcommand(options: dict[str, bool], tmp_path: Path) -> None:
    for stage in stages(QuickstartConfig(output_dir=str(tmp_path), **options)):
        assert shlex.split(stage.line)[:2] == ["prm", stage.command]
        parsed = parse_config(CONFIGS[stage.command], list(stage.arguments), prog=stage.line)
        assert str(tmp_path) in str(parsed)


def test_from_scratch_each_part_starts_from_the_one_before_and_the_last_is_used(tmp_path: Path) -> None:
    road = list(stages(QuickstartConfig(output_dir=str(tmp_path), from_scratch=True)))
    for name, parts in (("generator", 2), ("base", 8)):
        made = [s for s in road if s.command == "pretrain" and f"the {name}," in s.purpose]
        assert len(made) == parts
        outputs = [_value(stage.arguments, "output_dir") for stage in made]
        assert [_value(stage.arguments, "init_from") for stage in made[1:]] == outputs[:-1]
        assert "--init_from" not in made[0].arguments
        assert outputs[-1] == str(tmp_path / name)
        assert any(outputs[-1] in stage.line for stage in road if stage.command == "eval")
    assert "embedded:" not in " ".join(stage.line for stage in road)


def test_a_smoke_run_from_scratch_is_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        QuickstartConfig(smoke=True, from_scratch=True)


def _value(arguments: tuple[str, ...], key: str) -> str:
    return arguments[arguments.index(f"--{key}") + 1]
