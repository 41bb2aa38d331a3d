"""`prm status`: what it says of unfinished, running and finished runs, and that it disturbs none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.ledger_tally import is_held, tally_ledger
from prm.data_gen.stage import Plan, StageOutput
from prm.data_gen.status import main, stage_status, status_of

from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.jsonl import write_json
from prm.ledger import Ledger

SETTINGS: dict[str, Any] = {"labeler": "monte_carlo", "model_name_or_path": "m", "rollouts_path": "rollouts.jsonl"}


def sample(tokens: int = 5, reason: str = "eos", **more: Any) -> dict[str, Any]:
    ids = list(range(tokens))
    return {"token_ids": ids, "text": "x", "stop_reason": reason, "prefilled": 3, "cached": 2, **more}


def verdict(outcome: str | None) -> dict[str, Any]:
    return {"pred": "1", "outcome": outcome}


def output(directory: Path, requests: int | None = 10, exact: bool = True, **settings: Any) -> StageOutput:
    plan = Plan("rollouts", 4, requests, exact)
    return StageOutput(directory, "label", SETTINGS | settings, plan=plan)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run of 10 requests that was killed after 4, within a line."""
    output(tmp_path).note_start()
    with Ledger(tmp_path / "label_ledger.jsonl") as ledger:
        ledger.append({"a": sample(), "b": sample(7, "length")}, seconds=2.0)
        ledger.append({"c": sample(generated=9), "d": sample()}, seconds=3.0)
        ledger.append({"e": verdict("correct"), "f": verdict(None)})
    with (tmp_path / "label_ledger.jsonl").open("ab") as stream:
        stream.write(b'{"key": "g", "token_ids": [1, 2')
    return tmp_path


def test_a_killed_run_is_counted_up_to_its_last_whole_batch_and_left_as_it_is(killed: Path) -> None:
    before = (killed / "label_ledger.jsonl").read_bytes()
    [run] = status_of(killed)
    assert (run.stage, run.state) == ("label", "stopped")
    expected = {"requests": 4, "left": 6, "completions": 4, "verdicts": 2}
    expected |= {"generated": 26, "prefilled": 12, "cached": 8, "seconds": 5.0}
    assert {name: run.facts[name] for name in expected} == expected
    text = str(run)
    assert "4 requests of 10 (40.0%)" in text and "25.0% cut off" in text and "an unfinished batch" in text
    assert "6 requests, about 7.5\xa0s" in text  # at 4 requests in 5 s
    assert (killed / "label_ledger.jsonl").read_bytes() == before


def test_a_run_that_writes_is_running_and_is_not_disturbed(killed: Path) -> None:
    with Ledger(killed / "label_ledger.jsonl") as ledger:  # which drops the torn line
        assert is_held(killed / "label_ledger.jsonl")
        assert stage_status(killed, "label").state == "running"
        ledger.append({"g": sample()}, seconds=1.0)
        assert stage_status(killed, "label").facts["left"] == 5
    assert stage_status(killed, "label").state == "stopped"
    assert is_held(killed / "absent.jsonl") is False


