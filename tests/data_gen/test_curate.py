"""`prm data curate`: each rule by itself, all of them on real data, and the same bytes for the same input and seed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.curate import CurateConfig, run_curate
from prm.data_gen.data import main
from prm.data_gen.decontamination import Decontaminator
from prm.data_gen.label_policies import apply_policies
from prm.data_gen.omega import OmegaLabeler
from prm.data_gen.omega_tree import OmegaRule
from prm.data_gen.prefixes import CompletionPool
from prm.data_gen.row_files import read_rows

from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.generation.base import SamplingParams
from prm.grading import ExactGrader
from prm.jsonl import write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem, problem_id
from prm.rollouts import Outcome, Rollout, StopReason
from prm.rows.training_rows import load_rows
from prm.worlds.arithmetic import make_problems
from prm.worlds.solver import ChainSolver
from tests.benchmarks.curation_scale import run_child, shepherd_rows

Row = dict[str, Any]


def labelled(problem: str, steps: list[str], values: list[float | None], outcome: Outcome | None = None) -> Row:
    rollout = Rollout(
        Problem(problem, "1", problem_id(problem)),
        tuple(steps),
        ("", *["\n"] * (len(steps) - 1), "") if steps else ("",),
        0,
        StopReason.EOS,
        "model",
        outcome=outcome,
    )
    labels = tuple(StepLabel("monte_carlo", value=value) for value in values)
    return LabelledRollout(rollout, labels).to_dict()


def many(count: int, seed: int = 0, problems: int = 40) -> list[Row]:
    """Solutions of a few problems, the later ones harder; a third has an error."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        problem = draw.randrange(problems)
        size = draw.randrange(1, 6)
        wrong = draw.random() < 0.6 * problem / problems
        values = [1.0] * (size - 1) + [0.0 if wrong else 1.0]
        steps = [f"{number}: {draw.random()}" for _ in range(size)]
        outcome = Outcome.WRONG if wrong else Outcome.CORRECT
        made.append(labelled(f"What is {problem} + 1?", steps, list(values), outcome))
    return made


Curate = Callable[..., dict[str, Any]]


@pytest.fixture
def curate(tmp_path: Path) -> Curate:
    """Curate rows (or files) into `out.jsonl`."""

    def run(rows: list[Row] | list[Path], name: str = "out.jsonl", **options: Any) -> dict[str, Any]:
        paths = [str(row) for row in rows if isinstance(row, Path)]
        if not paths:
            paths = [str(tmp_path / f"{Path(name).stem}.input.jsonl")]
            write_jsonl(paths[0], (row for row in rows if isinstance(row, dict)))
        return run_curate(CurateConfig(input_path=paths, output_path=str(tmp_path / name), **options))

    return run


def read(path: Path) -> list[Row]:
    return [row for _, row in read_rows(path)]


def test_a_curation_without_rules_copies_the_rows(curate: Curate, tmp_path: Path) -> None:
    rows = many(50)
    summary = curate(rows, dedup="none")
    assert (summary["solutions"], summary["kept"], summary["rejected"]) == (50, 50, {})
    assert read(tmp_path / "out.jsonl") == rows
    assert not (tmp_path / "out.rejected.jsonl").exists()


def test_duplicates_are_told_from_rows_that_differ_in_whitespace(curate: Curate, tmp_path: Path) -> None:
    rows = [
        labelled("Find x.", ["x = 1", "so 1"], [1.0, 1.0]),
        labelled("Find x.", ["x = 1", "so 1"], [1.0, 0.0]),  # other labels, the same solution
        labelled("find  x.", ["x  =  1", " so 1"], [1.0, 1.0]),
        labelled("Find x.", ["x = 1 so 1"], [1.0]),
        labelled("Find y.", ["x = 1", "so 1"], [1.0, 1.0]),
    ]
    summary = curate(rows)
    assert summary["rejected"] == {"an exact duplicate": 1, "a duplicate but for whitespace": 1}
    assert read(tmp_path / "out.jsonl") == [rows[0], rows[3], rows[4]]
    source = tmp_path / "out.input.jsonl"
    assert [(row["line"], row["reason"]) for row in read(tmp_path / "out.rejected.jsonl")] == [
        (2, f"an exact duplicate of {source}, line 1"),
        (3, f"a duplicate but for whitespace of {source}, line 1"),
    ]
    assert curate(rows, "exact.jsonl", dedup="exact")["kept"] == 4
    assert curate(rows, "none.jsonl", dedup="none")["kept"] == 5


