"""`prm rollout`: what it writes, what it refuses, and that a finished run does nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.rollout import RolloutConfig, main, run_rollout
from prm.data_gen.rollout_report import rollout_table
from prm.data_gen.stage import StageSummary

from prm.errors import ConfigError, DataError, MissingFileError, ModelError, PrmError
from prm.generation.hf import HFGenerator
from prm.rollouts import Outcome, StopReason, read_rollouts

PANEL = {
    "question": "How many?",
    "ground_truth": "3 - 1 = <<3-1=2>>2\nA: 2",
    "small": {"is_correct": False, "solution": "3 + 1 = <<3+1=4>>4\nA: 4"},
    "large": {"is_correct": True, "solution": "3 - 1 = <<3-1=2>>2\nA: 2"},
}


@pytest.fixture
def options(generator_dir: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "dataset_name": "arithmetic",
        "num_problems": 6,
        "n": 3,
        "max_new_tokens": 12,
        "splitter": "separator:\n",
        "model_name_or_path": str(generator_dir),
        "output_dir": str(tmp_path / "out"),
        "device": "cpu",
    }


def run(options: dict[str, Any], **changes: Any) -> StageSummary:
    return run_rollout(RolloutConfig(**(options | changes)))


def test_rollouts_and_report_of_the_arithmetic_world(options: dict[str, Any]) -> None:
    summary = run(options)
    rollouts = list(read_rollouts(summary.path))
    assert len(rollouts) == len({rollout.key for rollout in rollouts}) == 18
    assert len({rollout.seed for rollout in rollouts}) == 18
    assert {rollout.problem.subject for rollout in rollouts} == {"arithmetic"}
    truncated = [r for r in rollouts if r.stop_reason is StopReason.LENGTH]
    assert truncated
    assert all(r.outcome is None and r.pred is None for r in truncated)
    report = json.loads((summary.path.parent / "rollout_report.json").read_text())
    assert report == summary.report
    assert (report["problems"], report["rollouts"]) == (6, 18)
    assert sum(report["outcomes"].values()) == 18
    assert report["outcomes"]["undecided"] == report["stop_reasons"]["length"] == len(truncated)
    assert report["truncated_share"] == len(truncated) / 18
    assert report["cost"]["generated_tokens"] == sum(r.cost.generated_tokens for r in rollouts)
    assert report["cost"]["flops"] == 2 * report["generator"]["num_parameters"] * (
        report["cost"]["generated_tokens"] + report["cost"]["prefilled_tokens"]
    )
    facts = json.loads((summary.path.parent / "rollout_run.json").read_text())
    assert facts["seed"] == 0
    assert facts["versions"]["torch"]
    assert facts["machine"]["cores"] >= 1


def test_a_finished_run_loads_nothing_and_writes_nothing(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(options)
    before = {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()}
    monkeypatch.setattr(HFGenerator, "from_pretrained", lambda *a, **k: pytest.fail("the model was loaded"))
    second = run(options, batch_tokens=64)
    assert second.repeated
    assert second.report == first.report
    assert {path: path.stat().st_mtime_ns for path in first.path.parent.iterdir()} == before


def test_more_problems_and_samples_are_added_to_a_finished_run(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = list(read_rollouts(run(options).path))
    asked: list[int] = []
    generate = HFGenerator.generate
    monkeypatch.setattr(
        HFGenerator, "generate", lambda self, requests, *a: asked.append(len(requests)) or generate(self, requests, *a)
    )
    with caplog.at_level(logging.WARNING):
        more = list(read_rollouts(run(options, n=5, num_problems=8).path))
    assert "n: 3 -> 5, num_problems: 6 -> 8" in caplog.text
    assert sum(asked) == 8 * 5 - 6 * 3
    problems = {rollout.problem for rollout in first}
    assert [r for r in more if r.sample_index < 3 and r.problem in problems] == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0.5}, "with temperature=1.0, and this one has 0.5"),
        ({"n": 2}, "with n=3, and this one has 2"),
        ({"prompt_template": 500 * "x" + "{problem}"}, "and this one has '" + 37 * "x" + "..."),
        ({"num_problems": 5}, "with num_problems=6, and this one has 5"),
        ({"skip_problems": 1}, "with skip_problems=0, and this one has 1"),
        ({"n": 4, "splitter": "line"}, "with splitter='separator:\\n', and this one has 'line'"),
    ],
)
def test_a_finished_run_with_other_settings_is_replaced_only_where_asked(
    options: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    path = run(options).path
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(ConfigError, match="out holds a finished run with ") as caught:
        run(options, **changes)
    assert message in str(caught.value)
    assert "give another --output_dir, or --overwrite true" in str(caught.value)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    summary = run(options, **changes, overwrite=True)
    assert not summary.repeated
    assert summary.report["rollouts"] == len(list(read_rollouts(path)))
    assert run(options, **changes).repeated


def test_a_file_changed_by_hand_is_made_anew_from_the_ledger(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run(options).path
    before = path.read_bytes()
    path.write_bytes(before[:100])
    monkeypatch.setattr(HFGenerator, "generate", lambda *a, **k: pytest.fail("a finished request was asked again"))
    assert not run(options).repeated
    assert path.read_bytes() == before


def test_problems_from_a_file_and_the_context(options: dict[str, Any], tmp_path: Path, generator_dir: Path) -> None:
    import shutil

    short = tmp_path / "short-context"
    shutil.copytree(generator_dir, short)
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 12}))
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        '{"question": "1+2", "answer": "so\\n#### 3"}\n{"problem": "a longer problem", "answer": "3"}\n'
    )
    summary = run(
        options, dataset_name=str(problems), num_problems=0, n=1, model_name_or_path=str(short), max_new_tokens=50
    )
    one, two = read_rollouts(summary.path)
    assert one.problem.answer == "3"
    assert one.cost.generated_tokens <= 12 - 4
    assert (two.steps, two.stop_reason, two.outcome) == ((), StopReason.LENGTH, None)
    assert summary.report["out_of_context"] >= 1
    assert summary.report["without_steps"] >= 1


def test_recorded_solutions(tmp_path: Path) -> None:
    record = tmp_path / "panel.jsonl"
    record.write_text(json.dumps(PANEL) + "\n")
    options = {
        "backend": "recorded",
        "dataset_name": str(record),
        "splitter": "line",
        "output_dir": str(tmp_path / "o"),
    }
    summary = run(options)
    small, large = read_rollouts(summary.path)
    assert (small.source, small.pred, small.outcome) == ("small", "4", Outcome.WRONG)
    assert (large.source, large.pred, large.outcome) == ("large", "2", Outcome.CORRECT)
    assert summary.report["recorded_verdicts"] == {"compared": 2, "agree": 2, "disagreements": []}
    assert "pass@1" not in summary.report
    assert run(options).repeated


def test_accuracy_is_shown_once_and_with_an_interval_over_problems(tmp_path: Path) -> None:
    record = tmp_path / "samples.jsonl"
    rows: list[dict[str, Any]] = [
        {"question": "q", "answer": "2", "completions": ["A: 2", "A: 3", "A: 3"]},
        {"question": "r", "answer": "2", "completions": ["A: 2"] * 3},
    ]
    record.write_text(json.dumps(rows[0]) + "\n")
    recorded = {"backend": "recorded", "dataset_name": str(record), "output_dir": str(tmp_path / "one")}
    one = rollout_table(run(recorded).report)
    assert "pass@1: 0.333\n" in one + "\n"
    assert "completions:" not in one
    record.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="holds a finished run with dataset_hash="):
        run(recorded)
    report = run(recorded, output_dir=str(tmp_path / "two")).report
    assert "pass@1: 0.667 [0.159, 0.955]" in rollout_table(report)  # 4 of 6 of two problems: 1.33 of 2
    record.write_text("".join(json.dumps({**row, "solutions": row["completions"]}) + "\n" for row in rows))
    keys = ["completions", "solutions"]
    several = rollout_table(run(recorded, output_dir=str(tmp_path / "three"), recorded_keys=keys).report)
    assert "  solutions: 0.667 [0.159, 0.955] correct" in several
    assert "pass@1" not in several


def test_a_file_is_split_by_skipping_problems(tmp_path: Path, options: dict[str, Any]) -> None:
    record = tmp_path / "panel.jsonl"
    record.write_text("".join(json.dumps(PANEL | {"question": f"How many {i}?"}) + "\n" for i in range(5)))
    recorded = {"backend": "recorded", "dataset_name": str(record), "splitter": "line"}

    def texts(name: str, **changes: Any) -> list[str]:
        summary = run(recorded, output_dir=str(tmp_path / name), **changes)
        return list(dict.fromkeys(rollout.problem.problem for rollout in read_rollouts(summary.path)))

    first, rest = texts("first", num_problems=2), texts("rest", skip_problems=2)
    assert first == ["How many 0?", "How many 1?"]
    assert first + rest == texts("all") == texts("first")  # more problems of the same file
    with pytest.raises(ConfigError, match="num_problems=0, and this one has 2"):
        texts("first", num_problems=2)
    assert texts("middle", skip_problems=1, num_problems=2) == ["How many 1?", "How many 2?"]
    with pytest.raises(DataError, match="skip_problems=5 leaves no problem"):
        texts("none", skip_problems=5)


def test_a_wrong_recorded_verdict_is_listed(tmp_path: Path) -> None:
    record = tmp_path / "panel.jsonl"
    record.write_text(json.dumps(PANEL | {"small": PANEL["small"] | {"is_correct": True}}) + "\n")  # type: ignore[operator]
    report = run({"backend": "recorded", "dataset_name": str(record), "output_dir": str(tmp_path / "o")}).report
    assert report["recorded_verdicts"]["agree"] == 1
    assert report["recorded_verdicts"]["disagreements"][0]["pred"] == "4"


def test_the_recipe_of_the_recorded_solutions(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(__file__).resolve().parents[2]
    record = data_dir / "gsm8k_model_solutions.jsonl"
    recipe = root / "recipes" / "gsm8k-recorded" / "rollout.yaml"
    main(["--config", str(recipe), "--dataset_name", str(record), "--output_dir", str(tmp_path)])
    assert "5276 of 5276 reproduced" in capsys.readouterr().out
    assert len(list(read_rollouts(tmp_path / "rollouts.jsonl"))) == 5276


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"splitter": "words"}, ConfigError, "unknown splitter 'words'"),
        ({"backend": "vlm"}, ConfigError, "unknown backend 'vlm'"),
        ({"n": 0}, ConfigError, "n must be at least 1"),
        ({"temperature": 0}, ConfigError, "the same sample n=3 times"),
        ({"temperature": -1}, ConfigError, "sampling parameters out of range"),
        ({"num_problems": 0}, ConfigError, "set num_problems"),
        ({"model_name_or_path": ""}, ConfigError, "missing model_name_or_path"),
        ({"model_name_or_path": "./nowhere"}, MissingFileError, "nowhere: no such model directory"),
        ({"prompt_template": "Solve."}, ConfigError, "has no {problem} in it"),
        ({"chat": True}, ConfigError, "has no chat template"),
        ({"system_prompt": "Be brief."}, ConfigError, "needs a chat template"),
        ({"stop": [""]}, ConfigError, "a stop text is empty"),
        ({"batch_tokens": 0}, ConfigError, "batch_tokens must be positive"),
        ({"num_workers": 0}, ConfigError, "num_workers must be at least 1"),
        ({"num_workers": 2, "device": "cuda"}, ConfigError, "num_workers=2 is for models on a CPU"),
        ({"dtype": "int8"}, ConfigError, "dtype must be one of"),
        ({"dataset_name": "absent.jsonl"}, MissingFileError, "absent.jsonl: no such file"),
        ({"dataset_split": "validation"}, ConfigError, "split must be train or test"),
    ],
)
def test_bad_options_are_one_message(
    options: dict[str, Any], changes: dict[str, Any], error: type[PrmError], message: str
) -> None:
    with pytest.raises(error, match=message.replace("{", r"\{")):
        run(options, **changes)
    assert not (Path(options["output_dir"]) / "rollouts.jsonl").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no problems in it"),
        ('{"problem": "1+1", "answer": "2"}\n{"problem": "1+2"}\n', "line 2: no 'answer'"),
        ('{"problem": "1+1", "answer": "2"}\n{broken\n', "line 2: not valid JSON"),
        ('{"problem": "1+1", "answer": "####"}\n', "line 1: the answer is empty"),
        ('{"problem": "1+1", "answer": "2"}\n{"problem": "1+1", "answer": "2"}\n', "line 2: unique_id"),
    ],
)
def test_bad_problem_files_are_named_with_their_line(
    options: dict[str, Any], tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=f"problems.jsonl(, |: ){message}"):
        run(options, dataset_name=str(path))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_directory_that_is_none_is_refused_first(
    options: dict[str, Any], tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("kept")
    for changes in ({}, {"backend": "recorded", "dataset_name": "absent.jsonl"}):
        with pytest.raises(ConfigError, match="no directory that files can be written to"):
            run(options, output_dir=str(tmp_path / place), **changes)
    assert (tmp_path / "file").read_text() == "kept"


def test_nothing_produced_is_lost_by_a_later_mistake(options: dict[str, Any], tmp_path: Path) -> None:
    path = run(options).path
    before = path.read_bytes()
    with pytest.raises(ModelError):
        run(options, model_name_or_path=str(tmp_path))
    assert path.read_bytes() == before
