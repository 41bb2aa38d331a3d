"""`prm data convert`: files in, files out, what is lost is said, and nonsense is one message."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.convert import ConvertConfig, run_convert
from prm.data_gen.data import main
from prm.data_gen.row_files import read_rows, write_rows

from prm.cli import dispatch
from prm.config import run_main
from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.jsonl import read_jsonl, write_jsonl
from prm.labels import LabelledRollout
from prm.rows.training_rows import load_rows
from tests.benchmarks.curation_scale import run_child, shepherd_rows


def convert(source: Path | str, output: Path, to: str, **options: Any) -> dict[str, Any]:
    return run_convert(ConvertConfig(input_path=str(source), output_path=str(output), to_format=to, **options))


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path)]


@pytest.fixture
def shepherd(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "shepherd.jsonl", shepherd_rows(60))
    return tmp_path / "shepherd.jsonl"


def test_the_commands_example_converts_and_the_trainer_reads_it(
    shepherd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "stepwise.jsonl"
    options = ["--from", "math_shepherd", "--to=stepwise", "--input_path", str(shepherd), "--output_path", str(output)]
    dispatch(["data", "convert", *options])
    printed = capsys.readouterr().out
    assert "math_shepherd -> stepwise: 60 rows, 60 solutions, 60 written" in printed
    assert f"written: {output}" in printed
    loaded = load_rows(output)
    assert len(loaded.rows) == 60 and not loaded.dropped
    for row, original in zip(loaded.rows, rows(shepherd), strict=True):
        assert list(row.labels) == [float(mark == "+") for mark in marks(original)]
        assert row.prompt == original["input"].split(" Step 1:")[0]


def marks(row: dict[str, Any]) -> list[str]:
    return [line[-1] for line in row["label"].splitlines()]


def test_a_recipe_sets_the_same_keys(shepherd: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "convert.yaml"
    recipe.write_text(f"input_path: {shepherd}\noutput_path: {tmp_path / 'out.jsonl'}\nto_format: mc_values\n")
    main(["convert", "--config", str(recipe), "--to", "rlhflow"])
    assert "conversations" in rows(tmp_path / "out.jsonl")[0]


def test_shares_of_completions_are_right_from_any_success_or_from_a_threshold(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "scan_base_100.jsonl"
    scores = [score for row in rows(source) for score in row["scores"]]
    for threshold, right in [(0.0, sum(score > 0 for score in scores)), (0.5, sum(score >= 0.5 for score in scores))]:
        output = tmp_path / f"{threshold}.jsonl"
        shepherd = ConvertConfig(
            input_path=str(source),
            output_path=str(output),
            to_format="math_shepherd",
            hard_threshold=threshold,
        )
        run_convert(shepherd)
        labels = tmp_path / f"{threshold}.labels.jsonl"
        run_convert(replace(shepherd, output_path=str(labels), to_format="labels"))
        read = [LabelledRollout.from_dict(row).labels for row in rows(labels)]
        assert sum(label.hard == 1 for row in read for label in row) == right
    marked = tmp_path / "0.0.jsonl"
    with pytest.raises(ConfigError, match="math_shepherd has its own hard labels"):
        run_convert(replace(shepherd, input_path=str(marked), output_path=str(tmp_path / "x.jsonl")))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_real_files_come_back_whatever_the_file_between(data_dir: Path, tmp_path: Path, suffix: str) -> None:
    for name, form, other in [
        ("prm800k_samples.jsonl", "prm800k", "labels"),
        ("scan_base_100.jsonl", "mc_values", "labels"),
        ("scan_base_100.jsonl", "mc_values", "stepwise"),
        ("processbench/gsm8k.json", "processbench", "labels"),
    ]:
        between, back = tmp_path / f"{form}-{other}{suffix}", tmp_path / f"{form}-{other}.back.jsonl"
        convert(data_dir / name, between, other)
        summary = convert(between, back, form)
        assert summary["from"] == other
        assert rows(back) == rows(data_dir / name)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("between", ["math_shepherd", "rlhflow"])
def test_solutions_come_back_from_formats_that_run_them_together(
    data_dir: Path, tmp_path: Path, between: str, suffix: str
) -> None:
    source, middle = data_dir / "processbench/gsm8k.json", tmp_path / f"between{suffix}"
    summary = convert(source, middle, between)
    assert summary["written"] == 400 and "border" not in str(summary["lost"])
    assert convert(middle, tmp_path / "back.jsonl", "processbench")["from"] == between
    names = ("problem", "steps", "label")
    back, real = ([[row[name] for name in names] for row in rows(path)] for path in (tmp_path / "back.jsonl", source))
    assert back == real


def test_what_is_lost_is_counted_and_said_once(
    data_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = data_dir / "scan_base_100.jsonl", tmp_path / "a.jsonl"
    with caplog.at_level(logging.WARNING):
        dispatch(["data", "convert", "--to", "prm800k", "--input_path", str(source), "--output_path", str(output)])
    summary = json.loads((tmp_path / "a.convert.json").read_text())
    scores = [row["scores"] for row in rows(data_dir / "scan_base_100.jsonl")]
    soft = sum(any(score not in (0, 1) for score in row) for row in scores)
    assert 0 < soft == summary["lost"]["soft values"]
    said = capsys.readouterr()
    assert said.out.count("not held by prm800k: source of the labels, 100 rows\n") == 1
    assert said.out.count(f"not held by prm800k: soft values, {soft} rows\n") == 1
    assert "soft values" not in said.err + caplog.text


def test_prm800ks_alternatives_are_rollouts_unless_they_are_not_wanted(data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "prm800k_samples.jsonl"
    assert convert(source, tmp_path / "all.jsonl", "labels")["written"] == 36
    assert convert(source, tmp_path / "main.jsonl", "stepwise", alternatives=False)["written"] == 6
    back = convert(tmp_path / "all.jsonl", tmp_path / "back.jsonl", "prm800k")
    reason = "an alternative step, which the record of the chosen path holds"
    assert (back["written"], back["rejected"]) == (6, {reason: 30})
    assert rows(tmp_path / "back.jsonl") == rows(source)
    assert convert(source, tmp_path / "same.jsonl", "prm800k")["written"] == 6


def test_rows_that_the_format_cannot_hold_are_kept_apart_with_their_reason(tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "a.jsonl", [{"question": "p", "steps": ["a", "b"], "scores": [None, score]} for score in (1, 0)]
    )
    with pytest.raises(DataError, match=r"b.jsonl: no row was kept.*an unknown step before the first wrong one \(2\)"):
        convert(tmp_path / "a.jsonl", tmp_path / "b.jsonl", "processbench")
    summary = json.loads((tmp_path / "b.convert.json").read_text())
    assert (summary["written"], summary["rejected"]) == (0, {"an unknown step before the first wrong one": 2})
    assert not (tmp_path / "b.jsonl").exists()  # an empty file would look like an output
    rejected = rows(tmp_path / "b.rejected.jsonl")
    assert [(row["line"], row["row"]["scores"]) for row in rejected] == [(1, [None, 1]), (2, [None, 0])]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_conversion_that_keeps_nothing_fails_each_time_it_is_run(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"question": "p", "steps": ["a"], "scores": [2]}] * 3)
    output = tmp_path / f"b{suffix}"
    paths = ["--input_path", str(tmp_path / "a.jsonl"), "--output_path", str(output)]
    for _ in range(2):
        with pytest.raises(SystemExit) as stop:
            run_main(lambda _: main(["convert", "--to", "labels", *paths, "--bad_rows", "drop"]))
        assert stop.value.code == 2
        said = capsys.readouterr().err
        assert "error: " in said and "no row was kept" in said and "(3)" in said and "b.rejected.jsonl" in said
        assert not output.exists() and len(rows(tmp_path / "b.rejected.jsonl")) == 3


def test_bad_rows_stop_the_conversion_or_are_dropped_with_their_line(shepherd: Path, tmp_path: Path) -> None:
    good = rows(shepherd)
    write_jsonl(tmp_path / "bad.jsonl", [good[0], {**good[1], "label": "?"}, good[2], {"input": "x"}])
    with pytest.raises(DataError, match=r"bad.jsonl, line 2: label is not the input"):
        convert(tmp_path / "bad.jsonl", tmp_path / "out.jsonl", "labels")
    assert not (tmp_path / "out.jsonl").exists()
    summary = convert(tmp_path / "bad.jsonl", tmp_path / "out.jsonl", "labels", bad_rows="drop")
    assert (summary["rows"], summary["written"], sum(summary["rejected"].values())) == (4, 2, 2)
    assert [row["line"] for row in rows(tmp_path / "out.rejected.jsonl")] == [2, 4]


def test_a_finished_conversion_does_nothing_and_another_is_not_replaced_unasked(
    shepherd: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    first = convert(shepherd, output, "labels")
    content = output.read_bytes()
    assert not first.get("repeated") and convert(shepherd, output, "labels")["repeated"]
    with pytest.raises(ConfigError, match="was written with other settings or inputs; give another --output_path"):
        convert(shepherd, output, "stepwise")
    write_jsonl(shepherd, shepherd_rows(3))
    with pytest.raises(ConfigError, match="--overwrite true"):
        convert(shepherd, output, "labels")
    assert output.read_bytes() == content
    assert convert(shepherd, output, "labels", overwrite=True)["written"] == 3
    (tmp_path / "mine.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="is there already"):
        convert(shepherd, tmp_path / "mine.jsonl", "labels")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"to_format": "stepwize"}, ConfigError, "did you mean 'stepwise'"),
        ({"from_format": "shepherd"}, ConfigError, "unknown format 'shepherd'"),
        ({"input_path": "absent.jsonl"}, MissingFileError, "absent.jsonl: no such file"),
        ({"input_path": "./a/b"}, MissingFileError, "no such file"),
        ({"input_path": "{shepherd}/.."}, MissingFileError, "no such file"),
        ({"input_path": "{folder}"}, DataError, "a directory"),
        ({"output_path": "{shepherd}"}, ConfigError, "is an input"),
        ({"output_path": "out.csv"}, ConfigError, "the output is a .jsonl or a .parquet file"),
        ({"from_format": "rlhflow"}, DataError, "line 1: no 'conversations'.*looks like math_shepherd"),
    ],
)
def test_nonsense_is_one_message(
    shepherd: Path, tmp_path: Path, changes: dict[str, str], error: type[PrmError], message: str
) -> None:
    options = {"input_path": str(shepherd), "output_path": str(tmp_path / "out.jsonl"), "to_format": "labels"}
    filled = {name: value.format(shepherd=shepherd, folder=tmp_path) for name, value in changes.items()}
    with pytest.raises(error, match=message):
        run_convert(ConvertConfig(**(options | filled)))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"empty.jsonl: no rows in it"):
        convert(tmp_path / "empty.jsonl", tmp_path / "out.jsonl", "labels")
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".out*"))


def test_the_command_tells_the_nearest_and_a_mistake_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    assert "prm data COMMAND" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="did you mean 'convert'"):
        main(["konvert"])
    with pytest.raises(ConfigError, match="unknown key 'too'"):
        main(["convert", "--too", "labels"])
    with pytest.raises(SystemExit) as stop:
        run_main(lambda _: main(["convert", "--to", "x", "--input_path", "a", "--output_path", "b"]))
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: unknown format 'x'")


def test_parquet_holds_columns_whose_type_shows_late(tmp_path: Path) -> None:
    given = [{"a": [None], "b": None}] * 1500 + [{"a": [1], "b": {"c": 1}}, {"a": [0.5], "b": {"d": "x"}}]
    assert write_rows(tmp_path / "a.parquet", given) == 1502
    *_, before, last = rows(tmp_path / "a.parquet")
    assert (before["a"], last["a"], last["b"]["d"]) == ([1.0], [0.5], "x")
    with pytest.raises(DataError, match=r"these rows are no Parquet .*\.jsonl instead"):
        write_rows(tmp_path / "b.parquet", [{"a": 1}, {"a": "x"}])
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_parquet_holds_columns_that_the_first_row_lacks(tmp_path: Path) -> None:
    assert write_rows(tmp_path / "a.parquet", [{"a": 1}, {"b": "x", "a": 2}]) == 2
    assert rows(tmp_path / "a.parquet") == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Some megabytes of text more, many times that as records, and a peak that is the same but for noise."""
    peaks = {}
    for count in (200, 4000):
        source, output = tmp_path / f"{count}.jsonl", tmp_path / f"{count}.out.jsonl"
        write_jsonl(source, shepherd_rows(count))
        options = {"input_path": str(source), "output_path": str(output), "to_format": "labels"}
        result = run_child("convert", options)
        assert result["summary"]["written"] == count
        peaks[count] = result["peak_mib"]
    assert source.stat().st_size > 3 * 2**20
    assert peaks[4000] < peaks[200] + 8


def test_hub_names_are_told_from_paths(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        list(read_rows("data/absent.jsonl"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"not a \.jsonl, \.json or \.parquet file"):
        list(read_rows(tmp_path / "notes.txt"))
    write_jsonl(tmp_path / "a.jsonl", [{"a": 1}])
    assert list(read_jsonl(tmp_path / "a.jsonl")) == list(read_rows(tmp_path / "a.jsonl"))


def test_a_dataset_of_the_hub_is_streamed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    asked = []

    def load(name: str, **options: Any) -> Any:
        asked.append((name, options))
        if name == "you/absent":
            raise ValueError("no such dataset\nwith details")
        return iter(shepherd_rows(5))

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert convert("peiyi9979/Math-Shepherd", tmp_path / "a.jsonl", "labels", split="test")["written"] == 5
    assert asked == [("peiyi9979/Math-Shepherd", {"split": "test", "streaming": True})]
    with pytest.raises(
        DataError, match=r"you/absent: datasets could not load its split 'train' \(ValueError: no such"
    ):
        convert("you/absent", tmp_path / "b.jsonl", "labels")