def test_problems_that_are_always_or_never_solved_are_left_out(curate: Curate, tmp_path: Path) -> None:
    right, wrong, unparsable = Outcome.CORRECT, Outcome.WRONG, Outcome.UNPARSABLE
    outcomes = {"always": [right, right], "never": [wrong, wrong], "mixed": [right, wrong], "none": [unparsable, None]}
    rows = [
        labelled(problem, [f"{problem} {i}"], [1.0], outcome)
        for problem, all_outcomes in outcomes.items()
        for i, outcome in enumerate(all_outcomes)
    ]
    summary = curate(rows, min_pass_rate=0.01, max_pass_rate=0.99)
    assert summary["rejected"] == {
        "no decided outcome among the problem's solutions": 2,
        "the problem is solved too rarely": 2,
        "the problem is solved too often": 2,
    }
    assert [row["problem"] for row in read(tmp_path / "out.jsonl")] == ["mixed", "mixed"]
    assert curate(rows, "half.jsonl", min_pass_rate=0.5, max_pass_rate=0.5)["kept"] == 2  # both ends are included


def test_a_pass_rate_counts_no_solution_that_a_tree_search_grew(curate: Curate, tmp_path: Path) -> None:
    given = [labelled("q", ["0"], [1.0], Outcome.CORRECT)]
    grown = [labelled("q", [f"{i}"], [0.0], Outcome.WRONG) | {"source": "model/omega"} for i in range(1, 5)]
    assert curate(given + grown, min_pass_rate=0.9)["kept"] == 5
    assert curate(given + grown, "hard.jsonl", min_pass_rate=0.1, max_pass_rate=1.0)["kept"] == 5
    with pytest.raises(DataError, match="no decided outcome"):
        curate(grown, "grown.jsonl", min_pass_rate=0.01)


def test_a_pass_rate_counts_the_samples_that_a_tree_search_drew_at_its_root(curate: Curate) -> None:
    solver = ChainSolver(0.3)
    [problem] = make_problems(1, seed=1, split="train", min_operations=4, max_operations=4)
    first = Rollout(problem, ("A: 0",), ("", ""), 0, StopReason.EOS, solver.name, outcome=Outcome.WRONG)
    pool = CompletionPool(solver, ExactGrader(), SamplingParams(), keep_texts=True)
    tree = [row.to_dict() for row in OmegaLabeler(pool, OmegaRule(searches=3), "line").label([first])]
    of_root = [row for row in tree if row["source"] == solver.name]
    assert len(of_root) == 8 < len(tree)
    right = sum(row["outcome"] == "correct" for row in of_root) / 8
    assert 0 < right < 1
    edges = {"min_pass_rate": right - 1e-9, "max_pass_rate": right + 1e-9}
    assert curate(tree, **edges, dedup="none")["kept"] > 0


def test_rows_that_no_verifier_can_learn_from_are_left_out(curate: Curate) -> None:
    rows = [
        labelled("a", [], []),
        labelled("b", ["x", " \n"], [1.0, 1.0]),
        labelled("c", ["x"], [None]),
        labelled("d", ["x", "y"], [None, 0.0]),
    ]
    summary = curate(rows)
    assert summary["rejected"] == {"no steps": 1, "a blank step": 1, "no step with a known label": 1}
    assert summary["kept"] == 1
    assert curate(rows, "unlabelled.jsonl", to_format="rollouts")["kept"] == 2


