"""A finished run is left alone, no other run replaces it unasked, and two runs do not share a directory."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.inputs import read_inputs

from prm.errors import ConfigError
from prm.fingerprint import fingerprint
from prm.jsonl import write_jsonl
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason
from prm.worlds.models import embedded_model


def test_a_finished_run_is_read_back_and_no_other_run_replaces_it_unasked(
    tiny_models: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"num_problems": 4, "n": 4, "beam_width": 2, "num_iterations": 3, "max_new_tokens": 12, "report": False}
    chosen = EvalConfig(
        output_dir=str(tmp_path),
        model_name_or_path=tiny_models.generator,
        prm_path=[f"tiny={tiny_models.verifier}"],
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a random model writes no separator and no answer
        first = run_eval(chosen)
        before, table = contents(tmp_path), capsys.readouterr().out
        second = run_eval(replace(chosen, num_workers=2, max_batch_tokens=999, overwrite=True))
        assert contents(tmp_path) == before
        assert capsys.readouterr().out == f"already finished: {tmp_path}\n{table}"
        assert replace(second, verifiers=first.verifiers) == first  # tuples come back as lists
        run_eval(replace(chosen, report=True))
        new = {path.name for path in contents(tmp_path).keys() - before.keys()}
        assert new == {"report.html", "accuracy.svg"}
        with pytest.raises(ConfigError, match=r"finished run with n=4, and this one has 2; .*--overwrite true"):
            run_eval(replace(chosen, n=2))
        assert set(contents(tmp_path).items()) >= set(before.items())
        run_eval(replace(chosen, n=2, overwrite=True))
    after = contents(tmp_path)
    changed = {path.name for path in before if before[path] != after[path]}
    # The store only grew.
    assert changed == {"config.json", "results.json", "results.jsonl", "samples.jsonl", "per_problem.jsonl"}
    stages = {path.name.rsplit("-", 1)[0] for path in before}
    assert stages >= {"samples", "greedy", "scores-tiny", "beam_search-4-tiny"}


@pytest.mark.parametrize("recorded", [False, True])
def test_nothing_of_one_dtype_is_taken_for_anothers(
    tiny_models: SimpleNamespace, tmp_path: Path, recorded: bool
) -> None:
    steps, gaps = ("1+1=2", "A: 2"), ("", "\n", "")
    one = Rollout(Problem("1+1", "2", "a"), steps, gaps, 0, StopReason.EOS, "s", "2", Outcome.CORRECT)
    write_jsonl(tmp_path / "rollouts.jsonl", [one.to_dict(), replace(one, sample_index=1).to_dict()])
    samples = {"rollouts": str(tmp_path / "rollouts.jsonl")} if recorded else {"num_problems": 1}
    chosen = EvalConfig(
        output_dir=str(tmp_path / "out"),
        model_name_or_path=None if recorded else tiny_models.generator,
        prm_path=[f"tiny={tiny_models.verifier}"],
        device="cpu",
        **samples,
        **{"n": 2, "beam_width": 2, "num_iterations": 2, "max_new_tokens": 6, "report": False, "overwrite": True},
    )
    files = {}
    for dtype in ("float32", "bfloat16", "auto"):  # the checkpoints' own is float32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_eval(replace(chosen, dtype=dtype))
        files[dtype] = Counter(path.name.rsplit("-", 1)[0] for path in (tmp_path / "out" / "store").iterdir())
    of_models = {"scores-tiny"} if recorded else {"samples", "greedy", "scores-tiny", "beam_search-2-tiny"}
    assert {stage for stage, count in files["bfloat16"].items() if count == 2} >= of_models
    assert set(files["float32"].values()) == {1}
    assert files["auto"] == files["bfloat16"]


def test_a_verifier_is_known_by_its_content_or_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = str(embedded_model("generator"))

    def keys(*prm_path: str) -> dict[str, str]:
        chosen = EvalConfig(str(tmp_path), model_name_or_path=generator, prm_path=list(prm_path), num_problems=1)
        return read_inputs(chosen, {}).verifier_keys

    def download(commit: str) -> None:
        snapshot = str(tmp_path / "snapshots" / commit / "scoring_spec.json")
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name: snapshot)

    directory = embedded_model("base")
    assert keys("zero_shot=embedded:base", f"a={directory}") == dict.fromkeys(
        ("zero_shot", "a"), fingerprint(directory)
    )
    download("0123456789abcdef")
    before = keys("user/model")
    assert before == {"model": "user/model@0123456789ab"}
    download("fedcba9876543210")
    assert keys("user/model") != before
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Mock(side_effect=LocalEntryNotFoundError("offline")))
    assert keys("user/model") == {"model": "user/model"}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_do_not_share_an_output_directory(world: SimpleNamespace, tmp_path: Path) -> None:
    class Nosy(world.Generator):  # type: ignore[name-defined]
        def generate(self, *arguments: Any, **options: Any) -> Any:
            with pytest.raises(ConfigError, match="another process is writing here"):
                run_eval(chosen, generator=self)
            return super().generate(*arguments, **options)

    generator = Nosy(world.careless)
    chosen = EvalConfig(str(tmp_path), model_name_or_path="in memory", n=2, num_problems=2, report=False)
    run_eval(chosen, generator=generator)
    assert generator.calls
