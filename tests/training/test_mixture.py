"""Several data sets at once: weights, views of their own, one split by problem, and what is said of their labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.config import parse_config
from prm.errors import ConfigError, DataError
from prm.jsonl import write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason
from prm.rows.mixture import Mixture, load_mixture, weighted
from prm.rows.mixture_config import PairOptions, TrainDataset
from prm.rows.pairs import PairRow
from prm.rows.problem_groups import unify_groups
from prm.rows.readers import Reading
from prm.rows.training_rows import StepRow
from prm.train import TrainResult, TrainScriptArguments, VerifierModelConfig, run_train
from prm.training.config import VerifierConfig

Row = dict[str, Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write TRL's rows: `write("a.jsonl", rows)`."""

    def rows(name: str, rows: list[Row]) -> str:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(tmp_path / name)

    return rows


def stepwise(prompt: str, labels: list[Any], **others: Any) -> Row:
    return {"prompt": prompt, "completions": [f"s{i}" for i in range(len(labels))], "labels": labels, **others}


def many(prefix: str, problems: int, each: int = 2, **others: Any) -> list[Row]:
    return [stepwise(f"{prefix}{p}", [1, p % 2], **others) for p in range(problems) for _ in range(each)]


def mixed(*datasets: TrainDataset, reading: Reading | None = None, **others: Any) -> Mixture:
    return load_mixture(datasets, reading=reading or Reading(), **others)


def test_a_weight_is_how_often_a_row_is_seen_and_keeps_problems_whole(write: Callable[..., str]) -> None:
    path = write("a.jsonl", [stepwise(f"p{p}", [1, 0]) for p in range(40) for _ in range(3)])
    for weight, expected in ((1, 120), (2, 240), (0.25, 30), (1.5, 180), (0.001, 3)):
        rows = mixed(TrainDataset(path, weight=weight)).train_rows
        assert len(rows) == expected, weight
        times = {line: sum(row.line == line for row in rows) for line in range(1, 121)}
        assert max(times.values()) - min(times.values()) <= 1
        by_problem = {row.group: {times[other.line] for other in rows if other.group == row.group} for row in rows}
        assert all(len(counts) == 1 for counts in by_problem.values())


def test_the_fraction_of_a_weight_follows_the_seed_and_moves_little_with_new_rows() -> None:
    rows = [StepRow(str(i), ("a",), (1.0,), str(i)) for i in range(200)]
    chosen = [{row.group for row in weighted(rows, 0.3, seed)} for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2] and len(chosen[0]) == 60
    fewer = {row.group for row in weighted(rows[:190], 0.3, 0)}
    assert len(fewer - chosen[0]) <= 3
    mean = sum(len(weighted(rows[:7], 0.5, seed)) for seed in range(100)) / 100
    assert mean == pytest.approx(3.5, abs=0.5)


def test_every_data_set_has_its_own_view_source_and_policies(write: Callable[..., str]) -> None:
    shares = write("mc.jsonl", [stepwise("a", [0.75, 0.25, 0.0])])
    ratings = write("human.jsonl", [stepwise("b", [1, 0, -1, 1])])
    mixture = mixed(
        TrainDataset(shares, label_source="monte_carlo", label_view="soft"),
        TrainDataset(ratings, label_scale="ratings", neutral_labels="drop", after_first_error="wrong"),
        reading=Reading(label_source="people"),
    )
    first, second = mixture.train_rows
    assert first.labels == (0.75, 0.25, 0.0) and first.source == "monte_carlo"
    assert second.labels == (1.0, None, 0.0, 0.0) and second.source == "people"
    facts = mixture.facts()
    assert facts["dataset_name"] == "mc.jsonl, human.jsonl"
    assert [part["labels"] for part in facts["datasets"]] == [
        {"wrong": 1, "correct": 2, "unknown": 0},
        {"wrong": 2, "correct": 1, "unknown": 1},
    ]
    assert facts["datasets"][1]["policies"] == {"neutral": 1, "after_first_error": 1}
    assert facts["datasets"][0]["sources"] == ["monte_carlo"] and facts["datasets"][0]["label_view"] == "soft"