def test_at_most_so_many_solutions_of_a_problem_are_kept(curate: Curate, tmp_path: Path) -> None:
    rows = many(300, problems=20)
    before = Counter(row["problem"] for row in rows)
    summary = curate(rows, max_per_problem=7)
    kept = read(tmp_path / "out.jsonl")
    assert Counter(row["problem"] for row in kept) == {name: min(7, count) for name, count in before.items()}
    assert [row for row in rows if row in kept] == kept  # in their order
    assert summary["rejected"] == {"more solutions of the problem than wanted": 300 - len(kept)}
    assert curate(rows, "other.jsonl", max_per_problem=7, seed=1)["kept"] == len(kept)
    assert read(tmp_path / "other.jsonl") != kept


def test_classes_are_balanced_by_rollouts(curate: Curate, tmp_path: Path) -> None:
    rows = many(300)
    faulty = [row for row in rows if row["labels"][-1]["value"] == 0.0]
    assert len(faulty) < 150
    summary = curate(rows, balance="rollouts")
    assert summary["classes"]["before"]["solutions_with_error"] == len(faulty)
    after = summary["classes"]["after, train"]
    assert after["solutions_with_error"] == after["solutions_without_error"] == len(faulty)
    assert [row for row in read(tmp_path / "out.jsonl") if row in faulty] == faulty
    assert summary["rejected"] == {"surplus of its class": 300 - 2 * len(faulty)}


def test_classes_are_balanced_by_steps_as_far_as_whole_solutions_allow(curate: Curate) -> None:
    long = [labelled("q", [f"{i}", "w", "w", "w"], [1.0, 0.0, 0.0, 0.0]) for i in range(5)]  # 5 right, 15 wrong
    fine = [labelled("q", [f"{i}", "x"], [1.0, 1.0]) for i in range(10, 20)]  # 20 right
    after = curate([*long, *fine], balance="steps")["classes"]["after, train"]
    assert (after["right_steps"], after["wrong_steps"]) == (15, 15)
    pure_wrong = [labelled("q", [f"{i}"], [0.0]) for i in range(30, 40)]
    after = curate([*long, *pure_wrong, *fine[:3]], "wrong.jsonl", balance="steps")["classes"]["after, train"]
    assert (after["right_steps"], after["wrong_steps"]) == (11, 15)  # all that is purely wrong is gone, no more can be


