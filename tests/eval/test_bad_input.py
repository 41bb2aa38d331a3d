"""What goes wrong in an evaluation says what it is, loses nothing, and stops the run only where it has to."""

from __future__ import annotations

import json
import random
import re
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, main, run_eval

from prm.config import run_main
from prm.jsonl import write_jsonl
from prm.rollouts import Rollout, StopReason
from prm.step_format import StepFormat


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"model_name_or_path": "in memory", "num_problems": 4, "n": 4, "max_new_tokens": 100, "report": False}
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


def test_an_empty_completion_neither_votes_nor_stops_the_run(world: SimpleNamespace, tmp_path: Path) -> None:
    def sometimes_silent(problem: str, text: str, rng: random.Random) -> str:
        return "" if rng.random() < 0.5 else world.careless(problem, text, rng)

    generator, verifier = world.Generator(sometimes_silent), world.Verifier(world.truth)
    result = run_eval(config(tmp_path), verifiers={"prm": verifier}, generator=generator)
    silent = result.counts["no_answer"]
    assert 0 < silent < result.counts["samples"]
    assert f"prm could not read {silent} samples (no step in them" in result.notes[0]
    assert all(steps for _, steps in verifier.read)
    assert result.find("best_of_n", 4, "prm").accuracy.mean == result.find("pass_at_n", 4).accuracy.mean > 0


def test_samples_without_any_answer_are_said_and_score_nothing(world: SimpleNamespace, tmp_path: Path) -> None:
    generator = world.Generator(lambda problem, text, rng: "I do not know\nwhat to say")
    with pytest.warns(UserWarning, match="none of the first 4 samples has an answer that could be extracted"):
        result = run_eval(config(tmp_path), verifiers={"prm": world.Verifier(world.truth)}, generator=generator)
    assert {line.accuracy.mean for line in result.methods} == {0.0}
    assert any("no sample has an answer" in note for note in result.notes)


def one_line(world: SimpleNamespace) -> Any:
    """A generator without a line break."""

    def solve(problem: str, text: str, rng: random.Random) -> str:
        return str(world.careless(problem, text.replace("; ", "\n"), rng).replace("\n", "; "))

    return world.Generator(solve)


@pytest.mark.parametrize("approach", ["best_of_n", "beam_search"])
@pytest.mark.parametrize("stop", [[], ["="]])
def test_a_step_format_that_the_generator_never_produces_is_said_at_the_first_batch(
    world: SimpleNamespace, tmp_path: Path, approach: str, stop: list[str]
) -> None:
    generator = world.Generator(world.careless) if stop else one_line(world)
    chosen = config(tmp_path, approach=[approach], num_problems=64, n=8, stop=stop)
    words = (
        r"32 of the first 32 solutions \(100.0%\) have no step separator '\\n' of prm in them.*Check the generator's"
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=words)
        with pytest.raises(UserWarning, match=words):
            run_eval(chosen, verifiers={"prm": world.Verifier(world.truth)}, generator=generator)
    assert len(generator.requests) == 32  # of 512


def test_the_first_batch_is_looked_at_once_for_all_verifiers(world: SimpleNamespace, tmp_path: Path) -> None:
    def judge(problem: str, steps: Any) -> list[float]:
        return [0.5] * len(steps)

    semicolon = replace(world.Verifier(judge).spec, step_format=StepFormat(step_separator="; "))
    verifiers = {
        **{name: world.Verifier(judge, name=name) for name in ("one", "other")},
        "orm": world.Verifier(judge, spec=world.orm),
        "semicolon": world.Verifier(judge, spec=semicolon),
    }
    chosen = config(tmp_path, approach=["best_of_n", "beam_search", "dvts"], num_problems=16, seeds=[0, 1])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run_eval(chosen, verifiers=verifiers, generator=one_line(world))
    (said,) = [str(one.message) for one in caught if "step separator" in str(one.message)]
    assert "of one, other in them" in said