def test_no_problem_is_on_both_sides_whatever_its_ids(write: Callable[..., str]) -> None:
    """One set has ids, the other none, and the third numbers other problems by the same ids."""
    texts = [f"What is {i} + {i}?" for i in range(30)]
    paths = [
        write("ids.jsonl", [stepwise(text, [1, 0], unique_id=f"test/{i}") for i, text in enumerate(texts)]),
        write("texts.jsonl", [stepwise(f" {text.upper()}\n", [0, 1]) for text in texts]),
        write("same_ids.jsonl", [stepwise(f"other {i}", [0], unique_id=f"test/{i}") for i in range(30)]),
    ]
    mixture = mixed(*map(TrainDataset, paths), eval_fraction=0.3)

    def forms(rows: list[Any]) -> set[str]:
        return {"".join(row.prompt.lower().split()) for row in rows}

    assert not forms(mixture.train_rows) & forms(mixture.eval_rows)
    assert len({row.group for row in [*mixture.train_rows, *mixture.eval_rows]}) == 60
    assert (
        len({row.group for row in mixture.eval_rows}) == 18 and len(mixture.train_rows) + len(mixture.eval_rows) == 90
    )
    assert mixture.notices == ()


def test_two_wordings_of_one_id_and_one_wording_of_two_ids_are_one_problem() -> None:
    def row(prompt: str, group: str) -> StepRow:
        return StepRow(prompt, ("a",), (1.0,), group)

    rows = [
        [row("x", "1"), row("X ", "2"), row("y", "2"), row("z", "3")],
        [row("y", "9"), row("w", "1"), row("v", "1")],
    ]
    groups = [[row.group for row in part] for part in unify_groups(rows)]
    assert groups == [["1", "1", "1", "3"], ["1", "1 (2)", "1 (2)"]]
    assert unify_groups([rows[0][2:]]) == [rows[0][2:]]  # ids of one set stay as they are


def test_problems_that_are_trained_and_evaluated_on_are_told_of(write: Callable[..., str]) -> None:
    train, evaluation = write("a.jsonl", many("p", 6)), write("b.jsonl", many("p", 2, each=1) + many("q", 2, each=1))
    mixture = mixed(TrainDataset(train), evaluation=TrainDataset(evaluation))
    assert mixture.notices == (
        "2 of the problems to evaluate on are trained on, too; eval_fraction holds problems out",
    )
    assert len(mixture.eval_rows) == 4
    with pytest.raises(ConfigError, match="not both"):
        mixed(TrainDataset(train), evaluation=TrainDataset(evaluation), eval_fraction=0.1)