def test_steps_that_cannot_be_balanced_are_refused_before_all_right_solutions_go(
    curate: Curate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    late = [labelled("q", [f"{i}", "x", "w", "w"], [1.0, 1.0, 0.0, 0.0]) for i in range(5)]
    fine = [labelled("q", [f"{i}", "x"], [1.0, 1.0]) for i in range(10, 13)]
    curate([*late, *fine], balance="steps")
    assert not caplog.messages  # 10 wrong, 16 right, of which the 6 in solutions without error can go
    with pytest.raises(ConfigError, match=r"all 3 solutions without a wrong step .* 5 more right steps"):
        curate([*late, *fine], "dropped.jsonl", balance="steps", after_first_error="drop")  # 5 wrong, 16 right
    assert [path.name for path in tmp_path.glob("*dropped*")] == ["dropped.input.jsonl"]  # nothing was written
    pure_wrong = [labelled("q", [f"{i}"], [0.0]) for i in range(30, 40)]
    curate([*pure_wrong, *fine[:1], *late], "wrong.jsonl", balance="steps")
    assert not caplog.messages
    curate(
        [*late[:1], *pure_wrong, labelled("q", ["a", "b", "c", "d"], [1.0, 0.0, 0.0, 0.0])], "w.jsonl", balance="steps"
    )
    assert "all 10 solutions without a right step are left out" in caplog.messages[0]


def test_the_split_is_by_problem_and_new_rows_move_no_problem(curate: Curate, tmp_path: Path) -> None:
    rows = many(400, problems=100)
    summary = curate(rows, eval_fraction=0.25)
    train, held_out = (read(tmp_path / name) for name in ("out.jsonl", "out.eval.jsonl"))
    assert len(train) + len(held_out) == 400 == sum(summary["written"].values())
    sides = [{row["problem"] for row in side} for side in (train, held_out)]
    assert not sides[0] & sides[1]
    assert 15 <= len(sides[1]) <= 35
    assert summary["problems"] == {"train": len(sides[0]), "eval": len(sides[1])}

    more = [*many(100, seed=5, problems=150), *rows]
    random.Random(0).shuffle(more)
    curate(more, "more.jsonl", eval_fraction=0.25)
    later = [{row["problem"] for row in read(tmp_path / name)} for name in ("more.jsonl", "more.eval.jsonl")]
    assert sides[0] <= later[0] and sides[1] <= later[1]
    curate(rows, "seed.jsonl", eval_fraction=0.25, seed=1)
    assert {row["problem"] for row in read(tmp_path / "seed.eval.jsonl")} != sides[1]


def test_balance_leaves_the_evaluation_side_as_it_is(curate: Curate) -> None:
    plain = curate(many(300), "plain.jsonl", eval_fraction=0.3)["classes"]
    balanced = curate(many(300), eval_fraction=0.3, balance="rollouts")["classes"]
    assert balanced["after, eval"] == plain["after, eval"]
    assert balanced["after, train"] != plain["after, train"]


def test_math500_and_processbench_share_108_problems(data_dir: Path, curate: Curate, tmp_path: Path) -> None:
    benchmark = data_dir / "processbench" / "math.json"
    summary = curate([benchmark], decontaminate=[str(data_dir / "math500.jsonl")], ngram=0)
    assert summary["test_problems"] == {"math500.jsonl": {"equal_problems": 108, "equal_solutions": 112}}
    assert summary["rejected"]["a test problem"] == 112
    problems = {row["problem"] for row in read(data_dir / "math500.jsonl")}
    assert not problems & {row["problem"] for row in read(tmp_path / "out.jsonl")}
    rejected = [row for row in read(tmp_path / "out.rejected.jsonl") if "test problem" in row["reason"]]
    assert {row["row"]["problem"] for row in rejected} <= problems and len(rejected) == 112

    overlap = curate([benchmark], "ngram.jsonl", decontaminate=[f"{data_dir / 'math500.jsonl'}:problem"])
    found = overlap["test_problems"]["math500.jsonl"]
    assert found["equal_problems"] == 108
    assert found["overlapping_problems"] > 0


def test_gsm8ks_training_problems_against_its_test_problems(data_dir: Path) -> None:
    tests = Decontaminator([f"{data_dir / 'gsm8k_test.jsonl'}:question"])
    hits = [tests.find(row["question"]) for row in read(data_dir / "gsm8k_train.jsonl")]
    assert len(hits) == 7473
    reasons = [hit.reason for hit in hits if hit]
    assert len(reasons) == 4
    expected = "the problem shares 13 words in a row with a test problem: gsm8k_test.jsonl, line "
    assert all(reason.startswith(expected) for reason in reasons)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ("WHAT is 3 +\n5?", "is equal to a test problem: tests.jsonl, line 1"),
        ("What is 3 - 5?", None),  # a short problem's operator tells it from another
        (" ".join(f"w{i}" for i in range(13)), "shares 13 words in a row with a test problem: tests.jsonl, line 2"),
        ("now: w2, w3 w4 w5 w6 w7 w8 w9 w10 w11 w12 w13 W14!", "shares 13 words"),
        (" ".join(f"w{i}" for i in range(12)), None),
        ("please, a b c d e f g h i", "shares 9 words in a row with a test problem: tests.jsonl, line 3"),
        ("a b c d e f g h", None),
        ("one two three four five six seven eight", None),  # seven words are too few to be a run
    ],
)
def test_the_rule_of_decontamination(tmp_path: Path, problem: str, reason: str | None) -> None:
    problems = ["What is 3+5?", " ".join(f"w{i}" for i in range(20)), "A b c d e, f g h i?"]
    problems.append("one two three four five six seven")
    write_jsonl(tmp_path / "tests.jsonl", ({"question": text} for text in problems))
    hit = Decontaminator([str(tmp_path / "tests.jsonl")]).find(problem)
    assert (hit is None) if reason is None else (hit is not None and reason in hit.reason)


