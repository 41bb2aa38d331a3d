"""Pairs are read from preference rows or made of graded solutions, each used as evenly as possible."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, DataError
from prm.problems import problem_id
from prm.rows.pairs import (
    holds_pairs,
    interleaved,
    load_pairs,
    pairs_from_columns,
    pairs_from_outcomes,
    single_solutions,
)
from prm.rows.training_rows import StepRow

Row = dict[str, Any]
PAIR = {"prompt": "1+1", "chosen": "It is two.\n\n2", "rejected": "It is three."}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def rows(*rows: Row) -> Path:
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return rows


def solution(problem: str, text: str, outcome: float | None) -> StepRow:
    return StepRow(problem, ("first", text), (None, outcome), problem, "outcome")


@pytest.mark.parametrize(
    ("right", "wrong", "limit"), [(3, 5, 8), (4, 6, 9), (6, 4, 23), (2, 2, 0), (5, 1, 3), (6, 9, 0), (8, 8, 17)]
)
def test_every_solution_stands_in_as_many_pairs_as_any_other_or_one_more(right: int, wrong: int, limit: int) -> None:
    rows = [solution("p", f"r{i}", 1.0) for i in range(right)] + [solution("p", f"w{i}", 0.0) for i in range(wrong)]
    pairs = pairs_from_outcomes(rows, max_pairs_per_problem=limit).rows
    assert len(set(pairs)) == len(pairs) == min(limit or right * wrong, right * wrong)
    for side, count in (("chosen", right), ("rejected", wrong)):
        used = Counter(getattr(pair, side).completions[1] for pair in pairs)
        assert len(used) == min(count, len(pairs)) and max(used.values()) - min(used.values()) <= 1
        assert all(text.startswith("r" if side == "chosen" else "w") for text in used)


def test_pairs_are_of_one_problem_and_follow_the_seed() -> None:
    rows = [solution(f"p{p}", f"{o}{s}", float(o)) for p in range(5) for o in (0, 1) for s in range(4)]
    pairs = [pairs_from_outcomes(rows, max_pairs_per_problem=3, seed=seed).rows for seed in (0, 0, 1)]
    assert pairs[0] == pairs[1] != pairs[2]
    assert all(pair.chosen.group == pair.rejected.group == pair.group for pair in pairs[0])
    assert Counter(pair.group for pair in pairs[0]) == dict.fromkeys((f"p{p}" for p in range(5)), 3)
    assert pairs_from_outcomes(rows[8:], max_pairs_per_problem=3).rows == pairs[0][3:]  # others change nothing


def test_problems_with_one_kind_of_solution_are_left_out_and_counted() -> None:
    rows = [solution("a", "1", 1.0), solution("a", "2", 0.0), solution("b", "1", 1.0), solution("b", "2", 1.0)]
    made = pairs_from_outcomes([*rows, solution("c", "1", 0.0), solution("c", "2", None)])
    assert len(made.rows) == 1
    assert made.dropped == {
        "of a problem with right solutions alone": 2,
        "of a problem with wrong solutions alone": 1,
    }
    with pytest.raises(DataError, match=r"no pair to learn from: no problem with both.*Sample more solutions"):
        pairs_from_outcomes(rows[2:])
    with pytest.raises(ConfigError, match="must not be negative"):
        pairs_from_outcomes(rows, max_pairs_per_problem=-1)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"chosen": ["It is two.", "2"], "rejected": ["It is three."]},
        {
            "prompt": [{"role": "user", "content": "1+1"}],
            "chosen": [{"role": "assistant", "content": PAIR["chosen"]}],
            "rejected": [{"role": "assistant", "content": PAIR["rejected"]}],
        },
    ],
)
def test_preference_rows_are_texts_steps_or_one_turn(write: Callable[..., Path], change: Row) -> None:
    path = write(PAIR | change)
    assert holds_pairs(path)
    (pair,) = load_pairs(path).rows
    assert pair.chosen.completions == ("It is two.", "2") and pair.chosen.labels == (None, 1.0)
    assert pair.rejected.completions == ("It is three.",) and pair.rejected.labels == (0.0,)
    assert (pair.prompt, pair.group, pair.source) == ("1+1", problem_id("1+1"), "preference")
    assert (pair.chosen.path, pair.chosen.line) == (str(path), 1)
    assert interleaved([pair]) == [pair.chosen, pair.rejected]


def test_the_splitter_the_source_and_the_problem_can_be_said(write: Callable[..., Path]) -> None:
    path = write(PAIR | {"chosen": "a\nb", "unique_id": "test/1", "source": "people"})
    (pair,) = load_pairs(path, splitter="line").rows
    assert pair.chosen.completions == ("a", "b") and (pair.group, pair.source) == ("test/1", "people")
    assert load_pairs(path, label_source="judge").rows[0].source == "judge"
    with pytest.raises(ConfigError, match="unknown splitter 'words'"):
        load_pairs(path, splitter="words")
    (again,) = pairs_from_columns([PAIR], name="train_dataset")
    assert again.chosen.completions == ("It is two.", "2") and again.chosen.path == "train_dataset"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rejected": PAIR["chosen"]}, "chosen and rejected are the same solution. Delete the row"),
        ({"rejected": ["It is two.", "2"]}, "chosen and rejected are the same solution"),
        ({"prompt": None}, "prompt is not a text or a conversation of one turn of the user"),
        ({"chosen": "  "}, "chosen is not a text, a list of steps or a conversation of one turn of the assistant"),
        ({"chosen": []}, "chosen is not a text, a list of steps"),
        ({"chosen": [{"role": "user", "content": "x"}]}, "conversation of one turn of the assistant"),
        ({"prompt": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}, "belongs to the run"),
        ({"margin": 2}, "the unknown column 'margin'. Rename or remove it; known are prompt, chosen, rejected"),
    ],
)
def test_what_is_no_pair_is_named_by_file_and_line(write: Callable[..., Path], change: Row, message: str) -> None:
    path = write(PAIR, PAIR | change)
    with pytest.raises(DataError, match=message) as caught:
        load_pairs(path)
    assert f"{path}, line 2: " in str(caught.value)
    rejected: list[Any] = []
    loaded = load_pairs(path, rejected=rejected)
    assert len(loaded.rows) == len(rejected) == sum(loaded.dropped.values()) == 1


def test_missing_columns_and_empty_files(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"no 'prompt' in a pair.*trl.extract_prompt"):
        load_pairs(write({"chosen": "a", "rejected": "b"}))
    with pytest.raises(DataError, match="no 'rejected' in a pair"):
        load_pairs(write({"prompt": "p", "chosen": "a"}))
    with pytest.raises(DataError, match=r"no pair to train on \(dropped: 1 chosen and rejected"):
        load_pairs(write(PAIR | {"rejected": PAIR["chosen"]}), rejected=[])
    with pytest.raises(DataError, match="no rows in it"):
        load_pairs(write())
    assert not holds_pairs(write()) and not holds_pairs(write({"prompt": "p", "completions": [], "labels": []}))


def test_solutions_of_pairs_are_each_there_once_and_rows_as_they_are() -> None:
    right, wrong = [solution("p", f"r{i}", 1.0) for i in range(2)], [solution("p", "w", 0.0)]
    pairs = pairs_from_outcomes([*right, *wrong]).rows
    assert len(pairs) == 2 and set(single_solutions(pairs)) == {*right, *wrong} and len(single_solutions(pairs)) == 3
    assert single_solutions([right[0], right[0]]) == [right[0], right[0]]
    assert pairs[0].in_group("q").rejected.group == "q" and pairs[0].in_group("q").content != pairs[0].content
