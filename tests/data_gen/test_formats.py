"""Formats: real rows survive the way through `labels.jsonl`, and what each of them means is read right.

Of Math-Shepherd and RLHFlow no real row is at hand: their rows are generated in the layout that the data sets' cards
and TRL's conversion script show.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.formats import FORMATS, find_format, recognise
from prm.data_gen.formats.base import NotHeldError, Record, Where
from prm.data_gen.formats.exchange import lost_fields, read_records, write_row
from prm.data_gen.formats.prm800k import Prm800kFormat
from prm.data_gen.label_policies import apply_policies
from prm.data_gen.row_files import read_rows

from prm.errors import ConfigError, DataError
from prm.labels import LabelledRollout, StepLabel, first_wrong, share_rule
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.rows.training_rows import rows_from_columns

LABELS = FORMATS["labels"]

Row = dict[str, Any]


def read(name: str, row: Row, line: int = 1) -> Record:
    return read_records(find_format(name), row, Where("rows.jsonl", line))[0]


def by_way_of_labels(name: str, row: Row, line: int = 1) -> Row:
    """The row after a conversion to labels.jsonl and back, through the text of both."""
    record = read(name, row, line)
    labels = json.loads(json.dumps(write_row(LABELS, record)))
    again = read("labels", labels, 7)
    assert again.labelled == record.labelled
    return json.loads(json.dumps(write_row(find_format(name), again)))


def text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(
    ("file", "name", "count"),
    [
        ("prm800k_samples.jsonl", "prm800k", 6),
        ("scan_base_100.jsonl", "mc_values", 100),
        ("processbench/gsm8k.json", "processbench", 400),
        ("processbench/math.json", "processbench", 1000),
    ],
)
def test_real_rows_come_back_from_labels_as_they_were(data_dir: Path, file: str, name: str, count: int) -> None:
    rows = list(read_rows(data_dir / file))
    assert len(rows) == count
    assert recognise(rows[0][1], file).name == name
    for line, row in rows:
        assert text(by_way_of_labels(name, row, line)) == text(row)


def shepherd_row(draw: random.Random) -> Row:
    """Math-Shepherd's layout, with what a few of its rows do otherwise."""
    tag_in_problem = " ки" if draw.random() < 0.1 else ""
    problem = f"Janet pays ${draw.randrange(99)} an hour{tag_in_problem} for {draw.randrange(9)} lessons. How much?"
    space = draw.choice([" ", " ", " ", "\n", "  "])
    head = draw.choice(["Step {}: ", "step {}: "])
    steps = [
        head.format(i + 1) + draw.choice(["1 + 2 = <<1+2=3>>3.", "x² is 5,\nso x > 2", "The answer is: 7"])
        for i in range(draw.randrange(1, 6))
    ]
    before, behind = draw.choice([" ", " ", " ", "", "  "]), draw.choice(["\n", "\n", "\n", " \n", "\n\n"])
    solution = behind.join(f"{step}{before}ки" for step in steps) + draw.choice(["", "", "\n", " trailing words"])
    whole = problem + space + solution
    marked = whole
    for _ in range(whole.count("ки")):
        marked = marked.replace("ки", draw.choice("+-"), 1)
    return {"input": whole, "label": marked, "task": draw.choice(["GSM8K", "MATH"])}


def rlhflow_row(draw: random.Random) -> Row:
    turns = [{"role": "user", "content": f"What is {draw.randrange(99)}? Step 1: It is{draw.choice(['', ' '])}"}]
    for i in range(draw.randrange(5)):
        if draw.random() < 0.9:
            turns.append({"role": "assistant", "content": draw.choice("+-")})
        turns.append({"content": f"Step {i + 2}: It is {draw.randrange(9)}.\nSo.", "role": "user"})
    turns.append({"role": "assistant", "content": draw.choice("+-")})
    return {"conversations": turns} | ({"index": 3} if draw.random() < 0.2 else {})


def stepwise_row(draw: random.Random) -> Row:
    steps = [f"step {i}" for i in range(draw.randrange(1, 5))]
    value = draw.choice([lambda: draw.random() < 0.5, lambda: draw.choice([0, 1, None]), draw.random])
    row: Row = {"prompt": f"{draw.randrange(9)}+1?", "completions": steps, "labels": [value() for _ in steps]}
    if draw.random() < 0.5:
        totals = [draw.randrange(4) for _ in steps]
        row |= {"n_total": totals, "n_correct": [draw.randint(0, total) for total in totals]}
    if draw.random() < 0.5:
        row["source"] = draw.choice(["judge", ["judge"] * len(steps), None])
    return row | ({"unique_id": "p7"} if draw.random() < 0.5 else {})