def test_labels_behind_the_first_error_follow_the_policy_that_the_trainer_has(curate: Curate, tmp_path: Path) -> None:
    rows = [labelled("a", ["1", "2", "3", "4"], [1.0, 0.25, 1.0, None]), labelled("b", ["1"], [1.0])]
    curate(rows, "drop.jsonl", after_first_error="drop")
    curate(rows, "keep.jsonl", after_first_error="keep")
    curate(rows, "wrong.jsonl", after_first_error="wrong")
    values = {
        name: [label.get("value") for label in read(tmp_path / f"{name}.jsonl")[0]["labels"]]
        for name in ("drop", "keep", "wrong")
    }
    assert values == {"drop": [1.0, 0.25, None, None], "keep": [1.0, 0.25, 1.0, None], "wrong": [1.0, 0.25, 0.0, 0.0]}
    assert read(tmp_path / "wrong.jsonl")[0]["labels"][2]["source"] == "after_first_error"
    for policy in ("drop", "wrong"):
        trained = load_rows(tmp_path / "keep.jsonl", after_first_error=policy).rows
        assert [row.labels for row in trained] == [row.labels for row in load_rows(tmp_path / f"{policy}.jsonl").rows]


@pytest.mark.parametrize(
    ("policy", "after", "values"),
    [
        ("keep", "keep", [1.0, 0.5, 1.0]),
        ("right", "keep", [1.0, 1.0, 1.0]),
        ("wrong", "keep", [1.0, 0.0, 1.0]),
        ("drop", "keep", [1.0, None, 1.0]),
        ("wrong", "drop", [1.0, 0.0, None]),
        ("keep", "drop", [1.0, 0.5, 1.0]),
    ],
)
def test_neutral_ratings_are_what_the_policy_says(policy: Any, after: Any, values: list[float | None]) -> None:
    from prm.data_gen.formats.base import Where, imported

    labels = [StepLabel("prm800k", value=value) for value in (1.0, 0.5, 1.0)]
    record = imported("p", ["a", "b", "c"], labels, Where(), source="t")
    assert [label.value for label in apply_policies(record, policy, after).labels] == values
    estimate = imported("p", ["a"], [StepLabel("mc_values", value=0.5)], Where(), source="t")
    assert apply_policies(estimate, policy, "keep") == estimate  # half of the completions is no neutral rating


def test_inputs_of_several_formats_are_curated_together(data_dir: Path, curate: Curate, tmp_path: Path) -> None:
    files = [
        data_dir / "prm800k_samples.jsonl",
        data_dir / "scan_base_100.jsonl",
        data_dir / "processbench/gsm8k.json",
    ]
    summary = curate(files, "out.parquet", to_format="stepwise", neutral="drop", eval_fraction=0.1)
    assert summary["solutions"] == 36 + 100 + 400
    assert {name: row["solutions"] for name, row in summary["by_input"].items()} == {
        "prm800k_samples.jsonl": 36,
        "scan_base_100.jsonl": 100,
        "gsm8k.json": 400,
    }
    assert {name: row["solutions"] for name, row in summary["by_source"].items()} == {
        "prm800k": 36,
        "mc_values": 100,
        "processbench": 400,
    }
    assert summary["kept"] + sum(summary["rejected"].values()) == 536
    train, held_out = (load_rows(tmp_path / name) for name in ("out.parquet", "out.eval.parquet"))
    assert len(train.rows) + len(held_out.rows) == summary["kept"]


