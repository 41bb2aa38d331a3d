"""`prm bench --compare`: runs beside each other, paired, and beside published numbers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.compare import run_compare
from prm.eval.bench.published import PUBLISHED, SUBSETS

from prm.errors import ConfigError, DataError


def knows(share: float) -> Callable[[str, Sequence[str]], list[float]]:
    """Finds the wrong step of that share of problems, the same ones whatever else is asked."""

    def judge(problem: str, steps: Sequence[str]) -> list[float]:
        found = random.Random(problem).random() < share
        return [0.1 if step == "bad" and found else 0.9 for step in steps]

    return judge


@pytest.fixture
def runs(bench: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    rows = [bench.solution(["ok", "bad"] if i % 2 else ["ok"], 1 if i % 2 else -1, f"p{i}") for i in range(80)]
    path = bench.write(rows, "gsm8k.json")
    for name, share in (("good", 0.9), ("poor", 0.4)):
        verifier = bench.Verifier(knows(share), name=name, revision=name)
        run_bench(BenchConfig(str(tmp_path / name), "in memory", [path]), verifier=verifier)
    return SimpleNamespace(good=str(tmp_path / "good"), poor=str(tmp_path / "poor"))


def compare(tmp_path: Path, entries: Sequence[str], **options: Any) -> Any:
    return run_compare(BenchConfig(str(tmp_path / "board"), compare=list(entries), **options))


def test_runs_are_paired_on_the_same_solutions(runs: SimpleNamespace, tmp_path: Path) -> None:
    board = compare(tmp_path, [runs.poor, runs.good])
    (one,) = board.differences
    good, poor = (json.loads((Path(run) / "processbench.json").read_text()) for run in (runs.good, runs.poor))
    assert one.mean.mean == pytest.approx(good["mean_f1"] - poor["mean_f1"])
    assert (one.first, one.second, one.solutions) == ("poor", "good", 80)
    assert 0 < one.mean.low < one.mean.mean < one.mean.high
    alone = sum(run.mean.high - run.mean.low for run in board.runs)
    assert one.mean.high - one.mean.low < alone  # what both find and what both miss is common to them


def test_a_run_beside_itself_differs_by_nothing(runs: SimpleNamespace, tmp_path: Path) -> None:
    (one,) = compare(tmp_path, [f"a={runs.good}", f"b={runs.good}"]).differences
    assert (one.mean.low, one.mean.mean, one.mean.high) == (0, 0, 0)


def test_published_numbers_stand_beside_and_say_so(
    runs: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(tmp_path, [runs.good, "Qwen/Qwen2.5-Math-PRM-7B"])
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "arXiv 2501.07301, table 7" in page
    table = capsys.readouterr().out
    measured, published, *_ = table.split("\n\n")
    assert measured.startswith("measured here ") and "good " in measured and "Qwen" not in measured
    assert published.startswith("published ") and "good " not in published
    (theirs,) = [line for line in published.splitlines() if line.startswith("Qwen/Qwen2.5-Math-PRM-7B")]
    assert theirs.split()[1:3] == ["82.4%", "73.5%"] and "arXiv 2501.07301, table 7" in theirs
    written = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert {one["benchmark"] for one in written["published"]} == {"processbench"}


def test_a_published_mean_is_that_of_its_subsets() -> None:
    whole = [one for one in PUBLISHED if one.subsets]
    assert len(whole) > 5
    for one in whole:
        assert len(one.subsets) == len(SUBSETS)
        assert sum(one.subsets) / len(SUBSETS) == pytest.approx(one.mean, abs=0.1)


def test_a_verifier_is_run_on_the_files_first(
    runs: SimpleNamespace, tiny_verifier_dir: Callable[..., Path], bench: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [bench.solution(["1+1=2", "1+1=3"], 1, "1+1?"), bench.solution(["1+1=2"], -1, "2?")]
    files = [bench.write(rows, "math.json")]
    board = compare(tmp_path, [f"tiny={tiny_verifier_dir()}"], files=files, device="cpu")
    assert [run.name for run in board.runs] == ["tiny"]
    assert (tmp_path / "board" / "tiny" / "report.html").is_file()


def test_runs_that_read_different_files_are_ranked_by_what_all_read(
    runs: SimpleNamespace, bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The poor verifier has a second file that anyone solves, so that its own mean is above the good one's."""
    easy = [bench.solution(["ok", "bad"] if i % 2 else ["ok"], 1 if i % 2 else -1, f"q{i}") for i in range(40)]
    files = [str(tmp_path / "gsm8k.json"), bench.write(easy, "easy.json")]
    judge = knows(0.4)
    verifier = bench.Verifier(
        lambda problem, steps: (knows(1.0) if problem[0] == "q" else judge)(problem, steps), revision="x"
    )
    run_bench(BenchConfig(str(tmp_path / "wide"), "in memory", files), verifier=verifier)
    board = compare(tmp_path, [f"wide={tmp_path / 'wide'}", runs.good])
    wide, good = board.runs
    assert wide.mean.mean > 0.75 and wide.ranked.mean < good.ranked.mean
    assert (board.common, board.alike, wide.solutions, good.solutions) == (80, False, 120, 80)
    poor = json.loads((Path(runs.poor) / "processbench.json").read_text())
    assert wide.ranked.mean == pytest.approx(poor["mean_f1"])
    printed = capsys.readouterr().out.split("measured here  ")[-1]
    lines = printed.splitlines()
    assert lines[2].startswith("good ") and lines[3].startswith("wide ")
    assert "mean F1 of all it read" in lines[0] and "of the 80 that all read" in lines[0]
    assert "note: The runs read different solutions: they are ranked by the 80 that all of them read." in printed
    assert (
        "good leads: mean F1" in printed and "leads: mean F1" in (tmp_path / "board" / "leaderboard.html").read_text()
    )