def test_a_batch_that_is_being_written_does_not_count_yet(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(json.dumps({"key": "a", **sample()}) + "\n")
    assert (tally_ledger(path).completions, tally_ledger(path).open_bytes) == (0, path.stat().st_size)
    with path.open("a") as stream:
        stream.write('{"batch": 1, "seconds": 1.5}\n')
    assert (tally_ledger(path).completions, tally_ledger(path).open_bytes) == (1, 0)
    assert tally_ledger(tmp_path / "absent.jsonl").requests == 0


def test_the_rate_of_now_is_that_of_the_last_minute(tmp_path: Path) -> None:
    with Ledger(tmp_path / "l.jsonl") as ledger:
        ledger.append({"slow": sample(10)}, seconds=100.0)
        for index in range(4):
            ledger.append({f"fast{index}": sample(10), f"more{index}": sample(10)}, seconds=20.0)
    assert tally_ledger(tmp_path / "l.jsonl").recent == (6, 60, 60.0)


def test_a_judges_votes_are_requests_too(tmp_path: Path) -> None:
    vote = {"text": "{}", "refusal": "", "finish_reason": "stop", "generated": 40, "prefilled": 9, "cached": 1}
    with Ledger(tmp_path / "l.jsonl") as ledger:
        ledger.append({"v": vote}, seconds=1.0)
    tally = tally_ledger(tmp_path / "l.jsonl")
    assert (tally.votes, tally.requests, tally.generated) == (1, 1, 40)


def test_samples_of_other_settings_are_not_taken_for_the_runs_own(killed: Path) -> None:
    output(killed).note_start()
    assert stage_status(killed, "label").facts["requests"] == 4
    output(killed, rule="interval").note_start()  # the same samples, looked at in another way
    assert stage_status(killed, "label").facts["requests"] == 4
    output(killed, temperature=0.5).note_start()
    assert stage_status(killed, "label").facts["requests"] == 0
    output(killed, temperature=0.5).note_start()  # after a kill
    assert stage_status(killed, "label").facts["left"] == 10
    with Ledger(killed / "label_ledger.jsonl") as ledger:
        output(killed, temperature=0.5).note_start()  # again, where the torn line is gone
        ledger.append({"z": sample(100)}, seconds=4.0)
    run = stage_status(killed, "label")
    expected = {"requests": 1, "left": 9, "generated": 100, "prefilled": 3, "verdicts": 0, "seconds": 4.0}
    assert {name: run.facts[name] for name in expected} == expected
    assert "cut off" not in str(run) and "25 tokens/s" in str(run)


def test_a_bound_is_called_one(killed: Path) -> None:
    output(killed, exact=False).note_start()
    assert "of at most 10" in str(stage_status(killed, "label"))
    output(killed, requests=None).note_start()
    assert stage_status(killed, "label").facts["left"] is None


def test_a_finished_run_shows_what_came_out(killed: Path) -> None:
    (killed / "labels.jsonl").write_text("")
    report = {"settings": SETTINGS, "step_labels": 20, "tokens_per_label": 1.3, "data_hash": "0"}
    write_json(killed / "label_report.json", report)
    run = stage_status(killed, "label")
    assert run.state == "finished"
    assert "20 step labels at 1.3 generated tokens each, 4.0 labels/s" in str(run)
    write_json(killed / "label_report.json", report | {"distinct_labels": 4, "tokens_per_distinct_label": 6.5})
    run = stage_status(killed, "label")
    assert "at 1.3 generated tokens each; they are of 4 distinct prefixes, 6.5 each, 4.0 labels/s" in str(run)
    output(killed, temperature=0.5).note_start()  # another run has begun since
    assert stage_status(killed, "label").state == "stopped"


def test_training_and_evaluation_directories_say_what_they_are(tmp_path: Path) -> None:
    train, checkpoint = tmp_path / "train", tmp_path / "train" / "checkpoint-20"
    write_json(train / "train_settings.json", {})
    assert "no checkpoint yet" in str(status_of(train)[0])
    write_json(checkpoint / "trainer_state.json", {"global_step": 20, "max_steps": 80})
    assert "20 of 80 steps saved" in str(status_of(train)[0])
    write_json(train / "train_metrics.json", {"kind": "prm", "training": {"steps": 80}})
    store = tmp_path / "eval" / "store"
    store.mkdir(parents=True)
    (store / "samples-1.jsonl").write_text("{}\n{}\n")
    evaluation, training = status_of(tmp_path)  # a folder of runs
    assert (training.state, training.facts["steps"]) == ("finished", 80)
    assert evaluation.facts["problems"] == {"samples-1": 2}
    write_json(tmp_path / "eval" / "results.json", {"methods": [{}, {}], "n": 16})
    assert "2 lines of methods, up to n = 16" in str(status_of(tmp_path / "eval")[0])


def test_a_benchmark_says_its_headline_or_how_many_solutions_are_scored(tmp_path: Path) -> None:
    cache = tmp_path / "bench" / "scores" / "scores-x.jsonl"
    cache.parent.mkdir(parents=True)
    cache.write_text('{"key": "a"}\n{"key": "b"}\n{"ke')
    (unfinished,) = status_of(tmp_path / "bench")
    assert "bench, unfinished" in str(unfinished) and "2 solutions scored" in str(unfinished)
    results = {"verifier": "prm", "solutions": 80, "mean_f1": 0.1742}
    write_json(tmp_path / "bench" / "processbench.json", results)
    (finished,) = status_of(tmp_path)
    assert "bench, finished" in str(finished) and "ProcessBench of prm: 17.4% over 80 solutions" in str(finished)


def test_the_command_prints_text_or_json(killed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(killed), str(killed)])
    assert capsys.readouterr().out.count("label, stopped") == 2
    main([str(killed), "--json"])
    assert json.loads(capsys.readouterr().out)["left"] == 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["{tmp}/absent"], MissingFileError, "absent: no such directory"),
        (["{tmp}"], DataError, "no run is in it"),
        ([], ConfigError, "required: DIR"),
        (["{tmp}", "--often"], ConfigError, "unrecognized arguments: --often"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], error: type[PrmError], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        main([argument.format(tmp=tmp_path) for argument in arguments])


def test_a_stopped_run_that_starts_with_other_settings_says_so(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    output(killed).say_changed()
    assert caplog.text == ""
    output(killed, temperature=0.9).say_changed()
    assert "goes on from a stopped run of other settings (temperature: None -> 0.9)" in caplog.text


def test_asking_whether_a_run_is_finished_announces_nothing(killed: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Which is what a dry run asks: nothing is made anew then."""
    (killed / "labels.jsonl").write_text("")
    write_json(killed / "label_report.json", {"settings": SETTINGS, "data_hash": "0"})
    other = dataclasses.replace(output(killed, n=9), overwrite=True)
    assert other.finished_report() is None and caplog.text == ""
    other.say_changed()
    assert "labels.jsonl: made anew with other settings (n: None -> 9)" in caplog.text
