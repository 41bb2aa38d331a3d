"""Shards of one run, and their merge: equal to the undivided run byte for byte, or refused with the reason."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.data import main
from prm.data_gen.merge import MergeConfig, run_merge
from prm.data_gen.shards import Shard, parse_shard, placed_rows, shard_facts, shard_positions

from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.fingerprint import file_hash
from prm.jsonl import write_json, write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason

Row = dict[str, Any]


def rows_of(problems: list[str], sizes: dict[str, int]) -> list[Row]:
    return [{"unique_id": name, "text": f"{name}\u2028 {i}"} for name in problems for i in range(sizes[name])]


def write_stage(folder: Path, rows: list[Row], settings: Row, **report: Any) -> Path:
    """What a stage leaves behind: its data, and its report last."""
    path = folder / "rollouts.jsonl"
    write_jsonl(path, rows)
    cost = {"generated_tokens": len(rows)}
    facts = {"rollouts": len(rows), "cost": cost, "settings": settings, "data_hash": file_hash(path), **report}
    write_json(folder / "rollout_report.json", facts)
    return path


def write_shards(folder: Path, problems: list[str], sizes: dict[str, int], count: int) -> list[Path]:
    """The files of all shards, made as `prm rollout --shard i/n` makes them."""
    paths = []
    for index in range(1, count + 1):
        shard = Shard(index, count)
        positions = shard_positions(problems, shard, str)
        own = [problems[position] for position in positions]
        facts = shard_facts(shard, positions, len(problems), [sizes[name] for name in own])
        settings = {"n": 4, "shard": str(shard), "problems_hash": "abc"}
        report = {"shard": facts, "problems": len(own)}
        paths.append(write_stage(folder / f"shard-{index}", rows_of(own, sizes), settings, **report))
    return paths


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    problems = [f"p{i}" for i in range(10)]
    return write_shards(tmp_path, problems, dict.fromkeys(problems, 4), 3)


def merge(paths: list[Path], output: Path, **options: Any) -> Row:
    return run_merge(MergeConfig(input_paths=[str(path) for path in paths], output_path=str(output), **options))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "1/2/3", "-1/2", "1.0/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not i/n with 1 <= i <= n"):
        parse_shard(text)


def test_shards_are_read_and_written_alike() -> None:
    assert parse_shard("") is None
    assert parse_shard("2/8") == Shard(2, 8)
    assert str(Shard(2, 8)) == "2/8"


def test_shards_keep_problems_whole_are_balanced_and_move_nothing_when_problems_are_added() -> None:
    draw = random.Random(0)
    rollouts = [f"p{draw.randrange(50)}" for _ in range(400)]  # of 50 problems, in any order
    parts = [shard_positions(rollouts, Shard(i, 7), str) for i in range(1, 8)]
    assert sorted(position for part in parts for position in part) == list(range(400))
    owners = [{rollouts[position] for position in part} for part in parts]
    assert sum(map(len, owners)) == 50 == len(set().union(*owners))
    assert {len(problems) for problems in owners} == {7, 8}
    longer = [*rollouts, *(f"q{i}" for i in range(30))]
    for i, part in enumerate(parts, start=1):
        assert shard_positions(longer, Shard(i, 7), str)[: len(part)] == part
    assert shard_positions(rollouts, None, str) == list(range(400))


def test_the_facts_of_a_shard_are_short_and_give_every_place_back() -> None:
    draw = random.Random(1)
    for _ in range(200):
        positions = sorted(draw.sample(range(60), draw.randrange(0, 40)))
        rows = [draw.randrange(3) for _ in positions]
        facts = json.loads(json.dumps(shard_facts(Shard(1, 2), positions, 60, rows)))
        assert placed_rows(facts) == list(zip(positions, rows, strict=True))
    assert shard_facts(Shard(2, 8), range(1, 100_000, 8), 100_000)["positions"] == [[1, 8, 12_500]]
    blocks = [8 * block + i for block in range(1000) for i in range(4)]
    assert len(shard_facts(Shard(1, 2), blocks, 8000)["positions"]) == 1000


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_merged_shards_are_the_undivided_run(tmp_path: Path, count: int) -> None:
    draw = random.Random(count)
    problems = [f"p{i}" for i in range(10)]  # with 12 shards two have nothing to do
    sizes = {name: draw.randrange(4) for name in problems}
    paths = write_shards(tmp_path, problems, sizes, count)
    draw.shuffle(paths)
    report = merge(paths, tmp_path / "all" / "rollouts.jsonl")
    write_jsonl(tmp_path / "whole.jsonl", rows_of(problems, sizes))
    assert (tmp_path / "all" / "rollouts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert report == json.loads((tmp_path / "all" / "rollout_report.json").read_text())
    assert report["data_hash"] == file_hash(tmp_path / "whole.jsonl")
    assert (report["problems"], report["rollouts"]) == (10, sum(sizes.values()))
    assert report["cost"] == {"generated_tokens": sum(sizes.values())}
    assert report["settings"] == {"n": 4, "problems_hash": "abc", "shard": f"all {count} merged"}


def test_the_command_merges_and_does_nothing_the_second_time(
    shards: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "all" / "rollouts.jsonl"
    arguments = ["merge", "--input_paths", *map(str, shards), "--output_path", str(output)]
    main(arguments)
    assert capsys.readouterr().out == f"3 shards merged: 10 problems, 40 rollouts\nwritten: {output}\n"
    main(arguments)
    assert f"already finished: {output}" in capsys.readouterr().out
    output.write_text("{}\n")
    with pytest.raises(ConfigError, match="holds another run; give another --output_path, or --overwrite true"):
        main(arguments)
    main([*arguments, "--overwrite", "true"])
    assert len(output.read_bytes().split(b"\n")) == 41


def edit_report(path: Path, **changes: Any) -> None:
    report = json.loads((path.parent / "rollout_report.json").read_text())
    for name, value in changes.items():
        report[name] = {**report[name], **value} if isinstance(value, dict) else value
    write_json(path.parent / "rollout_report.json", report)


def test_a_missing_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="of 3 shards, missing: 2; give all of them"):
        merge([shards[0], shards[2]], tmp_path / "all" / "rollouts.jsonl")
    assert not (tmp_path / "all").exists()


def test_a_double_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("rollouts.jsonl", "rollout_report.json"):
        (copy / name).write_bytes((shards[0].parent / name).read_bytes())
    with pytest.raises(ConfigError, match=r"shard 1/3 is double: .*shard-1/rollouts.jsonl and .*copy/rollouts.jsonl"):
        merge([*shards, copy / "rollouts.jsonl"], tmp_path / "all" / "rollouts.jsonl")
    with pytest.raises(ConfigError, match="is given twice"):
        merge([*shards, shards[0]], tmp_path / "all" / "rollouts.jsonl")


def test_shards_of_other_settings_are_refused(shards: list[Path], tmp_path: Path) -> None:
    edit_report(shards[1], settings={"n": 8})
    with pytest.raises(ConfigError, match=r"was made with n=4 and .*shard-2/rollouts.jsonl with 8"):
        merge(shards, tmp_path / "all" / "rollouts.jsonl")


def test_shards_of_other_divisions_are_refused(shards: list[Path], tmp_path: Path) -> None:
    edit_report(shards[1], settings={"shard": "2/4"}, shard={"count": 4})
    with pytest.raises(ConfigError, match=r"is one of 3 shards and .* one of 4"):
        merge(shards, tmp_path / "all" / "rollouts.jsonl")


def test_shards_that_leave_an_item_out_are_refused(shards: list[Path], tmp_path: Path) -> None:
    edit_report(shards[2], shard={"positions": [[2, 3, 2]], "rows": 4})
    with pytest.raises(ConfigError, match="do not make up one run"):
        merge(shards, tmp_path / "all" / "rollouts.jsonl")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        ("unfinished", MissingFileError, "unfinished: no rollout_report.json beside it"),
        ("changed", DataError, "changed since its report was written"),
        ("undivided", DataError, "not a shard: it was made without --shard"),
        ("broken", DataError, "not a report of a stage"),
        ("short", DataError, "fewer lines than its report says"),
        ("long", DataError, "more lines than its report says"),
        ("damaged facts", DataError, "not a report of a stage"),
        ("at odds", DataError, "its settings and its shard are at odds"),
    ],
)
def test_a_shard_that_is_not_whole_is_refused_and_nothing_is_written(
    shards: list[Path], tmp_path: Path, damage: str, error: type[PrmError], message: str
) -> None:
    path = shards[1]
    report = path.parent / "rollout_report.json"
    lines = path.read_text().split("\n")[:-1]
    if damage == "unfinished":
        report.unlink()
    elif damage == "changed":
        path.write_text("\n".join(lines[:-1]) + "\n")
    elif damage == "undivided":
        edit_report(path, settings={"shard": ""})
    elif damage == "broken":
        report.write_text("{")
    elif damage == "damaged facts":
        edit_report(path, shard={"positions": [[0, 3]]})
    elif damage == "at odds":
        edit_report(path, settings={"shard": "3/3"})
    else:
        kept = lines[:-1] if damage == "short" else [*lines, "{}"]
        path.write_text("\n".join(kept) + "\n")
        edit_report(path, data_hash=file_hash(path))
    with pytest.raises(error, match=message):
        merge(shards, tmp_path / "all" / "rollouts.jsonl")
    assert not (tmp_path / "all" / "rollouts.jsonl").exists()


def test_outputs_that_would_harm_a_shard_are_refused(shards: list[Path], tmp_path: Path) -> None:
    for output, message in {
        shards[0]: "is an input",
        shards[0].parent / "all.jsonl": "is a shard's directory",
        tmp_path / "all.parquet": "give a .jsonl",
    }.items():
        with pytest.raises(ConfigError, match=message):
            merge(shards, output)
    write_jsonl(tmp_path / "rows.jsonl", [])
    with pytest.raises(DataError, match=r"neither file of a stage. Give the shards' labels.jsonl or rollouts.jsonl"):
        merge([tmp_path / "rows.jsonl"], tmp_path / "all" / "rows.jsonl")


def labelled(problem: str, index: int) -> Row:
    rollout = Rollout(Problem("1+1", "2", problem), ("2",), ("", ""), index, StopReason.EOS, "t", "2", Outcome.CORRECT)
    return LabelledRollout(rollout, (StepLabel("t", value=1.0),)).to_dict()


def test_labels_are_merged_in_the_order_of_their_rollouts(tmp_path: Path) -> None:
    """Rollouts of several problems may stand in any order; each labelled one is an item of its own."""
    draw = random.Random(3)
    rollouts = [labelled(f"p{draw.randrange(6)}", i) for i in range(40)]
    paths = []
    for index in (1, 2, 3):
        shard = Shard(index, 3)
        positions = shard_positions(rollouts, shard, lambda row: row["unique_id"])
        path = tmp_path / f"shard-{index}" / "labels.jsonl"
        write_jsonl(path, (rollouts[position] for position in positions))
        facts = {"settings": {"shard": str(shard)}, "shard": shard_facts(shard, positions, 40)}
        facts |= {"data_hash": file_hash(path), "step_labels": len(positions), "rollouts": len(positions)}
        write_json(path.parent / "label_report.json", facts)
        paths.append(path)
    report = merge(paths, tmp_path / "labels.jsonl")
    assert [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()] == rollouts
    assert (report["step_labels"], report["rollouts"]) == (40, 40)
    assert (tmp_path / "label_report.json").is_file()


STAND_INS = {
    "vllm": 'echo "vllm $*" >> "$LOG.vllm"; exec sleep 60',
    "curl": 'echo "curl $*" >> "$LOG.curl"; [ "$(grep -c ^curl "$LOG.curl")" -gt 1 ] && [ -s "$LOG.vllm" ]',
    "sleep": 'if [ "$1" = 60 ]; then exec /bin/sleep 60; fi',
    "prm": 'for argument in prm "$@"; do echo "$argument" >> "$LOG.prm"; done',
}


@pytest.mark.parametrize(("stage", "shards", "count"), [("rollout", "", "8"), ("label", "16", "16")])
def test_the_slurm_recipe_asks_for_its_part(tmp_path: Path, stage: str, shards: str, count: str) -> None:
    """The script runs with stand-ins for vLLM, curl and prm: it waits for its server, asks for its shard, and ends its
    server."""
    script = Path(__file__).resolve().parents[2] / "recipes" / "slurm_shards" / "shard.sbatch"
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_JOB_ID": "1234567"}
    slurm |= {
        "SLURM_GPUS_ON_NODE": "4",
        "RUNS": str(tmp_path / "runs"),
        "LOG": str(tmp_path / "log"),
        "SHARDS": shards,
    }
    path = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(["bash", str(script), stage], env={**slurm, "PATH": path}, check=True, timeout=50)
    [served] = (tmp_path / "log.vllm").read_text().splitlines()
    waited = (tmp_path / "log.curl").read_text().splitlines()
    assert served.startswith("vllm serve Qwen/Qwen2.5-Math-1.5B-Instruct --port 24567 --data-parallel-size 4")
    assert len(waited) >= 2 and waited[0].endswith("http://127.0.0.1:24567/health")
    asked = (tmp_path / "log.prm").read_text().splitlines()
    assert asked[:4] == ["prm", stage, "--config", f"recipes/slurm_shards/{stage}.yaml"]
    options = dict(zip(asked[4::2], asked[5::2], strict=True))
    assert options["--shard"] == f"3/{count}"
    assert options["--endpoint_urls"] == "http://127.0.0.1:24567/v1"
    assert options["--output_dir"] == f"{tmp_path / 'runs'}/{stage}s/shard-3"