@pytest.mark.parametrize(
    ("name", "make"), [("math_shepherd", shepherd_row), ("rlhflow", rlhflow_row), ("stepwise", stepwise_row)]
)
def test_generated_rows_come_back_from_labels_as_they_were(name: str, make: Any) -> None:
    for seed in range(300):
        row = make(random.Random(seed))
        assert recognise(row, "rows.jsonl").name == name
        assert text(by_way_of_labels(name, row, seed + 1)) == text(row), seed


def test_math_shepherds_tags_are_the_labels_of_the_steps_before_them() -> None:
    solution = "Step 1: 3 + 5 = 8. {}\nStep 2: 8 - 1 = 6. {}\nStep 3: Half. The answer is: 3 {}"
    problem = "How many are left? "
    row = {
        "input": problem + solution.format("ки", "ки", "ки"),
        "label": problem + solution.format("+", "-", "-"),
        "task": "GSM8K",
    }
    record = read("math_shepherd", row)
    assert record.problem.problem == "How many are left?"
    assert record.problem.subject == "GSM8K"
    assert record.rollout.steps == ("Step 1: 3 + 5 = 8.", "Step 2: 8 - 1 = 6.", "Step 3: Half. The answer is: 3")
    assert record.rollout.text == "\n".join(record.rollout.steps)
    assert [label.hard for label in record.labels] == [1, 0, 0]
    assert (record.rollout.pred, record.rollout.outcome) == ("3", Outcome.WRONG)


def test_a_tag_in_the_problem_is_no_label() -> None:
    whole = "Mr. Rocky ки cooked. Step 1: He did. ки\nStep 2: The answer is: 2 ки"
    row = {"input": whole, "label": "Mr. Rocky - cooked. Step 1: He did. +\nStep 2: The answer is: 2 +", "task": ""}
    record = read("math_shepherd", row)
    assert record.problem.problem == "Mr. Rocky  cooked."
    assert [label.hard for label in record.labels] == [1, 1]


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("math_shepherd", {"input": "Step 1: a ки", "label": "Step 1: b +", "task": ""}, "label is not the input"),
        ("math_shepherd", {"input": "Q? Step 1: a ки", "label": "Q? Step 1: a ?", "task": ""}, "label is not the"),
        ("math_shepherd", {"input": "Find x. a ки", "label": "Find x. a +", "task": ""}, "cannot be told apart"),
        ("rlhflow", {"conversations": [{"role": "user", "content": "Find x. a"}]}, "cannot be told apart"),
        ("rlhflow", {"conversations": [{"role": "system", "content": "+"}]}, "the turn "),
        (
            "rlhflow",
            {"conversations": [{"role": "user", "content": "Q? a"}, {"role": "assistant", "content": "yes"}]},
            "the assistant's turn 'yes' is no mark",
        ),
        ("rlhflow", {"conversations": []}, "no user turn in it"),
        ("rlhflow", {"conversations": [{"role": "user", "content": "Q a"}], "problem": "P"}, "does not begin with"),
        (
            "math_shepherd",
            {"input": "Q a ки", "label": "Q a +", "task": "", "problem": "Q", "steps": ["b"]},
            "not made of its problem and steps",
        ),
        (
            "math_shepherd",
            {"input": "Q a ки", "label": "Q a +", "task": "", "problem": "P", "steps": ["a"]},
            "not made of its problem and steps",
        ),
        (
            "math_shepherd",
            {"input": "Q a ки b ки", "label": "Q a + b -", "task": "", "problem": "Q", "steps": ["a"]},
            "not made of its problem and steps",
        ),
        ("processbench", {"problem": "p", "steps": ["a"], "label": 1, "final_answer_correct": True}, "label 1 and 1"),
        ("processbench", {"problem": "p", "steps": "a", "label": 0, "final_answer_correct": True}, "steps is 'a'"),
        ("mc_values", {"question": "p", "steps": ["a"], "scores": [1.5]}, "the score 1.5"),
        ("mc_values", {"question": " ", "steps": ["a"], "scores": [1]}, "the problem is not a text"),
        ("mc_values", {"question": "p", "steps": ["a"], "scores": [1, 0]}, "2 labels for 1 steps"),
        ("stepwise", {"prompt": "p", "completions": ["a"], "labels": ["+"]}, r"the label '\+'"),
        ("stepwise", {"prompt": "p", "completions": ["a"], "labels": []}, "0 labels for 1 steps"),
        ("stepwise", {"prompt": "p", "completions": ["a"], "labels": [1], "n_total": [2, 2]}, "not one value per"),
        ("prm800k", {"question": {"problem": "p"}, "label": {"steps": [{"completions": [{}]}]}}, None),
        ("prm800k", {"question": {"problem": "p"}, "label": {"steps": [3]}}, "not a row of prm800k"),
        ("stepwise", {"question": "p", "steps": [], "scores": []}, "no 'prompt' for stepwise.*looks like mc_values"),
    ],
)
def test_bad_rows_are_named_with_their_line(name: str, row: Row, message: str | None) -> None:
    if message is None:  # nothing was chosen: there is no path, which curation will call "no steps"
        assert read(name, row).rollout.steps == ()
        return
    with pytest.raises(DataError, match=rf"^rows.jsonl, line 3: (.|\n)*{message}"):
        read(name, row, line=3)


