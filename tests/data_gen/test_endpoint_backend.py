"""Stages that sample from model servers: the files of a run through faults and kills are those of a calm one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.options import SamplingOptions
from prm.data_gen.rollout import RolloutConfig, main, run_rollout
from prm.data_gen.rollout_report import rollout_table

from prm.errors import ConfigError
from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout
from prm.rollouts import read_rollouts

SCRIPT = """
import json, sys
from prm.data_gen.rollout import RolloutConfig, run_rollout
run_rollout(RolloutConfig(**json.loads(sys.argv[1])))
"""
FILES = ("rollouts.jsonl", "rollout_report.json")


@pytest.fixture
def options(tokenizer_dir: Path) -> dict[str, Any]:
    return {
        **{"dataset_name": "arithmetic", "num_problems": 16, "n": 4, "max_new_tokens": 80},
        **{"backend": "endpoint", "served_model_name": "scripted", "tokenizer_name_or_path": str(tokenizer_dir)},
        **{
            "splitter": "separator:\n",
            "request_timeout": 1.0,
            "max_concurrency": 8,
            "max_retries": 30,
            "num_parameters": 1000,
        },
    }


def finished_requests(directory: Path) -> int:
    ledger = directory / "rollout_ledger.jsonl"
    return ledger.read_bytes().count(b'"token_ids"') if ledger.exists() else 0


def test_faults_and_a_kill_leave_no_trace_in_the_files(
    scripted_server: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    calm, wild = scripted_server(), scripted_server(fault_share=0.3, delay_s=0.02)
    run_rollout(RolloutConfig(**options, output_dir=str(tmp_path / "calm"), endpoint_urls=[calm.url]))
    assert len(calm.log.answered) == len(set(calm.log.answered)) == 64

    killed = {**options, "endpoint_urls": [wild.url], "max_concurrency": 4, "output_dir": str(tmp_path / "wild")}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, json.dumps(killed)], stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None and finished_requests(tmp_path / "wild") < 15:
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "the stage ended before it could be killed"
    finished = finished_requests(tmp_path / "wild")
    assert not (tmp_path / "wild" / "rollout_report.json").exists()

    time.sleep(0.2)  # what the dead client had asked last is answered to nobody
    first, again = set(wild.log.answered), len(wild.log.answered)
    assert finished <= len(first) == again <= finished + 4
    run_rollout(RolloutConfig(**killed))
    later = wild.log.answered[again:]
    assert len(later) == len(set(later)) == 64 - finished
    assert len(first & set(later)) == len(first) - finished  # none but those under way at the kill
    for name in FILES:
        assert (tmp_path / "wild" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()
    assert set(wild.log.faults) == set(wild.script.faults)
    assert finished_requests(tmp_path / "wild") == 64


def test_labels_through_faults_are_those_of_a_calm_run(
    scripted_server: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    calm, wild = scripted_server(), scripted_server(fault_share=0.3)
    options |= {"endpoint_urls": [calm.url], "num_problems": 4, "n": 2}
    rollouts = run_rollout(RolloutConfig(**options, output_dir=str(tmp_path)))
    names = ("num_problems", "dataset_name", "splitter")
    label = {name: value for name, value in options.items() if name not in names}
    label |= {"rollouts_path": str(rollouts.path), "n": 4}
    for name, server in (("calm", calm), ("wild", wild)):
        server.log.asked.clear()
        server.log.answered.clear()
        run_label(LabelConfig(**label | {"endpoint_urls": [server.url], "output_dir": str(tmp_path / name)}))
        assert len(server.log.answered) == len(set(server.log.answered)) > 60
    assert set(calm.log.answered) == set(wild.log.answered)
    for file in ("labels.jsonl", "label_report.json"):
        assert (tmp_path / "wild" / file).read_bytes() == (tmp_path / "calm" / file).read_bytes()
    assert {label.hard for row in labelled_rows(tmp_path / "calm") for label in row.labels} == {0, 1}


def labelled_rows(directory: Path) -> list[LabelledRollout]:
    return [LabelledRollout.from_dict(row) for _, row in read_jsonl(directory / "labels.jsonl")]


def test_a_finished_run_asks_no_server_and_where_they_are_is_no_setting(
    scripted_server: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    options |= {"output_dir": str(tmp_path), "num_problems": 3}
    server = scripted_server()
    summary = run_rollout(RolloutConfig(**options, endpoint_urls=[server.url]))
    assert {rollout.source for rollout in read_rollouts(summary.path)} == {"scripted"}
    assert summary.report["settings"]["model_revision"] == "served"
    assert server.url not in (tmp_path / "rollout_report.json").read_text()
    server.stop()
    elsewhere = options | {"endpoint_urls": ["http://127.0.0.1:9"], "max_concurrency": 3, "max_retries": 0}
    assert run_rollout(RolloutConfig(**elsewhere)).repeated


def test_flops_that_are_not_known_are_not_told_as_none(
    scripted_server: Callable[..., Any], options: dict[str, Any], tmp_path: Path
) -> None:
    options |= {"output_dir": str(tmp_path), "num_problems": 2, "num_parameters": 0}
    report = run_rollout(RolloutConfig(**options, endpoint_urls=[scripted_server().url])).report
    assert report["cost"]["flops"] == 0 < report["cost"]["generated_tokens"]
    assert "no FLOPs counted (num_parameters is not known)" in rollout_table(report)
    known = {**report, "cost": report["cost"] | {"flops": 1.5e9}}
    assert "1.5e+09 FLOPs" in rollout_table(known)


def test_the_key_is_sent_and_written_nowhere(
    scripted_server: Callable[..., Any], options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = scripted_server(api_key="sk-secret")
    options |= {"output_dir": str(tmp_path), "num_problems": 2, "endpoint_urls": [server.url]}
    monkeypatch.setenv("SCRIPTED_KEY", "sk-secret")
    run_rollout(RolloutConfig(**options, api_key_env="SCRIPTED_KEY"))
    assert len(server.log.answered) == 8
    assert all(b"sk-secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_the_command_line_takes_an_endpoint(
    scripted_server: Callable[..., Any], tokenizer_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            *("--backend", "endpoint", "--endpoint_urls", scripted_server().url, scripted_server().url),
            *("--served_model_name", "scripted", "--tokenizer_name_or_path", str(tokenizer_dir)),
            *("--dataset_name", "arithmetic", "--num_problems", "4", "--n", "2", "--output_dir", str(tmp_path)),
        ]
    )
    assert "8 rollouts of 4 problems" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"endpoint_urls": []}, "missing endpoint_urls"),
        ({"endpoint_urls": ["host:80"]}, "'host:80' is not a server's URL"),
        ({"num_workers": 2}, "num_workers=2 is for the transformers backend"),
        ({"api_key_env": "NOT_SET_ANYWHERE"}, "variable NOT_SET_ANYWHERE is not set: export NOT_SET_ANYWHERE="),
        ({"api_key_env": "sk-1234"}, "takes the name of an environment variable"),
        ({"served_model_name": ""}, "missing model_name_or_path"),
        ({"tokenizer_name_or_path": ""}, "missing tokenizer_name_or_path"),
        ({"max_concurrency": 0}, "max_concurrency must be at least 1"),
        ({"choices_per_request": 0}, "choices_per_request positive"),
        ({"backend": "openai"}, "unknown backend 'openai'; choose from transformers, vllm, endpoint, recorded"),
        ({"backend": "vllm", "model_name_or_path": "m", "num_workers": 3}, "vllm batches by itself"),
    ],
)
def test_options_that_cannot_work_are_refused(
    options: dict[str, Any], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    options |= {"endpoint_urls": ["http://127.0.0.1:9"], "output_dir": str(tmp_path)} | changes
    with pytest.raises(ConfigError, match=message) as raised:
        RolloutConfig(**options).check()
    assert "sk-1234" not in str(raised.value)


def test_imported_solutions_are_rollouts_business_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"choose from transformers, vllm, endpoint$"):
        SamplingOptions(output_dir=str(tmp_path), backend="recorded").check()