def test_the_same_input_and_seed_give_the_same_bytes(curate: Curate, tmp_path: Path) -> None:
    options = {
        "eval_fraction": 0.2,
        "balance": "steps",
        "after_first_error": "wrong",
        "max_per_problem": 5,
        "min_pass_rate": 0.1,
    }
    slips = [labelled(f"What is {i % 40} + 1?", [f"{i}", *"abcd"], [0.0] * 5, Outcome.WRONG) for i in range(120)]
    rows = [*many(300), *many(40), *slips]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "in.jsonl", rows)
        curate([tmp_path / name / "in.jsonl"], f"{name}/out.jsonl", **options)
    names = ["out.jsonl", "out.eval.jsonl", "out.curate.json"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    assert curate([tmp_path / "a" / "in.jsonl"], "a/out.jsonl", **options)["repeated"]
    with pytest.raises(ConfigError, match="was written with other settings"):
        curate([tmp_path / "a" / "in.jsonl"], "a/out.jsonl", **(options | {"seed": 1}))


def test_every_solution_is_kept_or_rejected_with_its_line(curate: Curate, tmp_path: Path) -> None:
    rows = [*many(200), *many(20), labelled("x", [], [])]
    summary = curate(rows, max_per_problem=4, balance="rollouts", max_pass_rate=0.9, eval_fraction=0.2)
    written = [row for name in ("out.jsonl", "out.eval.jsonl") for row in read(tmp_path / name)]
    rejected = read(tmp_path / "out.rejected.jsonl")
    assert len(written) == summary["kept"] == len(rows) - len(rejected)
    assert all(row["row"] == rows[row["line"] - 1] for row in rejected)
    count = Counter(json.dumps(row) for row in [*written, *(row["row"] for row in rejected)])
    assert count == Counter(map(json.dumps, rows))


def test_rows_that_the_output_cannot_hold_are_rejected_on_both_sides(curate: Curate, tmp_path: Path) -> None:
    rows = [labelled(f"{i}", ["a", "b"], [None, 0.0]) for i in range(40)]
    with pytest.raises(DataError, match=r"no row was kept.*\(40\)"):
        curate(rows, to_format="processbench", eval_fraction=0.5)
    summary = json.loads((tmp_path / "out.curate.json").read_text())
    reason = "processbench cannot hold an unknown step before the first wrong one"
    assert summary["not_held"] == {reason: 40}
    assert summary["written"] == {"out.jsonl": 0, "out.eval.jsonl": 0}
    rejected = read(tmp_path / "out.rejected.jsonl")
    assert sorted(row["line"] for row in rejected) == list(range(1, 41))
    assert {row["reason"] for row in rejected} == {reason}
    assert not (tmp_path / "out.jsonl").exists() and not (tmp_path / "out.eval.jsonl").exists()


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        ([{"problem": "x"}] * 3, {"bad_rows": "drop", "from_format": "labels"}, r"for labels in a row.*\(3\)"),
        ([labelled("x", ["a"], [None])] * 2, {}, r"no step with a known label \(2\)"),
    ],
)
def test_a_curation_that_keeps_nothing_says_why_with_counts(
    rows: list[Row], options: Row, reason: str, curate: Curate, tmp_path: Path
) -> None:
    for _ in range(2):  # a repetition is no success either
        with pytest.raises(DataError, match=rf"out.jsonl: no row was kept.*{reason}.*out.rejected.jsonl"):
            curate(rows, **options)
    summary = json.loads((tmp_path / "out.curate.json").read_text())
    assert summary["kept"] == 0 and summary["written"] == {"out.jsonl": 0}
    assert len(read(tmp_path / "out.rejected.jsonl")) == len(rows)


