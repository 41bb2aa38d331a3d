"""Training on from a verifier: how it is read holds for the run, and what differs is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.rows.training_rows import StepRow
from prm.scoring_spec import ScoringSpec
from prm.step_format import PromptFormat, StepFormat
from prm.train import main, parse_arguments
from prm.training.config import VerifierConfig
from prm.training.continuing import inherited_options
from prm.training.trainer import VerifierTrainer

CHECK = StepFormat(PromptFormat("check {problem}: "), step_separator=";")


def test_a_run_from_a_verifier_reads_as_that_one_does(
    tiny_verifier_dir: Callable[..., Path],
    rows_file: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = tiny_verifier_dir(step_format=CHECK, max_length=300)
    common = {"model_name_or_path": start, "dataset_name": rows_file(12), "output_dir": tmp_path / "out"}
    settings = common | {"max_steps": 1, "use_cpu": True, "disable_tqdm": True, "report_to": "none"}
    arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    main(arguments)
    spec = ScoringSpec.load(tmp_path / "out")
    assert spec.step_format == CHECK and spec.max_length == 300
    assert "goes on with" not in caplog.text
    _, given, _ = parse_arguments([*arguments, "--step_separator", "|"])
    assert (given.step_separator, given.prompt_template, given.max_length) == ("|", "check {problem}: ", 300)


def test_what_a_run_reads_otherwise_is_said_in_one_warning(
    tiny_verifier_dir: Callable[..., Path],
    make_rows: Callable[..., list[StepRow]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = str(tiny_verifier_dir(step_format=CHECK))
    config = VerifierConfig(str(tmp_path), use_cpu=True, disable_tqdm=True, prompt_template="check {problem}: ")
    VerifierTrainer(start, config, train_dataset=make_rows(8))
    (said,) = [record.getMessage() for record in caplog.records if "goes on with" in record.getMessage()]
    assert "was trained with step_separator=';', and this run goes on with step_separator='\\n'" in said


def test_reward_tokens_and_beta_go_on_and_what_no_option_can_name_does_not(
    tiny_verifier_dir: Callable[..., Path],
) -> None:
    tokens = tiny_verifier_dir(head="reward_tokens", reward_tokens=("+", "-"))
    found = inherited_options(str(tokens), "reward_tokens")
    assert found["reward_tokens"] == ["+", "-"] and found["step_separator"] == "\n"
    assert inherited_options(str(tokens), "implicit_prm") == inherited_options("no/such", "prm") == {}
    plain: dict[str, Any] = inherited_options(str(tiny_verifier_dir(step_format=StepFormat(closing="!"))), "prm")
    assert plain.keys() == {"max_length"}