def test_an_unknown_format_is_told_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'math_shepherd'"):
        find_format("Math-Sheperd")
    with pytest.raises(DataError, match=r"columns \['a'\] is of no known format"):
        recognise({"a": 1}, "rows.jsonl")


def prm800k(data_dir: Path, number: int, *, alternatives: bool = True) -> list[Record]:
    rows = [row for _, row in read_rows(data_dir / "prm800k_samples.jsonl")]
    return read_records(Prm800kFormat(alternatives), rows[number], Where("p", number + 1))


def test_prm800ks_chosen_path_is_the_main_rollout(data_dir: Path) -> None:
    main, *others = prm800k(data_dir, 0)
    assert [label.value for label in main.labels] == [1.0, None, 1.0, 1.0, 1.0, 1.0]  # a person wrote the second
    assert (main.problem.answer, main.rollout.pred, main.rollout.stop_reason) == ("29", "29", StopReason.EOS)
    assert len(others) == 5 + 4
    wrong, neutral = others[0], others[5]
    assert wrong.rollout.steps == (
        main.rollout.steps[0],
        "The first equation is 3p + e = 124, and the second equation is 5p + e = 182.",
    )
    assert [label.value for label in wrong.labels] == [1.0, 0.0]
    assert (neutral.labels[-1].value, len(neutral.rollout.steps)) == (0.5, 6)
    assert len({record.rollout.key for record in (main, *others)}) == 10
    assert prm800k(data_dir, 0, alternatives=False) == [main]


def test_prm800ks_second_phase_ends_with_the_sampled_solutions_first_error(data_dir: Path) -> None:
    main, *others = prm800k(data_dir, 1)
    assert [label.value for label in main.labels] == [1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert main.rollout.stop_reason is StopReason.LENGTH  # it goes no further than the error
    assert [record.labels[-1].value for record in others] == [1.0, 1.0, 1.0]


def test_processbench_labels_end_at_the_first_error() -> None:
    row = {"id": "x-1", "generator": "g", "problem": "p", "steps": ["a", "b", "c"], "label": 1}
    record = read("processbench", row | {"final_answer_correct": True})
    assert [label.hard for label in record.labels] == [1, 0, None]
    assert (record.rollout.source, record.rollout.outcome) == ("g", Outcome.CORRECT)
    assert [
        label.hard for label in read("processbench", row | {"label": -1, "final_answer_correct": None}).labels
    ] == [1, 1, 1]


def counted() -> Record:
    """A record of ours that uses every field."""
    problem = Problem("2+2?", "4", "p1", "1", "arithmetic")
    rollout = Rollout(
        problem, ("Step 1: 2", "A: 4"), ("", "\n", ""), 3, StopReason.EOS, "model", "4", Outcome.CORRECT, 5, Cost(9)
    )
    labels = (StepLabel("monte_carlo", 5, 8), StepLabel("monte_carlo", 1, 2, 1, rule="first_success"))
    return Record(LabelledRollout(rollout, labels, Cost(7, flops=2.0)))


@pytest.mark.parametrize(
    ("name", "held", "lost"),
    [
        ("labels", {"answer", "soft values", "counts of completions", "seed", "the cost of labelling"}, set()),
        ("rollouts", {"answer", "outcome", "pred", "seed"}, {"hard labels", "the cost of labelling"}),
        ("stepwise", {"hard labels", "unique_id"}, {"answer", "outcome", "counts of completions", "soft values"}),
        ("math_shepherd", {"hard labels", "outcome", "the text between steps"}, {"soft values", "answer", "seed"}),
        ("rlhflow", {"hard labels", "outcome"}, {"soft values", "the text between steps", "subject"}),
        ("processbench", {"hard labels", "outcome", "source of the rollout"}, {"soft values", "answer"}),
        ("prm800k", {"hard labels", "answer"}, {"soft values", "counts of completions", "outcome"}),
    ],
)
def test_what_a_format_cannot_hold_is_found(name: str, held: set[str], lost: set[str]) -> None:
    form, record = FORMATS[name], counted()
    found = set(lost_fields(form, record, json.loads(json.dumps(write_row(form, record)))))
    assert lost <= found
    assert not held & found


ONE_TEXT = ("math_shepherd", "rlhflow")  # problem and solution in one text, whose borders their own rows show by words


def assert_comes_back(name: str, record: Record) -> Row:
    """Through a row of `name`, as text and after the way through labels: the same problem, steps and hard labels."""
    form = FORMATS[name]
    row = json.loads(json.dumps(write_row(form, record)))
    for again in (read(name, row), read(name, by_way_of_labels(name, row))):
        assert again.problem.problem == record.problem.problem
        assert again.rollout.steps == record.rollout.steps
        assert [label.hard for label in again.labels] == [label.hard for label in record.labels]
        if name == "math_shepherd":
            assert again.rollout.gaps == record.rollout.gaps
    assert "the border between the problem and its steps" not in set(lost_fields(form, record, row))
    return row


@pytest.mark.parametrize("name", ONE_TEXT)
@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("prm800k_samples.jsonl", "prm800k"),
        ("scan_base_100.jsonl", "mc_values"),
        ("processbench/gsm8k.json", "processbench"),
    ],
)
def test_real_rows_of_other_formats_come_back_from_one_text(data_dir: Path, file: str, source: str, name: str) -> None:
    records = [
        record
        for line, row in read_rows(data_dir / file)
        for record in read_records(find_format(source), row, Where(file, line))
    ]
    needed = ["problem" in assert_comes_back(name, record) for record in records]
    assert any(needed) and not all(needed)  # those with one question mark are told apart as they are