def test_bad_rows_are_named_or_dropped(curate: Curate, tmp_path: Path) -> None:
    rows = [*many(3), {"problem": "x"}, *many(2, seed=3)]
    with pytest.raises(DataError, match=r"out.input.jsonl, line 4: no 'steps' for labels"):
        curate(rows)
    summary = curate(rows, bad_rows="drop")
    assert (summary["kept"], sum(summary["unreadable"].values())) == (5, 1)
    assert [row["line"] for row in read(tmp_path / "out.rejected.jsonl")] == [4]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input_path": []}, ConfigError, "missing input_path"),
        ({"input_path": ["in.jsonl", "in.jsonl"]}, ConfigError, "is given twice"),
        ({"output_path": "in.jsonl"}, ConfigError, "in.jsonl is an input"),
        ({"output_path": "./in.jsonl"}, ConfigError, "in.jsonl is an input, and would be written"),
        ({"min_pass_rate": 0.8, "max_pass_rate": 0.2}, ConfigError, "min_pass_rate=0.8 <= max_pass_rate=0.2"),
        ({"eval_fraction": 1.0}, ConfigError, "eval_fraction must be in"),
        ({"max_per_problem": -1}, ConfigError, "must not be negative"),
        ({"ngram": 5}, ConfigError, "ngram 5 is too short"),
        ({"balance": "tokens"}, ConfigError, "balance must be one of none, rollouts, steps, not 'tokens'"),
        ({"after_first_error": "forget"}, ConfigError, "after_first_error must be one of"),
        ({"to_format": "label"}, ConfigError, "did you mean 'labels'"),
        ({"decontaminate": ["absent.jsonl"]}, MissingFileError, "absent.jsonl: no such file"),
        ({"decontaminate": ["in.jsonl:text"]}, DataError, "in.jsonl, line 1: no text in 'text'.*path:column"),
    ],
)
def test_nonsense_is_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[PrmError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl("in.jsonl", many(3))
    with pytest.raises(error, match=message):
        run_curate(CurateConfig(**({"input_path": ["in.jsonl"], "output_path": "out.jsonl"} | changes)))
    assert not Path("out.jsonl").exists()


def test_no_input_is_written_over_by_a_file_beside_the_output(tmp_path: Path) -> None:
    for name in ("out.eval.jsonl", "out.rejected.jsonl"):
        write_jsonl(tmp_path / name, many(3))
        content = (tmp_path / name).read_bytes()
        with pytest.raises(ConfigError, match=f"{name} is an input, and would be written"):
            run_curate(CurateConfig(input_path=[str(tmp_path / name)], output_path=str(tmp_path / "out.jsonl")))
        assert (tmp_path / name).read_bytes() == content


def test_the_command_prints_what_was_kept_and_why_not_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_jsonl(tmp_path / "a.jsonl", many(30))
    write_jsonl(tmp_path / "b.jsonl", many(30))
    paths = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    main(["curate", "--input_path", *paths, "--output_path", str(tmp_path / "out.jsonl"), "--balance", "rollouts"])
    printed = capsys.readouterr().out
    assert "60 solutions, " in printed and "left out, an exact duplicate: 30" in printed
    assert "input b.jsonl: 0 of 30 kept" in printed
    assert json.loads((tmp_path / "out.curate.json").read_text())["solutions"] == 60


def test_memory_grows_by_hashes_not_by_texts(tmp_path: Path) -> None:
    """Some megabytes of text more; a census of 60 bytes a row, and what sorting it takes."""
    peaks = {}
    for count in (200, 4000):
        source = tmp_path / f"{count}.jsonl"
        write_jsonl(source, shepherd_rows(count))
        options = {
            "input_path": [str(source)],
            "output_path": str(tmp_path / f"{count}.out.jsonl"),
            "max_per_problem": 20,
            "balance": "rollouts",
            "min_pass_rate": 0.01,
        }
        result = run_child("curate", options)
        assert result["summary"]["solutions"] == count
        peaks[count] = result["peak_mib"]
    assert peaks[4000] < peaks[200] + 8
