"""`prm label`: what it writes, what it refuses, and that a finished run does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.rollout import RolloutConfig, run_rollout
from prm.data_gen.stage import StageSummary

from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.fingerprint import file_hash
from prm.generation.hf import HFGenerator
from prm.jsonl import read_jsonl, write_json, write_jsonl
from prm.labels import LabelledRollout
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason

PROBLEM = Problem("7a+5b-3", "9", "p1", subject="arithmetic")


def rollouts() -> list[Rollout]:
    right = Rollout(PROBLEM, ("a7+5=12", "b12-3=9", "A: 9"), ("", "\n", "\n", ""), 0, StopReason.EOS, "t", "9")
    wrong = Rollout(PROBLEM, ("a7+5=12", "b12-3=8", "A: 8"), ("", "\n", "\n", ""), 1, StopReason.EOS, "t", "8")
    empty = Rollout(PROBLEM, (), ("",), 2, StopReason.LENGTH, "t")
    graded = [(right, Outcome.CORRECT), (wrong, Outcome.WRONG), (empty, None)]
    return [Rollout(**{**vars(rollout), "outcome": outcome}) for rollout, outcome in graded]


@pytest.fixture
def options(generator_dir: Path, tmp_path: Path) -> dict[str, Any]:
    write_jsonl(tmp_path / "rollouts.jsonl", (row.to_dict() for row in rollouts()))
    return {
        "rollouts_path": str(tmp_path / "rollouts.jsonl"),
        "n": 3,
        "max_new_tokens": 12,
        "model_name_or_path": str(generator_dir),
        "output_dir": str(tmp_path / "out"),
        "device": "cpu",
    }


def run(options: dict[str, Any], **changes: Any) -> StageSummary:
    return run_label(LabelConfig(**(options | changes)))


def test_labels_and_report(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    summary = run(options)
    # A rollout without steps has nothing to label.
    right, wrong = (LabelledRollout.from_dict(row) for _, row in read_jsonl(summary.path))
    assert [rollout.rollout for rollout in (right, wrong)] == rollouts()[:2]
    assert (right.labels[-1].n_correct, right.labels[-1].n_total) == (3, 3)
    assert (wrong.labels[-1].n_correct, wrong.labels[-1].n_total) == (0, 3)
    assert all(label.n_total + label.n_undecided == 3 for row in (right, wrong) for label in row.labels)
    assert right.labels[0] == wrong.labels[0]
    report = summary.report
    assert (report["step_labels"], report["distinct_prefixes"], report["shared_prefixes"]) == (6, 3, 1)
    assert report["completions"] == 9
    assert report["cost"]["generated_tokens"] == sum(row.cost.generated_tokens for row in (right, wrong)) > 0
    assert report == json.loads((summary.path.parent / "label_report.json").read_text())
    assert "step_accuracy" in report["truth"]

    monkeypatch.setattr(HFGenerator, "from_pretrained", lambda *a, **k: pytest.fail("the model was loaded"))
    assert run(options).repeated


def test_a_finished_run_is_added_to_or_replaced_where_asked(options: dict[str, Any]) -> None:
    first = run(options, num_rollouts=1).path.read_text().splitlines()
    rows = run(options).path.read_text().splitlines()  # one rollout more
    assert (len(first), len(rows), rows[0]) == (1, 2, first[0])
    assert run(options, n=4).report["completions"] == 12
    for name, changes in {"n": {"n": 3}, "num_rollouts": {"n": 4, "num_rollouts": 1}, "top_p": {"top_p": 0.5}}.items():
        with pytest.raises(ConfigError, match=rf"finished run with {name}=.* --overwrite true"):
            run(options | {"n": 4}, **changes)
    assert not run(options, top_p=0.5, overwrite=True).repeated
    assert run(options, top_p=0.5).repeated


def test_a_search_reports_how_many_rollouts_it_left_undecided(options: dict[str, Any]) -> None:
    report = run(options, labeler="first_error", max_new_tokens=1).report  # no completion reaches an answer
    assert report["first_error"] == {"searches": 1, "below_confidence": 1, "nothing_decided": 1}
    assert report["unknown_labels"] == 2 and report["rules"] == {"assumed": 3, "none": 2, "posterior": 1}


def test_an_answer_is_demanded_by_labelers_that_grade_alone(options: dict[str, Any]) -> None:
    path = Path(options["rollouts_path"])
    bare = [row.to_dict() | {"answer": ""} for row in rollouts()]
    bare[1]["outcome"] = None  # an unknown answer grades nothing
    write_jsonl(path, bare)
    for labeler in ("monte_carlo", "first_error", "omega"):
        with pytest.raises(DataError, match="line 1: the answer is empty"):
            run(options, labeler=labeler)
    right, ungraded = (LabelledRollout.from_dict(row) for _, row in read_jsonl(run(options, labeler="implicit").path))
    assert [label.hard for label in right.labels] == [None, None, 1]
    assert [label.hard for label in ungraded.labels] == [None, None, None]


def test_what_a_labeler_does_not_read_makes_no_other_run(options: dict[str, Any]) -> None:
    report = run(options, labeler="implicit", n=8).report
    assert not {"n", "seed"} & report["settings"].keys()
    assert run(options, labeler="implicit", n=4, seed=7).repeated


def test_a_rule_that_the_labeler_does_not_read_is_not_checked(options: dict[str, Any]) -> None:
    interval = options | {"rule": "interval", "n": 8}
    LabelConfig(**interval | {"n": 0, "confidence": 0.4}).check()  # first_error's starts at .5
    LabelConfig(**interval, labeler="first_error").check()  # 8 completions cannot reach max_zero
    with pytest.raises(ConfigError, match="cannot reach max_zero"):
        LabelConfig(**interval, labeler="consensus", consensus_of=["monte_carlo", "first_error"]).check()


def test_another_prompt_than_the_rollouts_is_a_warning(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(options["rollouts_path"])
    settings = {"backend": "transformers", "prompt_template": "{problem}\n", "chat": False, "system_prompt": ""}
    write_json(path.parent / "rollout_report.json", {"settings": settings, "data_hash": file_hash(path)})
    LabelConfig(**options).check()
    LabelConfig(**options, labeler="implicit", prompt_template="Q: {problem}").check()  # asks nothing
    assert not caplog.messages
    LabelConfig(**options, prompt_template="Q: {problem}").check()
    [message] = caplog.messages
    assert r"(prompt_template: '{problem}\n' there, 'Q: {problem}' here)" in message


def test_an_output_directory_that_is_none_is_refused_first(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(ConfigError, match="no directory that files can be written to"):
        run(options, output_dir=str(tmp_path / "file"), rollouts_path="absent.jsonl")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labeler": "oracle"}, ConfigError, "unknown labeler 'oracle'"),
        ({"rule": "often"}, ConfigError, "unknown rule 'often'"),
        ({"rule": "interval", "max_error": 2.0}, ConfigError, "must lie between 0 and 1"),
        ({"rule": "interval", "n": 8}, ConfigError, "n=8 completions cannot reach max_zero=0.2"),
        ({"labeler": "first_error", "confidence": 0.2}, ConfigError, "0.5 <= confidence"),
        ({"labeler": "consensus"}, ConfigError, "consensus_of takes two"),
        ({"labeler": "consensus", "consensus_of": ["monte_carlo", "nobody"]}, ConfigError, "'nobody' is neither"),
        ({"n": -1}, ConfigError, "must not be negative"),
        ({"temperature": 0}, ConfigError, "the same completion n times"),
        ({"rollouts_path": "absent.jsonl"}, MissingFileError, "absent.jsonl: no such file"),
        ({"truth_path": "absent.jsonl"}, MissingFileError, "absent.jsonl: no such file"),
        ({"model_name_or_path": "a/b/c"}, MissingFileError, "no such model directory"),
    ],
)
def test_bad_options_are_one_message(
    options: dict[str, Any], changes: dict[str, Any], error: type[PrmError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(options, **changes)


def test_a_refused_run_leaves_no_directory_behind(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    for changes in (
        {"rollouts_path": "absent.jsonl"},
        {"truth_path": "absent.jsonl"},
        {"model_name_or_path": "a/b/c"},
    ):
        for folder in ("new/out", "kept"):
            with pytest.raises(PrmError):
                run(options, output_dir=str(tmp_path / folder), **changes)
    assert not (tmp_path / "new").exists() and not list((tmp_path / "kept").iterdir())
    asked = RolloutConfig(dataset_name="absent.jsonl", model_name_or_path="a/b/c", output_dir=str(tmp_path / "new"))
    with pytest.raises(PrmError):
        run_rollout(asked)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rollouts in it"),
        ("{}\n", "line 1: no 'problem' or 'question'"),
        ('{"problem": "p", "answer": "1", "steps": ["a"]}\n', "line 1: not a rollout: no 'gaps'"),
        (json.dumps(rollouts()[2].to_dict()) + "\n", "no rollout in it has a step"),
    ],
)
def test_bad_rollouts_are_named_with_their_line(options: dict[str, Any], text: str, message: str) -> None:
    Path(options["rollouts_path"]).write_text(text)
    with pytest.raises(DataError, match=f"rollouts.jsonl(, |: ){message}"):
        run(options)