@pytest.mark.parametrize("name", ONE_TEXT)
def test_any_steps_come_back_from_one_text(name: str) -> None:
    for seed in range(300):
        draw = random.Random(seed)
        record = read("stepwise", stepwise_row(draw))
        pieces = ["", " ", "a", "step 1: b", "Step 1: c", "\n", "x?", "+", "-", "1", "1 + 1"]
        steps = tuple(draw.choice(pieces) + draw.choice(pieces) for _ in record.rollout.steps)
        problem = replace(record.problem, problem="p" + draw.choice(pieces) + draw.choice(pieces))
        gaps = ("", *[draw.choice(["\n", "\n\n", " ", ""]) for _ in steps])
        rollout = replace(record.rollout, problem=problem, steps=steps, gaps=gaps)
        changed = Record(replace(record.labelled, rollout=rollout))
        try:
            row = write_row(FORMATS[name], changed)
        except NotHeldError:  # a step of blanks alone is not told from a gap
            assert name == "math_shepherd" and not all(step.strip() for step in steps)
            continue
        again = read(name, json.loads(json.dumps(row)))
        assert (again.problem.problem, again.rollout.steps) == (problem.problem, steps), row
        assert [label.hard for label in again.labels] == [label.hard for label in record.labels], row


@pytest.mark.parametrize("name", ONE_TEXT)
def test_a_record_of_ours_whose_words_show_the_borders_needs_no_columns(name: str) -> None:
    assert "problem" not in assert_comes_back(name, counted())
    late = replace(counted().rollout, problem=Problem("Find Step 1: of 2+2", "4", "p1"))
    row = assert_comes_back(name, Record(replace(counted().labelled, rollout=late)))
    assert row["problem"] == "Find Step 1: of 2+2"


def test_steps_behind_the_last_label_stay_apart_in_math_shepherd() -> None:
    row = {"id": "1", "generator": "g", "problem": "Find x.", "steps": ["a", "b", "c", "d"], "label": 1}
    written = assert_comes_back("math_shepherd", read("processbench", row | {"final_answer_correct": False}))
    assert written == {
        "input": "Find x. a ки\n\nb ки\n\nc\n\nd",
        "label": "Find x. a +\n\nb -\n\nc\n\nd",
        "task": "",
        "problem": "Find x.",
        "steps": ["a", "b", "c", "d"],
    }