@pytest.mark.parametrize(
    ("rows", "reading", "message"),
    [
        ([stepwise("p", [1, 1]), stepwise("q", [True])], Reading(), "every label is 1, .*a.jsonl: 0 wrong, 3 correct"),
        ([stepwise("p", [0.0, 0.0])], Reading(), "every label is 0, .*2 wrong, 0 correct"),
        ([stepwise("p", [0.9, 0.6])], Reading(), "every label is 1"),
        ([stepwise("p", [0.5, 0.5])], Reading(label_view="soft"), "every label is 0.5"),
        ([stepwise("p", [1, 0]), stepwise("q", [0, 0])], Reading(kind="orm"), "every label is 0, .*2 wrong"),
        ([stepwise("p", [1, 0, 1])], Reading(label_scale="ratings"), "every label is 1"),
    ],
)
def test_labels_of_one_class_are_refused_with_the_counts(
    write: Callable[..., str], rows: list[Row], reading: Reading, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        mixed(TrainDataset(write("a.jsonl", rows)), reading=reading)
    assert "add a data set with the other class" in str(caught.value)


def test_one_class_in_one_data_set_is_fine_where_another_has_the_other(write: Callable[..., str]) -> None:
    right, wrong = write("a.jsonl", [stepwise("p", [1])]), write("b.jsonl", [stepwise("q", [0])])
    assert len(mixed(TrainDataset(right), TrainDataset(wrong)).train_rows) == 2
    soft = write("c.jsonl", [stepwise("p", [0.9, 0.6])])
    assert mixed(TrainDataset(soft), reading=Reading(label_view="soft")).train_rows[0].labels == (0.9, 0.6)


def test_a_data_set_of_dropped_rows_alone_is_refused_by_name(write: Callable[..., str]) -> None:
    good, bad = write("a.jsonl", many("p", 4)), write("b.jsonl", [stepwise("p", [1, 3])])
    with pytest.raises(DataError, match=r"b.jsonl: no row to train on \(dropped: 1 the label …\)"):
        mixed(TrainDataset(good), TrainDataset(bad), rejected=[])
    neutral = write("c.jsonl", [stepwise("p", [0, 0])])
    with pytest.raises(DataError, match=r"c.jsonl: no row to train on \(dropped: 1 no decided label\)"):
        mixed(TrainDataset(good), TrainDataset(neutral, label_scale="ratings", neutral_labels="drop"))


@pytest.mark.parametrize(
    ("second", "view", "said"),
    [
        ({"labels": [1, 0], "source": "judge"}, "soft", True),  # verdicts beside shares
        ({"labels": [0.5, 0.9], "source": "judge"}, "soft", True),  # shares of votes beside shares of completions
        ({"labels": [0, 0], "n_correct": [1, 2], "n_total": [4, 4], "source": "omega"}, "soft", False),
        ({"labels": [1, 0], "source": "judge"}, "hard", False),
    ],
)
def test_labels_on_scales_that_do_not_compare_are_told_of_once(
    write: Callable[..., str], second: Row, view: Any, said: bool
) -> None:
    counted = stepwise("p", [0, 0], n_correct=[3, 0], n_total=[8, 8], source="monte_carlo")
    paths = write("a.jsonl", [counted] * 3), write("b.jsonl", [stepwise("q", [1, 0]) | second] * 3)
    notices = mixed(*map(TrainDataset, paths), reading=Reading(label_view=view)).notices
    assert len(notices) == said
    assert all("monte_carlo: shares of completions; judge: " in notice for notice in notices)


def test_neutral_ratings_make_no_shares_and_a_policy_that_meets_none_says_so(write: Callable[..., str]) -> None:
    ratings = write("a.jsonl", [stepwise("p", [1, 0, -1])])
    judged = write("b.jsonl", [stepwise("q", [1, 0], source="judge")])
    soft = Reading(label_view="soft")
    assert mixed(TrainDataset(ratings, label_scale="ratings"), TrainDataset(judged), reading=soft).notices == ()
    unnamed = write("c.jsonl", [stepwise("r", [1, 0.5, 0])])
    (notice,) = mixed(TrainDataset(unnamed, neutral_labels="drop")).notices
    assert "c.jsonl: neutral_labels is 'drop' and no label is a neutral rating" in notice
    named = mixed(TrainDataset(unnamed, neutral_labels="drop", label_source="prm800k"))
    assert named.notices == () and named.train_rows[0].labels == (1.0, None, 0.0)


def test_the_identity_covers_every_data_set_and_its_weight(write: Callable[..., str]) -> None:
    first, second = write("a.jsonl", many("p", 4)), write("b.jsonl", many("q", 4))
    seen = [
        json.dumps(mixed(*datasets).settings(), sort_keys=True)
        for datasets in (
            [TrainDataset(first)],
            [TrainDataset(first), TrainDataset(second)],
            [TrainDataset(second), TrainDataset(first)],
            [TrainDataset(first), TrainDataset(second, weight=2)],
            [TrainDataset(first, weight=2)],
            [TrainDataset(first), TrainDataset(second, after_first_error="drop")],
            [TrainDataset(first), TrainDataset(second, label_source="people")],
        )
    ]
    assert len(set(seen)) == len(seen)
    assert set(json.loads(seen[0])) == {"data_digest", "eval_digest"}
    moved = write("other_name.jsonl", many("p", 4))
    assert mixed(TrainDataset(moved)).settings() == mixed(TrainDataset(first)).settings()


def test_pairs_are_split_and_weighted_by_problem_like_rows(write: Callable[..., str]) -> None:
    graded = write(
        "a.jsonl", [stepwise(f"p{p}", [s % 2]) | {"completions": [f"{s}"]} for p in range(6) for s in range(4)]
    )
    written = write("b.jsonl", [{"prompt": f"q{p}", "chosen": "good\n\n1", "rejected": "bad"} for p in range(6)])
    mixture = mixed(
        TrainDataset(graded),
        TrainDataset(written, weight=2),
        reading=Reading(kind="orm"),
        eval_fraction=0.5,
        pairs=PairOptions(max_pairs_per_problem=2),
    )
    train, evaluation = mixture.train_rows, mixture.eval_rows
    assert all(isinstance(row, PairRow) for row in train)
    assert all(isinstance(row, StepRow) for row in evaluation)  # each held-out solution once, paired or not
    assert not {pair.group for pair in train} & {row.group for row in evaluation}
    problems = [{row.prompt for row in evaluation if row.prompt.startswith(letter)} for letter in "pq"]
    assert sum(map(len, problems)) == 6
    assert len(evaluation) == 4 * len(problems[0]) + 2 * len(problems[1])
    assert len(train) == 2 * (6 - len(problems[0])) + 2 * (6 - len(problems[1]))
    assert mixture.facts()["datasets"][1]["labels"] == {"wrong": 6, "correct": 6, "unknown": 6}
    with pytest.raises(ConfigError, match="pairs have none"):
        mixed(TrainDataset(graded), reading=Reading(kind="orm"), pairs=PairOptions(), shuffled=True)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"path": "a", "wieght": 2}, "datasets, entry 1: unknown key 'wieght'; did you mean 'weight'"),
        ({"path": "a", "fraction": 1}, "unknown key 'fraction'; known are path, name, split, weight"),
        ({"weight": 2}, "datasets, entry 1: missing path"),
        ({"path": "a", "weight": "much"}, 'datasets, entry 1: weight must be a number, not "much"'),
        ({"path": "a", "weight": 0}, "the weight of a must be above 0, not 0.0; leave out what weighs 0"),
        ({"path": "a", "label_view": "sotf"}, "label_view must be one of hard, soft or null"),
        ({"path": "a", "neutral_labels": "correct"}, "neutral_labels must be one of keep, right, wrong, drop or null"),
        ({"path": ""}, "a data set needs a path"),
        (7, "each is a mapping with a path, not 7"),
    ],
)
def test_a_mistake_in_an_entry_is_named_with_the_remedy(entry: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainScriptArguments(datasets=[entry])


def test_dataset_name_and_datasets_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="not both"):
        TrainScriptArguments(dataset_name="a", datasets=["b"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="missing dataset_name"):
        TrainScriptArguments()
    with pytest.raises(ConfigError, match="an outcome model learns none"):
        Reading(kind="orm", after_first_error="drop")


@pytest.fixture
def train(base_dir: Callable[..., Path], tmp_path: Path) -> Callable[..., TrainResult]:
    """Run `prm train` by a recipe in this process: `train("datasets: [...]", "--seed", "1")`."""

    def run(recipe: str, *arguments: str) -> TrainResult:
        path = tmp_path / "train.yaml"
        path.write_text(
            f"{recipe}\nmodel_name_or_path: {base_dir()}\noutput_dir: {tmp_path / 'out'}\nuse_cpu: true\n"
            "max_steps: 1\nlearning_rate: 1.0e-3\ndisable_tqdm: true\n"
        )
        classes = [TrainScriptArguments, VerifierConfig, VerifierModelConfig]
        return run_train(*parse_config(classes, ["--config", str(path), *arguments]))

    return run


def test_prm_train_learns_from_a_mixture_in_a_recipe(
    train: Callable[..., TrainResult], write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = write("a.jsonl", many("1", 10)), write("b.jsonl", [stepwise("2", [1, 0.25, 0], source="judge")])
    recipe = (
        f"datasets:\n  - path: {first}\n    weight: 0.5\n  - path: {second}\n    label-view: soft\n    weight: 3\n"
    )
    result = train(recipe)
    assert [part["rows_an_epoch"] for part in result.metrics["data"]["datasets"]] == [10, 3]
    assert result.metrics["data"]["train"]["rows"] == 13
    assert result.metrics["label_source"] == "judge+labels"
    assert len(result.metrics["data"]["notices"]) == 1 and "note: the labels are on scales" in capsys.readouterr().err
    assert train(recipe).already_finished
    with pytest.raises(ConfigError, match="holds a run with data_digest"):
        train(recipe.replace("weight: 3", "weight: 2"))


def test_data_sets_can_be_listed_on_the_command_line(
    train: Callable[..., TrainResult], write: Callable[..., str]
) -> None:
    paths = write("a.jsonl", many("1", 3)), write("b.jsonl", many("2", 3))
    data = train("eval_fraction: 0.3", "--datasets", *paths).metrics["data"]
    assert [part["path"] for part in data["datasets"]] == ["a.jsonl", "b.jsonl"]
    assert data["train"]["groups"] == 4 and data["eval"]["groups"] == 2


def test_a_pairwise_outcome_model_learns_from_graded_solutions(
    train: Callable[..., TrainResult], tmp_path: Path
) -> None:
    def graded(problem: int, sample: int) -> Row:
        outcome = Outcome.CORRECT if sample % 2 else Outcome.WRONG
        where = Problem(f"{problem}", "1", f"id{problem}")
        return Rollout(where, (f"{sample}+1",), ("", ""), sample, StopReason.EOS, "m", outcome=outcome).to_dict()

    write_jsonl(tmp_path / "rollouts.jsonl", (graded(p, s) for p in range(4) for s in range(4)))
    recipe = f"dataset_name: {tmp_path / 'rollouts.jsonl'}\nobjective: orm\nloss: bradley_terry"
    result = train(recipe, "--max_pairs_per_problem", "3", "--eval_fraction", "0.25")
    (part,) = result.metrics["data"]["datasets"]
    assert (part["rows"], part["rows_an_epoch"], part["eval_rows"]) == (16, 9, 4)
    assert result.metrics["training"]["final_loss"] > 0


def test_a_loss_of_counts_needs_counts_and_learns_from_them_alone(write: Callable[..., str]) -> None:
    uncounted = TrainDataset(write("a.jsonl", many("p", 4)))
    with pytest.raises(DataError, match=r"a.jsonl: no label has counts of completions.*n_correct and n_total"):
        mixed(uncounted, counted=True)
    sure = stepwise("q", [1, 1], n_correct=[8, 8], n_total=[8, 8])
    counted = TrainDataset(write("b.jsonl", [sure]))
    with pytest.raises(DataError, match=r"every share of completions is 1, .*b.jsonl: 0 wrong, 2 correct"):
        mixed(uncounted, counted, counted=True)
    hard_but_told_apart = TrainDataset(write("c.jsonl", [sure | {"n_correct": [8, 1]}]))
    assert mixed(hard_but_told_apart, counted=True).train_rows[0].labels == (1.0, 1.0)


def test_counts_and_policies_reach_the_rows_of_a_labeler(tmp_path: Path) -> None:
    labels = (StepLabel("mc", 1, 4), StepLabel("mc", 0, 4), StepLabel("mc", 2, 4))
    rollout = Rollout(Problem("p", "1", "id"), ("a", "b", "c"), ("",) * 4, 0, StopReason.EOS, "m")
    write_jsonl(tmp_path / "labels.jsonl", [LabelledRollout(rollout, labels).to_dict()])
    dataset = TrainDataset(str(tmp_path / "labels.jsonl"))
    (kept,) = mixed(dataset).train_rows
    assert (kept.n_correct, kept.n_total) == ((1, 0, 2), (4, 4, 4))
    (dropped,) = mixed(dataset, reading=Reading(after_first_error="drop")).train_rows
    assert (dropped.labels, dropped.n_total) == ((1.0, 0.0, None), (4, 4, None))
    (wrong,) = mixed(dataset, reading=Reading(after_first_error="wrong")).train_rows
    assert (wrong.labels, wrong.n_correct, wrong.source) == ((1.0, 0.0, 0.0), (1, 0, None), "mc")
