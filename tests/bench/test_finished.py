"""A directory holds one finished run of `prm bench`: the same command finds it, another one is refused, and what is
refused leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.run import main

from prm.errors import ConfigError, DataError


def judge(problem: str, steps: Sequence[str]) -> list[float]:
    return [0.2 if step == "bad" else 0.9 for step in steps]


@pytest.fixture
def files(bench: SimpleNamespace) -> list[str]:
    rows = [bench.solution(["ok", "bad"] if i % 2 else ["ok"], 1 if i % 2 else -1, f"p{i}") for i in range(8)]
    return [bench.write(rows[:4], "gsm8k.json"), bench.write(rows[4:], "math.json")]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_of_other_settings_is_refused_and_nothing_of_the_first_is_lost(
    bench: SimpleNamespace, files: list[str], tmp_path: Path
) -> None:
    out, verifier = tmp_path / "out", bench.Verifier(judge)
    run_bench(BenchConfig(str(out), "x", files), verifier=verifier)
    before = content(out)
    others: list[dict[str, Any]] = [{"files": files[:1]}, {"threshold": 0.3}, {"cross_fit": 2}, {"seed": 1}]
    for change in others:
        name = next(iter(change))
        with pytest.raises(ConfigError, match=rf"holds a finished run with {name}=.*--overwrite true to replace it"):
            run_bench(BenchConfig(str(out), "x", **{"files": files, **change}), verifier=verifier)
    with pytest.raises(ConfigError, match="holds a finished run with verifier="):
        run_bench(BenchConfig(str(out), "x", files), verifier=bench.Verifier(judge, revision="2"))
    Path(files[0]).write_text(Path(files[0]).read_text() + " ")
    with pytest.raises(ConfigError, match=r"with files=\[\['gsm8k.json', '\w{16}'\]"):
        run_bench(BenchConfig(str(out), "x", files), verifier=verifier)
    assert content(out) == before


def test_the_same_command_finds_its_run_finished(
    bench: SimpleNamespace, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, verifier = BenchConfig(str(tmp_path / "out"), "x", files), bench.Verifier(judge)
    first = run_bench(config, verifier=verifier)
    printed, before = capsys.readouterr().out, content(tmp_path / "out")
    assert run_bench(config, verifier=verifier) == first
    assert capsys.readouterr().out == printed
    assert content(tmp_path / "out") == before and len(verifier.read) == 8
    (tmp_path / "out" / "report.html").unlink()
    run_bench(config, verifier=verifier)
    assert content(tmp_path / "out")["report.html"] == before["report.html"]


def test_what_may_be_overwritten_is_and_scores_that_fit_are_used_again(
    bench: SimpleNamespace, files: list[str], tmp_path: Path
) -> None:
    out, verifier = tmp_path / "out", bench.Verifier(judge)
    run_bench(BenchConfig(str(out), "x", files), verifier=verifier)
    found = run_bench(BenchConfig(str(out), "x", files[:1], overwrite=True), verifier=verifier)
    assert list(found["subsets"]) == ["gsm8k"] and len(verifier.read) == 8
    assert json.loads((out / "processbench.json").read_text()) == found
    planted = [{"modified_question": "p", "modified_process": ["ok"], "error_steps": [], "classification": "circular"}]
    other = BenchConfig(str(out), "x", [bench.write(planted, "prmbench.json")], benchmark="prmbench")
    with pytest.raises(ConfigError, match="holds a finished run with benchmark='processbench', and this one has 'prm"):
        run_bench(other, verifier=verifier)
    other.overwrite = True
    run_bench(other, verifier=verifier)
    assert {path.name for path in out.glob("*bench.json*")} == {"prmbench.json", "prmbench.jsonl"}


def test_a_directory_of_a_checkpoint_finds_its_run_without_loading_it(
    tiny_verifier_dir: Callable[..., Path], files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--prm_path", str(tiny_verifier_dir()), "--files", *files, "--device", "cpu"]
    main([*command, "--output_dir", str(tmp_path / "out")])
    monkeypatch.setattr("prm.verifier.Verifier.from_pretrained", None)
    main([*command, "--output_dir", str(tmp_path / "out")])


def test_a_run_that_is_refused_leaves_no_directory(bench: SimpleNamespace, files: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run_bench(BenchConfig(str(tmp_path / "a" / "b"), "x", [bench.write([], "none.json")]))
    with pytest.raises(ConfigError, match="an ORM"):
        run_bench(BenchConfig(str(tmp_path / "a" / "b"), "x", files), verifier=bench.Verifier(judge, spec=bench.orm))
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="nowhere: no directory with"):
        main(["--compare", "nowhere", "--output_dir", str(tmp_path / "board")])
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("options", [{"agg_strategy": "min"}, {"panel": True}])
def test_an_option_that_would_do_nothing_is_refused(options: dict[str, Any]) -> None:
    for benchmark in ("processbench", "prmbench"):
        with pytest.raises(ConfigError, match=f"panel and agg_strategy are best_of_n's; {benchmark} judges steps"):
            BenchConfig("out", "x", ["y"], benchmark=benchmark, **options)
