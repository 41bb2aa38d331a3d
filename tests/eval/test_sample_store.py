"""The store: nothing is asked for twice, and a kill loses at most what was not written yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval import sample_store
from prm.eval.sample_store import SampleStore, problem_key

from prm.errors import DataError


class Work:
    """Makes one row for each problem, and dies after a number of calls."""

    def __init__(self, lives: int = 99):
        self.asked: list[int] = []
        self.lives = lives

    def __call__(self, indices: Sequence[int], advance: Any) -> list[dict[str, Any]]:
        if not self.lives:
            raise KeyboardInterrupt
        self.lives -= 1
        self.asked += indices
        return [{"value": index} for index in indices]


def complete(store: SampleStore, problems: Sequence[Any], work: Work, **settings: Any) -> list[dict[str, Any]]:
    return store.complete("stage", settings, problems, work, label="stage", solutions=1)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_store, "SOLUTIONS_PER_CHUNK", 2)


def test_a_killed_run_goes_on_and_a_finished_one_asks_nobody(world: SimpleNamespace, tmp_path: Path) -> None:
    problems, store = world.problems(7), SampleStore(tmp_path)
    killed = Work(lives=2)
    with pytest.raises(KeyboardInterrupt):
        complete(store, problems, killed)
    resumed = Work()
    rows = complete(store, problems, resumed)
    assert (killed.asked, resumed.asked) == ([0, 1, 2], [3, 4, 5, 6])
    assert [row["value"] for row in rows] == list(range(7))
    idle = Work()
    assert complete(store, problems, idle) == rows
    assert not idle.asked


def test_the_first_rows_come_early_where_they_are_wanted_early(
    world: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_store, "SOLUTIONS_PER_CHUNK", 2048)
    for problems, sizes in ((120, [8, 22, 30, 30, 30]), (20, [5, 5, 5, 5])):
        told: list[int] = []
        SampleStore(tmp_path / str(problems)).complete(
            *("stage", {}, world.problems(problems), Work()),
            **{"label": "stage", "solutions": 1, "early": True},
            tell=lambda tally, indices, rows, told=told: told.append(len(indices)),
        )
        assert told == sizes


def test_a_half_written_line_is_asked_for_again(world: SimpleNamespace, tmp_path: Path) -> None:
    problems, store = world.problems(4), SampleStore(tmp_path)
    rows = complete(store, problems, Work())
    path = store.file("stage", {}).path
    path.write_bytes(path.read_bytes()[:-5])
    again = Work()
    assert complete(store, problems, again) == rows
    assert again.asked == [3]
    assert len(path.read_text().splitlines()) == 4


def test_other_settings_and_corrected_problems_are_asked_for_anew(world: SimpleNamespace, tmp_path: Path) -> None:
    problems, store = world.problems(3), SampleStore(tmp_path)
    complete(store, problems, Work(), seed=0)
    other, more, corrected = Work(), Work(), Work()
    complete(store, problems, other, seed=1)
    complete(store, world.problems(4), more, seed=0)
    complete(store, [replace(problems[0], answer="77"), *problems[1:]], corrected, seed=0)
    assert (other.asked, more.asked, corrected.asked) == ([0, 1, 2], [3], [0])


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_separator_within_a_text_ends_no_row(tmp_path: Path, separator: str) -> None:
    file = SampleStore(tmp_path).file("stage", {})
    rows = [{"key": "a", "text": f"one{separator}two"}, {"key": "b", "text": separator}]
    file.append(rows)
    assert list(file.read().values()) == rows


def test_a_damaged_line_is_named(world: SimpleNamespace, tmp_path: Path) -> None:
    problems, store = world.problems(2), SampleStore(tmp_path)
    complete(store, problems, Work())
    path = store.file("stage", {}).path
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(DataError, match="line 1: not a row of the sample store"):
        complete(store, problems, Work())


def test_a_corrected_answer_is_another_problem() -> None:
    assert problem_key(SimpleNamespace(unique_id="a", problem="p", answer="1")) != problem_key(
        SimpleNamespace(unique_id="a", problem="p", answer="2")
    )