def test_steps_that_a_file_has_need_no_separator(world: SimpleNamespace, tmp_path: Path) -> None:
    """Sentences may be steps; what a verifier reads of a file is as it was split."""
    problem = world.problem("1+1", "2")
    for name, steps, warned in (("split", ("One and one.", "A: 2"), 0), ("whole", ("One and one. A: 2",), 1)):
        rows = [Rollout(problem, steps, ("", *[" "] * len(steps)), i, StopReason.EOS, "s").to_dict() for i in (0, 1)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
        chosen = EvalConfig(
            output_dir=str(tmp_path / name), rollouts=str(tmp_path / f"{name}.jsonl"), n=2, report=False
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run_eval(chosen, verifiers={"prm": world.Verifier(lambda problem, steps: [0.5] * len(steps))})
        assert sum("step separator" in str(one.message) for one in caught) == warned


def test_no_answer_is_said_at_the_first_batch(world: SimpleNamespace, tmp_path: Path) -> None:
    generator = world.Generator(lambda problem, text, rng: "I do not know\nwhat to say")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="none of the first 32 samples")
        with pytest.raises(UserWarning):
            chosen = config(tmp_path, approach=["adaptive_consistency"], num_problems=64, n=8)
            run_eval(chosen, generator=generator)
    assert len(generator.requests) == 32


def test_contexts_that_overflow_are_truncated_solutions(tiny_models: SimpleNamespace, tmp_path: Path) -> None:
    """The tiny generator reads 256 tokens; one prompt fills them, another leaves no room for a solution."""
    problems = [{"unique_id": str(size), "problem": "1+" * (size // 2), "answer": "1"} for size in (20, 250, 600)]
    write_jsonl(tmp_path / "problems.jsonl", problems)
    chosen = EvalConfig(
        output_dir=str(tmp_path / "run"),
        dataset_name=str(tmp_path / "problems.jsonl"),
        model_name_or_path=tiny_models.generator,
        prm_path=[f"tiny={tiny_models.verifier}"],
        device="cpu",
        **{"n": 2, "beam_width": 2, "num_iterations": 2, "max_new_tokens": 16, "report": False},
    )
    with pytest.warns(UserWarning):
        result = run_eval(chosen)
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert rows[2]["stop_reasons"] == ["length", "length"] and rows[2]["completions"] == ["", ""]
    cut = result.counts["truncated"]
    (note,) = [note for note in result.notes if "truncated" in note]
    assert note.startswith(f"{cut} of 6 samples (") and "%) are truncated: they have no answer" in note
    at_limit, beyond = map(int, re.findall(r"(\d+) (?:ended at max_new_tokens=16|ran out of the generator's)", note))
    assert at_limit + beyond == cut and beyond >= 2


def test_few_truncated_samples_are_counted_and_not_noted(world: SimpleNamespace, tmp_path: Path) -> None:
    """One of the 128 goes on for ever."""
    drawn = iter(range(128))

    def once_endless(problem: str, text: str, rng: random.Random) -> str:
        return "1" * 200 if next(drawn) == 7 else world.careless(problem, text, rng)

    chosen = config(tmp_path, n=32, approach=["adaptive_consistency"])
    result = run_eval(chosen, generator=world.Generator(once_endless))
    assert result.counts["truncated"] == 1 and not any("truncated" in note for note in result.notes)


def test_bad_input_is_one_message_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "run" / "store"
    store.mkdir(parents=True)
    (store / "samples-0123456789ab.jsonl").write_text('{"key": "a", "rollouts": []}\n')
    model = ["--model_name_or_path", "embedded:generator", "--num_problems", "2"]
    for arguments, words in (
        ([*model, "--output_dir", str(tmp_path / "run")], "is a sample store of version 1"),
        (["--from", str(tmp_path / "nowhere")], "no run of prm eval is there"),
        (
            [
                *model,
                "--output_dir",
                str(tmp_path / "a"),
                "--n",
                "6",
                "--approach",
                "beam_search",
                "--prm_path",
                "embedded:base",
            ],
            "n=6 is not divisible by beam_width=4",
        ),
        ([*model, "--output_dir", str(tmp_path / "a"), "--prm_path", "http://host:1"], "needs its scoring spec"),
    ):
        monkeypatch.setattr(sys, "argv", ["prm eval", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_main(main)
        said = capsys.readouterr().err
        said = said.splitlines()[-1]  # behind the bars of loading
        assert stop.value.code == 2 and said.startswith("error: ") and words in said
