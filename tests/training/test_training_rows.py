"""Training rows are read without loss, and what cannot be read is named by file and line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import dumps, write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason
from prm.rows.training_rows import LabelView, RejectedRow, StepRow, load_rows
from prm.rows.views import shuffle_labels, split_by_group


def stepwise(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def rollout(
    index: int, outcome: Outcome | None, steps: tuple[str, ...] = ("a", "b"), stop: StopReason = StopReason.EOS
) -> Rollout:
    problem = Problem(problem=f"p{index // 2}", answer="1", unique_id=f"id{index // 2}")
    gaps = ("",) * (len(steps) + 1)
    return Rollout(problem, steps, gaps, sample_index=index, stop_reason=stop, source="m", outcome=outcome)


def stepped(prompt: str, labels: list[Any]) -> dict[str, Any]:
    return {"prompt": prompt, "completions": [f"s{i}" for i in range(len(labels))], "labels": labels}


GOOD = {"prompt": "1+1", "completions": ["1+1=2", "2"], "labels": [True, False]}


def test_stepwise_rows_keep_fractions_booleans_and_unknown_labels(tmp_path: Path) -> None:
    """TRL 1.13 cast labels by int(), which made .9 a 0."""
    row = {"prompt": "1+1", "completions": ["a", "b", "c"], "labels": [0.9, None, False]}
    (soft,) = load_rows(stepwise(tmp_path / "r.jsonl", row), label_view="soft").rows
    (hard,) = load_rows(tmp_path / "r.jsonl", label_view="hard").rows
    assert soft.labels == (0.9, None, 0.0) and soft.hard_labels == (1, None, 0)
    assert hard.labels == (1.0, None, 0.0)
    assert (soft.path, soft.line) == (str(tmp_path / "r.jsonl"), 1)


def test_counts_win_over_labels_and_one_success_is_a_hard_one(tmp_path: Path) -> None:
    row = {**GOOD, "labels": [0.0, 0.0], "n_correct": [1, 0], "n_total": [8, 8], "source": "monte_carlo"}
    path = stepwise(tmp_path / "r.jsonl", row)
    assert load_rows(path, label_view="soft").rows[0].labels == (0.125, 0.0)
    assert load_rows(path, label_view="soft").rows[0].hard_labels == (1, 0)
    assert load_rows(path, label_view="hard").rows[0].labels == (1.0, 0.0)
    assert load_rows(path).rows[0].source == "monte_carlo"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1]}, "1 labels for 2 steps"),
        ({"labels": [1, -1]}, "the label -1"),
        ({"labels": [1, 1.5]}, "the label 1.5"),
        ({"labels": [1, "yes"]}, "the label 'yes'"),
        ({"labels": [None, None]}, "a row without any label"),
        ({"labels": 1}, "labels is not a list"),
        ({"completions": []}, "completions is not a list of texts, or is empty"),
        ({"completions": "1+1=2"}, "completions is not a list of texts"),
        ({"prompt": " "}, "the prompt is not a text, or is empty"),
        ({"lables": []}, "the unknown column 'lables'"),
        ({"n_correct": [1], "n_total": [2]}, "n_correct is not one value per step"),
        ({"n_correct": [3, 1], "n_total": [2, 2]}, "n_correct is 3 and n_total 2"),
        ({"n_correct": ["x", 1], "n_total": [2, 2]}, "n_correct is 'x' and n_total 2"),
        ({"n_correct": [1, -1], "n_total": [2, 2]}, "n_correct is -1 and n_total 2"),
        ({"n_correct": [1, 1], "n_total": [2, True]}, "n_correct is 1 and n_total True"),
        ({"n_correct": [1, 1]}, "n_correct is 1 and n_total None"),
    ],
)
@pytest.mark.parametrize("view", ["hard", "soft"])
def test_bad_rows_are_named_by_file_and_line(
    tmp_path: Path, change: dict[str, Any], message: str, view: LabelView
) -> None:
    path = stepwise(tmp_path / "r.jsonl", GOOD, {**GOOD, **change})
    with pytest.raises(DataError, match=message) as caught:
        load_rows(path, label_view=view)
    assert f"{path}, line 2: " in str(caught.value)
    assert caught.value.remedy


def test_bad_rows_can_be_rejected_and_counted_by_their_reason(tmp_path: Path) -> None:
    bad = [{**GOOD, "labels": [1]}, {**GOOD, "labels": [1, 0, 1]}, {**GOOD, "labels": [1, float("nan")]}]
    rejected: list[RejectedRow] = []
    loaded = load_rows(stepwise(tmp_path / "r.jsonl", GOOD, *bad, GOOD), rejected=rejected)
    assert len(loaded.rows) == 2
    assert dict(loaded.dropped) == {"… labels for … steps": 2, "the label nan": 1}
    assert [(row.line, row.reason) for row in rejected][:2] == [
        (2, "1 labels for 2 steps"),
        (3, "3 labels for 2 steps"),
    ]
    assert json.loads(dumps(rejected[2].to_dict()))["row"]["labels"] == [1, "NaN"]
    with pytest.raises(DataError, match="no row to train on"):
        load_rows(stepwise(tmp_path / "b.jsonl", *bad), rejected=rejected)


def test_missing_column_missing_file_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no 'labels' in a row"):
        load_rows(stepwise(tmp_path / "a.jsonl", {"prompt": "x", "completions": ["y"]}))
    with pytest.raises(DataError, match=r"a row with the columns \['question'\].*labels.jsonl"):
        load_rows(stepwise(tmp_path / "b.jsonl", {"question": "x"}))
    with pytest.raises(MissingFileError):
        load_rows(tmp_path / "none.jsonl")
    with pytest.raises(MissingFileError):
        load_rows(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="no rows in it"):
        load_rows(stepwise(tmp_path / "c.jsonl"))
    (tmp_path / "d.txt").write_text("x")
    with pytest.raises(DataError, match=r"neither .jsonl nor .parquet"):
        load_rows(tmp_path / "d.txt")
    with pytest.raises(ConfigError, match="kind must be"):
        load_rows(tmp_path / "a.jsonl", kind="reward")


def test_parquet_reads_as_jsonl_does(tmp_path: Path) -> None:
    import datasets

    rows = [{**GOOD, "labels": [1.0, 0.25]}, {**GOOD, "prompt": "2+2", "labels": [0.5, 0.0]}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "r.parquet")
    from_parquet = load_rows(tmp_path / "r.parquet", label_view="soft")
    from_json = load_rows(stepwise(tmp_path / "r.jsonl", *rows), label_view="soft")
    assert from_parquet.digest == from_json.digest
    assert [row.labels for row in from_parquet.rows] == [(1.0, 0.25), (0.5, 0.0)]


def test_labels_of_a_labeler_are_read_by_view(tmp_path: Path) -> None:
    decided = LabelledRollout(rollout(0, Outcome.CORRECT), (StepLabel("mc", 1, 4), StepLabel("mc", n_undecided=4)))
    undecided = LabelledRollout(rollout(1, Outcome.WRONG), (StepLabel("mc"), StepLabel("mc")))
    write_jsonl(tmp_path / "labels.jsonl", (row.to_dict() for row in [decided, undecided]))
    soft = load_rows(tmp_path / "labels.jsonl", label_view="soft")
    assert soft.rows[0].labels == (0.25, None) and soft.rows[0].hard_labels == (1, None)
    assert soft.rows[0].group == "id0" and soft.rows[0].source == "mc"
    assert dict(soft.dropped) == {"no decided label": 1}
    assert load_rows(tmp_path / "labels.jsonl").rows[0].labels == (1.0, None)


def test_a_soft_view_that_the_stopping_rule_biases_is_refused_by_line(tmp_path: Path) -> None:
    biased = LabelledRollout(rollout(0, None), (StepLabel("mc", 1, 3, rule="first_success"), StepLabel("mc", 0, 8)))
    write_jsonl(tmp_path / "labels.jsonl", (row.to_dict() for row in [biased]))
    with pytest.raises(DataError, match=r"labels.jsonl, line 1: .*first_success.*biased"):
        load_rows(tmp_path / "labels.jsonl", label_view="soft")
    assert load_rows(tmp_path / "labels.jsonl").rows[0].labels == (1.0, 0.0)


def test_outcome_rows_have_one_label_and_count_what_they_drop(tmp_path: Path) -> None:
    kinds = [
        (Outcome.CORRECT, StopReason.EOS),
        (Outcome.WRONG, StopReason.EOS),
        (Outcome.UNPARSABLE, StopReason.EOS),
        (Outcome.TIMEOUT, StopReason.EOS),
        (None, StopReason.EOS),
        (Outcome.WRONG, StopReason.LENGTH),  # a truncated rollout is not a wrong one
    ]
    rollouts = [rollout(i, outcome, stop=stop) for i, (outcome, stop) in enumerate(kinds)]
    write_jsonl(tmp_path / "r.jsonl", (row.to_dict() for row in [*rollouts, rollout(9, Outcome.WRONG, steps=())]))
    loaded = load_rows(tmp_path / "r.jsonl", kind="orm")
    assert [row.labels for row in loaded.rows] == [(None, 1.0), (None, 0.0)]
    assert dict(loaded.dropped) == {"unparsable": 1, "timeout": 1, "ungraded": 1, "truncated": 1, "no steps": 1}
    with pytest.raises(DataError, match="a rollout without step labels"):
        load_rows(tmp_path / "r.jsonl", kind="prm")


def test_an_outcome_model_learns_the_last_label_of_stepwise_rows(tmp_path: Path) -> None:
    path = stepwise(tmp_path / "r.jsonl", GOOD)
    assert load_rows(path, kind="orm").rows[0].labels == (None, 0.0)
    with pytest.raises(DataError, match="no label on the last step"):
        load_rows(stepwise(path, {**GOOD, "labels": [1, None]}), kind="orm")


def test_only_dropped_rows_is_an_error_that_says_why(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "r.jsonl", (row.to_dict() for row in [rollout(0, Outcome.TIMEOUT), rollout(1, None)]))
    with pytest.raises(DataError, match=r"no row to train on \(dropped: 1 timeout, 1 ungraded\)"):
        load_rows(tmp_path / "r.jsonl", kind="orm")


def test_the_split_is_by_problem(make_rows: Callable[..., list[StepRow]]) -> None:
    rows = make_rows(60, per_problem=3)
    train, held_out = split_by_group(rows, 0.25, seed=0)
    assert not {row.group for row in train} & {row.group for row in held_out}
    assert len({row.group for row in held_out}) == 5 and len(held_out) == 15
    assert len(train) + len(held_out) == 60
    assert split_by_group(rows, 0.25, seed=0)[1] == held_out != split_by_group(rows, 0.25, seed=1)[1]
    assert split_by_group(rows, 0.0, seed=0) == (tuple(rows), ())
    assert len({r.group for r in split_by_group(rows[:6], 0.9, seed=0)[0]}) == 1  # both sides keep a problem
    with pytest.raises(ConfigError, match="two problems"):
        split_by_group(rows[:3], 0.5, seed=0)
    with pytest.raises(ConfigError, match=r"eval_fraction must be in"):
        split_by_group(rows, 1.0, seed=0)


def test_shuffled_labels_keep_texts_base_rate_and_unknown_labels(make_rows: Callable[..., list[StepRow]]) -> None:
    rows = [*make_rows(40), StepRow("x", ("a", "b"), (None, 1.0), "x")]
    shuffled = shuffle_labels(rows, seed=3)
    flat = [label for row in rows for label in row.labels]
    moved = [label for row in shuffled for label in row.labels]
    assert sorted(map(str, moved)) == sorted(map(str, flat)) and moved != flat
    assert [row.completions for row in shuffled] == [row.completions for row in rows]
    assert shuffled[-1].labels[0] is None and shuffled[-1].hard is None
    assert shuffle_labels(rows, seed=3) == shuffled != shuffle_labels(rows, seed=4)


def test_real_monte_carlo_values_are_read_as_fractions(data_dir: Path, tmp_path: Path) -> None:
    """SCAN's solutions of a real model, in TRL's columns."""
    lines = (data_dir / "scan_base_100.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    rows = [{"prompt": r["question"], "completions": r["steps"], "labels": r["scores"]} for r in records]
    loaded = load_rows(stepwise(tmp_path / "scan.jsonl", *rows), label_view="soft")
    assert [row.labels for row in loaded.rows] == [tuple(map(float, r["scores"])) for r in records]
    assert any(0 < label < 1 for row in loaded.rows for label in row.labels if label is not None)


BEHIND = [stepped("a", [0.9, 0.25, 0.5]), stepped("b", [0.0, 1.0]), stepped("c", [1.0, None])]


@pytest.mark.parametrize(
    ("policy", "labels", "hard"),
    [
        ("keep", [(0.9, 0.25, 0.5), (0.0, 1.0), (1.0, None)], (1, 0, 1)),
        ("drop", [(0.9, 0.25, None), (0.0, None), (1.0, None)], (1, 0, None)),
        ("wrong", [(0.9, 0.25, 0.0), (0.0, 0.0), (1.0, None)], (1, 0, 0)),
    ],
)
def test_labels_behind_the_first_error_follow_the_policy(
    tmp_path: Path, policy: str, labels: list[tuple[float | None, ...]], hard: tuple[int | None, ...]
) -> None:
    loaded = load_rows(stepwise(tmp_path / "r.jsonl", *BEHIND), label_view="soft", after_first_error=policy)
    assert [row.labels for row in loaded.rows] == labels
    assert loaded.rows[0].hard_labels == hard
    assert dict(loaded.changed) == ({} if policy == "keep" else {"after_first_error": 2})


@pytest.mark.parametrize(
    ("policy", "labels"),
    [("keep", (1.0, 0.5, 0.0)), ("right", (1.0, 1.0, 0.0)), ("wrong", (1.0, 0.0, 0.0)), ("drop", (1.0, None, 0.0))],
)
def test_ratings_are_read_when_asked_for_and_neutral_ones_by_the_policy(
    tmp_path: Path, policy: str, labels: tuple[float | None, ...]
) -> None:
    path = stepwise(tmp_path / "r.jsonl", stepped("p", [1, 0, -1]), stepped("q", [1.0, None, -1.0]))
    loaded = load_rows(path, label_scale="ratings", neutral_labels=policy, label_view="soft")
    assert loaded.rows[0].labels == labels and loaded.rows[1].labels == (1.0, None, 0.0)
    assert loaded.changed["neutral"] == 1
    hard = load_rows(path, label_scale="ratings", neutral_labels=policy).rows[0].labels
    assert hard == tuple(None if label is None else float(label >= 0.5) for label in labels)


def test_a_neutral_rating_that_counts_as_wrong_is_a_first_error(tmp_path: Path) -> None:
    path = stepwise(tmp_path / "r.jsonl", stepped("p", [1, 0, 1]))
    loaded = load_rows(path, label_scale="ratings", neutral_labels="wrong", after_first_error="drop")
    assert loaded.rows[0].labels == (1.0, 0.0, None)


def test_ratings_are_never_misread_as_shares_row_by_row(tmp_path: Path) -> None:
    """Dropping the rows that have a -1 would keep those whose wrong steps are called neutral."""
    path = stepwise(tmp_path / "r.jsonl", stepped("p", [1, 0]), stepped("q", [1, -1]))
    with pytest.raises(DataError, match=r"line 2: the label -1\. .*set label_scale: ratings, and neutral_labels"):
        load_rows(path, rejected=[])
    with pytest.raises(DataError, match=r"line 1: the rating 0\.5\. With label_scale: ratings"):
        load_rows(stepwise(path, stepped("p", [0.5])), label_scale="ratings")
    with pytest.raises(DataError, match="the rating True"):
        load_rows(stepwise(path, stepped("p", [True])), label_scale="ratings")
    labelled = LabelledRollout(rollout(0, None), (StepLabel("mc", 1, 4), StepLabel("mc", 0, 4))).to_dict()
    with pytest.raises(DataError, match="label_scale: ratings for a row of ours"):
        load_rows(stepwise(path, labelled), label_scale="ratings")


def test_prm800k_is_read_alike_by_curation_and_by_the_trainer(data_dir: Path, tmp_path: Path) -> None:
    from prm.data_gen.convert import ConvertConfig, run_convert
    from prm.data_gen.curate import CurateConfig, run_curate

    raw = str(data_dir / "prm800k_samples.jsonl")
    run_convert(ConvertConfig(input_path=raw, output_path=str(tmp_path / "all.jsonl"), to_format="stepwise"))
    ratings = [label for row in load_rows(tmp_path / "all.jsonl", label_view="soft").rows for label in row.labels]
    assert set(ratings) >= {0.0, 0.5, 1.0}
    for neutral in ("keep", "right", "wrong", "drop"):
        path = tmp_path / f"{neutral}.jsonl"
        run_curate(CurateConfig(input_path=[raw], output_path=str(path), neutral=neutral, dedup="none"))
        curated = [row.labels for row in load_rows(path, label_view="soft").rows]
        loaded = load_rows(tmp_path / "all.jsonl", label_view="soft", neutral_labels=neutral)
        assert [row.labels for row in loaded.rows] == curated
        assert loaded.changed["neutral"] == ratings.count(0.5)


def test_counts_are_kept_where_there_are_any(tmp_path: Path) -> None:
    counted = {**GOOD, "n_correct": [3, None], "n_total": [8, None]}
    rows = load_rows(stepwise(tmp_path / "r.jsonl", counted, GOOD)).rows
    assert (rows[0].n_correct, rows[0].n_total) == ((3, None), (8, None))
    assert rows[1].n_correct is None and rows[1].n_total is None
    stopped = LabelledRollout(rollout(0, None), (StepLabel("mc", 1, 3, rule="first_success"), StepLabel("mc", 0, 8)))
    write_jsonl(tmp_path / "labels.jsonl", [stopped.to_dict()])
    assert load_rows(tmp_path / "labels.jsonl").rows[0].n_correct == (1, 0)
    digests = {load_rows(stepwise(tmp_path / f"{n}.jsonl", counted | {"n_total": [n, None]})).digest for n in (8, 9)}
    assert len(digests) == 2  # the same hard labels from other counts are other data


def test_the_source_of_labels_can_be_set(tmp_path: Path) -> None:
    path = stepwise(tmp_path / "r.jsonl", {**GOOD, "source": ["a", "b"]})
    assert load_rows(path).rows[0].source == "a+b"
    assert load_rows(path, label_source="people").rows[0].source == "people"


def test_shuffled_labels_take_their_counts_with_them() -> None:
    rows = [
        StepRow("p", ("a", "b"), (i / 10, None), str(i), n_correct=(i, None), n_total=(10, None)) for i in range(9)
    ]
    shuffled = shuffle_labels(rows, seed=0)
    assert [row.labels for row in shuffled] != [row.labels for row in rows]
    assert all(row.n_correct == (round(row.labels[0] * 10), None) for row in shuffled)  # type: ignore[operator]


def test_a_pair_or_another_format_is_pointed_to_where_it_is_read(tmp_path: Path) -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match=r"a pair of a chosen and a rejected solution.*loss: bradley_terry"):
        load_rows(stepwise(tmp_path / "a.jsonl", pair), kind="orm")
    with pytest.raises(DataError, match="`prm data convert` turns other formats into these"):
        load_rows(stepwise(tmp_path / "b.jsonl", {"question": "x", "steps": [], "scores": []}))


@pytest.mark.parametrize("view", ["hard", "soft"])
def test_a_share_of_completions_is_right_from_any_success_by_its_source(tmp_path: Path, view: str) -> None:
    """As the counts behind it would say, and as `prm data convert` does; anything else is right from 0.5 up."""
    shares = {**GOOD, "completions": list("abcd"), "labels": [0.125, 0.5, 0, 1]}

    def hard(row: dict[str, object], **reading: str) -> tuple[float | None, ...]:
        return load_rows(stepwise(tmp_path / "r.jsonl", row), label_view=view, **reading).rows[0].hard_labels

    assert hard({**shares, "source": "monte_carlo"}) == hard(shares, label_source="mc_values") == (1, 1, 0, 1)
    assert hard(shares) == hard({**shares, "source": "judge"}) == (0, 1, 0, 1)
    assert hard({**shares, "source": ["monte_carlo", "judge", "judge", "judge"]}) == (1, 1, 0, 1)
    assert StepRow("p", ("a", "b"), (0.125, 0.0), "g", "monte_carlo").hard_labels == (1, 0)
    assert StepRow("p", ("a", "b"), (0.125, 0.5), "g", "monte_carlo+human").hard_labels == (0, 1)