def test_only_a_paired_interval_clear_of_zero_makes_a_leader(
    runs: SimpleNamespace, bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "gsm8k.json")
    near = bench.Verifier(knows(0.93), revision="near")
    run_bench(BenchConfig(str(tmp_path / "near"), "in memory", [path]), verifier=near)
    board = compare(tmp_path, [runs.good, str(tmp_path / "near")])
    (one,) = board.differences
    assert one.mean.low <= 0
    said = "No run leads: near has the highest mean F1" if one.mean.mean > 0 else "No run leads: good has the highest"
    printed = capsys.readouterr().out
    assert said in printed and "points on the 80 that both read." in printed
    compare(tmp_path, [runs.good, runs.poor])
    assert "good leads: mean F1" in capsys.readouterr().out
    compare(tmp_path, [runs.good])
    assert "\ngood: mean F1" in capsys.readouterr().out


def test_runs_without_a_solution_in_common_are_in_no_order(
    runs: SimpleNamespace, bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [bench.solution(["ok"], -1, "z"), bench.solution(["bad"], 0, "y")]
    run_bench(
        BenchConfig(str(tmp_path / "other"), "in memory", [bench.write(rows, "else.json")]),
        verifier=bench.Verifier(knows(1.0)),
    )
    board = compare(tmp_path, [runs.poor, str(tmp_path / "other")])
    assert not board.differences and board.common == 0
    printed = capsys.readouterr().out
    assert "No run leads" in printed and "nothing ranks them" in printed


def test_an_entry_that_is_nothing_is_refused(runs: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere: no directory with processbench.json"):
        compare(tmp_path, [runs.good, "nowhere"])
    with pytest.raises(ConfigError, match="two runs are called 'good'"):
        compare(tmp_path, [runs.good, runs.good])
    (Path(runs.poor) / "processbench.json").write_text("{}")
    with pytest.raises(DataError, match="not the results of this version's `prm bench`"):
        compare(tmp_path, [runs.poor])