@pytest.mark.parametrize(
    ("name", "steps", "reason"),
    [
        ("math_shepherd", ("a ки", "b"), "keeps for its tags"),
        ("rlhflow", (), "a solution without steps"),
        ("math_shepherd", ("a", "b"), "borders are lost"),
    ],
)
def test_what_one_text_cannot_hold_is_refused(name: str, steps: tuple[str, ...], reason: str) -> None:
    record = counted()
    gaps = ("", *["b, a" if reason == "borders are lost" else "\n" for _ in steps])  # a step within a gap
    rollout = replace(record.rollout, steps=steps, gaps=gaps)
    labels = (StepLabel("human"), StepLabel("human", value=1.0))[: len(steps)]
    with pytest.raises(NotHeldError, match=reason):
        write_row(FORMATS[name], Record(LabelledRollout(rollout, labels)))


def test_a_biased_soft_value_is_not_written_as_one() -> None:
    with pytest.raises(NotHeldError, match="the rule 'first_success' would bias"):
        write_row(FORMATS["mc_values"], counted())
    row = write_row(FORMATS["stepwise"], counted())
    assert (row["labels"], row["n_correct"], row["n_total"]) == ([0.625, 1.0], [5, None], [8, None])


def test_a_share_of_completions_is_right_from_any_success_as_counts_are(data_dir: Path) -> None:
    scores = [0, 0.125, 0.5, 1, None]
    shares = read("mc_values", {"question": "p", "steps": list("abcde"), "scores": scores}).labels
    assert [label.hard for label in shares] == [0, 1, 1, 1, None]
    assert [StepLabel("monte_carlo", n, 8).hard for n in (0, 1, 4, 8)] == [0, 1, 1, 1]
    assert [label.soft for label in shares] == scores
    assert [StepLabel("human", value=value).hard for value in (0.125, 0.5)] == [0, 1]
    half = [replace(label, rule=share_rule(0.5)) for label in shares]
    assert [label.hard for label in half] == [0, 0, 1, 1, None]
    for label in half:
        assert StepLabel.from_dict(label.to_dict()) == label
    with pytest.raises(ValueError, match="not between 0 and 1"):
        StepLabel.from_dict({"source": "mc_values", "rule": "share:1.5", "value": 0.5})
    published = [read("mc_values", row).labels for _, row in read_rows(data_dir / "scan_base_100.jsonl")]
    ends = {first_wrong(labels) in (-1, len(labels) - 1) for labels in published}
    assert ends == {True}  # SCAN's rows end at the first step without any success: that is its first error


def test_what_is_not_known_before_an_error_is_not_written_to_processbench() -> None:
    row = {"question": "p", "steps": ["a", "b"], "scores": [None, 0]}
    with pytest.raises(NotHeldError, match="an unknown step before the first wrong one"):
        write_row(FORMATS["processbench"], read("mc_values", row))


def test_the_trainer_reads_what_is_written_as_stepwise(data_dir: Path) -> None:
    records = [record for number in range(6) for record in prm800k(data_dir, number)]
    rows = rows_from_columns([write_row(FORMATS["stepwise"], record) for record in records])
    assert len(rows) == len(records) == 36
    for row, record in zip(rows, records, strict=True):
        assert row.completions == record.rollout.steps
        assert list(row.hard_labels) == [None if label.hard is None else float(label.hard) for label in record.labels]


def test_a_row_whose_labels_were_changed_is_not_written_in_its_old_form() -> None:
    bools = read("stepwise", {"prompt": "p", "completions": ["a", "b"], "labels": [False, True], "n": 3})
    assert write_row(FORMATS["stepwise"], bools)["labels"] == [False, True]
    cut = apply_policies(bools, "keep", "drop")
    assert write_row(FORMATS["stepwise"], cut)["labels"] == [0.0, None]


def test_a_rewritten_prm800k_record_has_the_new_rating(data_dir: Path) -> None:
    rows = [row for _, row in read_rows(data_dir / "prm800k_samples.jsonl")]
    record = apply_policies(read("prm800k", rows[1], 2), "wrong", "keep")
    steps = write_row(FORMATS["prm800k"], record)["label"]["steps"]
    assert [step["completions"][0]["rating"] for step in steps] == [1, -1, 1, 1, 1, 1, -1]
    assert [c["rating"] for c in steps[-1]["completions"]] == [-1, 1, 1, 1]  # the alternatives are untouched


def test_a_share_in_trls_rows_is_right_from_any_success_and_a_verdict_from_a_half() -> None:
    row = {"prompt": "p", "completions": ["a", "b"], "labels": [0.25, 0.0]}
    for source, expected in (("monte_carlo", [1, 0]), ("mc_values", [1, 0]), ("judge", [0, 0])):
        record = read("stepwise", {**row, "source": source})
        assert [label.hard for label in record.labels] == expected
        assert [label.soft for label in record.labels] == [0.25, 0.0]
        assert by_way_of_labels("stepwise", {**row, "source": source})["labels"] == row["labels"]
