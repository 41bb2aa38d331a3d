"""OmegaPRM's tree: how it is searched, what becomes of every rollout, and what its labels are worth."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path as FilePath
from typing import Any

import pytest
from prm.data_gen.known_splitter import splitter_of
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.omega import OmegaLabeler, continued
from prm.data_gen.omega_labels import TreeLabels
from prm.data_gen.omega_tree import OmegaRule, Path, State, Tree, prefix_texts
from prm.data_gen.prefixes import CompletionPool, Prefix, PrefixResult

from prm.errors import ConfigError
from prm.generation.base import SamplingParams
from prm.grading import ExactGrader
from prm.jsonl import read_jsonl, write_jsonl
from prm.labels import IMPLIED_RULE, LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason
from prm.sampling_rules import Fixed
from prm.worlds.arithmetic import step_truth
from prm.worlds.solver import ChainSolver

Sample = Callable[..., list[Rollout]]
PROBLEM = Problem("7a+5b-3c*2", "18", "p1", subject="arithmetic")
RIGHT, WRONG = Outcome.CORRECT, Outcome.WRONG


def pool(slip: float = 0.1, unfinished: float = 0.0) -> CompletionPool:
    return CompletionPool(ChainSolver(slip, unfinished), ExactGrader(), SamplingParams(), keep_texts=True)


def path(steps: str, outcome: Outcome | None, start: int = 0, tokens: int = 500) -> Path:
    """A path whose steps are the letters of a word, one a line."""
    gaps = ("", *["\n"] * (len(steps) - 1), "")
    reason = StopReason.LENGTH if outcome is None else StopReason.EOS
    rollout = Rollout(PROBLEM, tuple(steps), gaps, 0, reason, "t", outcome=outcome)
    return Path(rollout, outcome, prefix_texts(rollout.steps, gaps), start, tokens)


def tree_of(*paths: Path, **rule: Any) -> Tree:
    tree = Tree(PROBLEM, OmegaRule(**rule))
    for one in paths:
        tree.add(tree.root, one)
    return tree


def complete(tree: Tree, state: State, *completions: Path) -> None:
    state.result = PrefixResult(tuple(one.outcome for one in completions))
    for one in completions:
        tree.add(state, one)


def test_candidates_are_scored_as_computed_by_hand() -> None:
    short, long = path("abxy", WRONG, tokens=250), path("acxy", WRONG, tokens=1000)
    tree = tree_of(path("abcd", RIGHT), short, long, path("abce", RIGHT))
    # MC = 1/2, nothing visited: Q = .5^.5 * .9^(250/500), U = 0.
    assert tree.score(tree.root, short, 0) == pytest.approx(math.sqrt(0.5) * math.sqrt(0.9))
    assert tree.score(tree.root, long, 0) == pytest.approx(math.sqrt(0.5) * 0.81)
    # Nine visits in all, three of this state: U = .125 * 3 / 4.
    assert OmegaRule().bonus(3, 9) == pytest.approx(0.09375)
    assert tree.choose() == (tree.root, short)
    assert tree.root.visits == 1
    assert tree.score(tree.root, long, 1) == pytest.approx(math.sqrt(0.5) * 0.81 + 0.125 / 2)
    assert tree.choose() == (tree.root, long)
    assert tree.choose() is None


def test_a_pair_is_chosen_once_also_when_its_text_comes_again() -> None:
    tree = tree_of(path("abcd", RIGHT), path("xyzw", WRONG))
    assert tree.choose() is not None
    tree.add(tree.root, path("xyzw", WRONG))
    assert tree.choose() is None


def test_a_rollout_whose_first_error_is_known_is_passed_over() -> None:
    tree = tree_of(path("abcd", RIGHT), path("abce", WRONG))
    assert tree.bounds(tree.paths[1]) == (3, 4)  # the right one passes its first three steps
    assert tree.choose() is None and tree.root.visits == 0


def test_the_pool_follows_the_shares_of_its_states() -> None:
    tree = tree_of(path("abcd", RIGHT), path("xyzw", WRONG), path("xyzv", WRONG))
    state = tree.open_state(tree.paths[1], 2)
    complete(tree, state, path("xyst", WRONG, 2), path("xyuv", WRONG, 2))
    assert tree.mc(state) == 0 and tree.solvable("x\ny\n") is False
    assert {pair[0].prefix.text for pair in tree.candidates()} == {""}
    tree.add(tree.root, path("xyop", RIGHT))  # a rollout of the root passes the state and is right
    assert tree.mc(state) == 1 / 5 and tree.solvable("x\ny\n") is True
    assert {pair[0].prefix.text for pair in tree.candidates()} == {"", "x\ny\n"}
    # What is sampled behind a state says nothing of how often the root succeeds.
    assert tree.mc(tree.root) == pytest.approx(2 / 4)


def test_what_decides_nothing_counts_nowhere() -> None:
    tree = tree_of(path("ab", RIGHT), path("cd", None), path("ef", Outcome.UNPARSABLE))
    assert tree.mc(tree.root) == 1 and tree.candidates() == []
    state = tree.open_state(tree.paths[1], 1)
    complete(tree, state, path("cx", None, 1))
    assert tree.mc(state) is None and tree.solvable("c\n") is None
    assert TreeLabels(tree)(tree.paths[1]) == (StepLabel("omega", 0, 0, 1), StepLabel("omega"))


def test_labels_say_where_they_come_from() -> None:
    tree = tree_of(path("abcd", RIGHT), path("abxyz", WRONG), path("hijkl", WRONG), k=2)
    state = tree.open_state(tree.paths[1], 3)
    complete(tree, state, path("abxyz", WRONG, 3), path("abxuv", WRONG, 3))
    labels = TreeLabels(tree)
    implied_1, implied_0 = (StepLabel("omega", rule=IMPLIED_RULE, value=value) for value in (1.0, 0.0))
    none_right = StepLabel("omega", 0, 2)
    assert labels(tree.paths[0]) == (*[implied_1] * 3, StepLabel("omega", 2, 2))
    assert labels(tree.paths[1]) == (implied_1, implied_1, none_right, implied_0, none_right)
    assert labels(tree.paths[2]) == (*[StepLabel("omega")] * 4, none_right)  # not searched yet
    assert [label.hard for label in labels(tree.paths[1])] == [1, 1, 0, 0, 0]
    assert [label.soft for label in labels(tree.paths[1])] == [None, None, 0, None, 0]


def test_a_lucky_answer_whitewashes_no_step() -> None:
    # Behind "x" one completion in eight is right, where the problem is solved every other time.
    tree = tree_of(path("abcd", RIGHT), path("xyzw", WRONG))
    state = tree.open_state(tree.paths[1], 1)
    complete(tree, state, path("xpqr", RIGHT, 1), *[path("xpqs", WRONG, 1)] * 7)
    lucky = TreeLabels(tree)(state.paths[0])
    assert lucky == (StepLabel("omega", 1, 8), StepLabel("omega"), StepLabel("omega"), StepLabel("omega", 8, 8))
    # A state that is solved as often as the problem is believed.
    complete(tree, tree.open_state(tree.paths[1], 2), path("xyzr", RIGHT, 2), path("xyzs", WRONG, 2))
    assert TreeLabels(tree)(tree.paths[1])[2].hard == 1


def test_a_problem_never_solved_marks_no_step_wrong(sampled_rollouts: Sample) -> None:
    rollouts = [r for r in sampled_rollouts(ChainSolver(0.6), problems=10, n=8, operations=8) if not r.correct]
    counts = Counter(r.problem for r in rollouts)
    never = [r for r in rollouts if counts[r.problem] == 8]
    assert never
    rows = OmegaLabeler(pool(0.6)).label(never)
    assert [row.rollout for row in rows] == never
    assert all([label.hard for label in row.labels] == [None] * 8 + [0] for row in rows)


@pytest.fixture(scope="module")
def grown(sampled_rollouts: Sample) -> tuple[list[Rollout], list[LabelledRollout], CompletionPool]:
    """Eight rollouts of each of 25 problems, what omega makes of them, and the pool it drew from."""
    rollouts = sampled_rollouts(ChainSolver(0.1), problems=25, n=8, operations=6)
    source = pool()
    return rollouts, OmegaLabeler(source, OmegaRule(searches=20)).label(rollouts), source


def test_every_rollout_of_the_tree_is_a_path(
    grown: tuple[list[Rollout], list[LabelledRollout], CompletionPool],
) -> None:
    rollouts, rows, source = grown
    new = [row for row in rows if row.rollout.source == "chain-solver/omega"]
    assert [row.rollout for row in rows if row not in new] == rollouts
    # A problem's rows stand together, so that shards of a file are of whole problems.
    problems = [row.rollout.problem for row in rows]
    assert sum(one != other for one, other in pairwise(problems)) == len(set(problems)) - 1
    texts = [
        (prefix.problem, prefix.text + completion.text)
        for prefix, result in source.results.items()
        for completion in result.completions
    ]
    assert Counter((row.rollout.problem.problem, row.rollout.text) for row in new) == Counter(texts)
    assert {row.rollout.outcome for row in new} == {RIGHT, WRONG}
    assert all(result.n_asked == 8 for result in source.results.values())
    assert all(prefix.text for prefix in source.results)  # eight rollouts are enough of the root
    assert len({row.rollout.key for row in rows}) == len(rows)
    spent = sum(result.cost.generated_tokens for result in source.results.values())
    assert sum(row.cost.generated_tokens for row in rows) == spent
    assert all(row.rollout.pred is not None and len(row.labels) == len(row.rollout.steps) for row in rows)


def test_labels_are_as_good_as_by_completing_every_prefix_and_three_times_as_many_per_token(
    grown: tuple[list[Rollout], list[LabelledRollout], CompletionPool],
) -> None:
    rollouts, rows, _ = grown
    everything = MonteCarloLabeler(pool(), Fixed(8)).label(rollouts)
    (omega_count, omega_right), (count, right) = map(worth, (rows, everything))
    assert omega_right / omega_count >= right / count
    assert omega_count / tokens(rows) >= 3 * count / tokens(everything)


def worth(rows: Sequence[LabelledRollout]) -> tuple[int, int]:
    """Distinct prefixes that have a hard label, and those of them where it is the truth."""
    labels: dict[tuple[str, ...], bool] = {}
    for row in rows:
        problem, steps = row.rollout.problem.problem, row.rollout.steps
        for depth, (label, true) in enumerate(zip(row.labels, step_truth(problem, steps), strict=True), start=1):
            if label.hard is not None:
                labels[(problem, *steps[:depth])] = (label.hard == 1) == true
    return len(labels), sum(labels.values())


def tokens(rows: Sequence[LabelledRollout]) -> int:
    return sum(row.cost.generated_tokens for row in rows)


def test_the_budget_of_searches_is_kept_and_the_tree_grows_with_it(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.15), problems=4, n=8, operations=6)
    asked = []
    for searches in (0, 1, 3):
        source = pool(0.15)
        rows = OmegaLabeler(source, OmegaRule(searches=searches)).label(rollouts)
        states = Counter(prefix.problem for prefix in source.results)
        # A rollout of seven steps is halved at most three times.
        assert all(count <= 3 * searches for count in states.values())
        asked.append(len(rows))
    assert asked[0] == len(rollouts) < asked[1] < asked[2]


def test_a_root_with_few_rollouts_is_filled_up_with_others(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.1), problems=3, n=3)
    source = CompletionPool(ChainSolver(0.1), ExactGrader(), SamplingParams(), keep_texts=True, seed=9)
    rows = OmegaLabeler(source, OmegaRule(searches=0)).label(rollouts)
    new = [row.rollout for row in rows if row.rollout not in rollouts]
    assert {rollout.source for rollout in new} == {"chain-solver"}  # samples of the problem like any other
    assert len(new) == 3 * (8 - 3) and len(rows) == 3 * 8
    # The given ones have the seeds of the indices 0 to 2 (see the fixture); the others begin behind them.
    five = sampled_rollouts(ChainSolver(0.1), problems=3, n=8)
    assert [r.steps for r in new] == [r.steps for r in five if r.sample_index >= 3]
    assert [r.sample_index for r in new] == [3, 4, 5, 6, 7] * 3


def test_truncated_completions_are_paths_of_unknown_end(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.15), problems=6, n=8)
    rows = OmegaLabeler(pool(0.15, unfinished=0.5), OmegaRule(searches=3)).label(rollouts)
    cut = [row for row in rows if row.rollout.stop_reason is StopReason.LENGTH]
    assert cut and all(row.rollout.outcome is None and row.rollout.pred is None for row in cut)
    assert any(label.n_undecided for row in rows for label in row.labels)


def test_the_steps_of_a_state_stay_whatever_follows() -> None:
    state = State(
        Prefix("p", "1", "one.\n\ntwo.\n"), ("one.", "two."), ("", "\n\n", "\n"), ("one.\n\n", "one.\n\ntwo.\n")
    )
    split = continued(state, "\nthree.\n\nfour.", "separator:\n\n")
    assert split.steps == ("one.", "two.", "three.", "four.") and split.text == "one.\n\ntwo.\n\nthree.\n\nfour."
    split = continued(state, "three.\n\nfour.", "separator:\n\n")  # the whole would have "two.\nthree." as one step
    assert split.steps == ("one.", "two.", "three.", "four.") and split.gaps == ("", "\n\n", "\n", "\n\n", "")


@pytest.mark.parametrize("text", ["a\n\nb\n\nc", "a\nb\nc", "1. a\n2. b c\n", "One is. Two is! Three.", "a;b;c"])
def test_the_splitter_is_known_by_its_steps(text: str) -> None:
    from prm.splitting import split_steps

    names = ("separator:\n\n", "line", "numbered", "sentence", "separator:;")
    made = next(split for name in names if len((split := split_steps(text, name)).steps) > 1)
    rollout = Rollout(PROBLEM, made.steps, made.gaps, 0, StopReason.EOS, "t")
    assert split_steps(text, splitter_of([rollout])) == made
    odd = replace(rollout, steps=(text[:1], text[1:]), gaps=("", "", ""))
    with pytest.raises(ConfigError, match="set splitter"):
        splitter_of([odd])


def test_a_killed_run_goes_on_to_the_same_bytes(
    sampled_rollouts: Sample, tmp_path: FilePath, monkeypatch: Any
) -> None:
    options = label_options(sampled_rollouts, tmp_path, monkeypatch)
    whole = run_label(LabelConfig(**options, output_dir=str(tmp_path / "whole")))
    assert whole.report["settings"]["splitter"] == "line"
    ledger = (tmp_path / "whole" / "label_ledger.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "label_ledger.jsonl").write_text("".join(ledger[: len(ledger) // 2]) + '{"key": "tor')
    monkeypatch.setattr(ChainSolver, "generate", counting(asked := []))
    again = run_label(LabelConfig(**options, output_dir=str(tmp_path / "killed")))
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert (tmp_path / "killed" / "label_report.json").read_bytes() == (
        tmp_path / "whole" / "label_report.json"
    ).read_bytes()
    finished = sum('"token_ids"' in line for line in ledger)
    assert 0 < len(asked) < finished
    keys = [json.loads(line)["key"] for line in (tmp_path / "killed" / "label_ledger.jsonl").open() if '"key"' in line]
    assert len(keys) == len(set(keys))
    rows = [LabelledRollout.from_dict(row) for _, row in read_jsonl(again.path)]
    assert {row.rollout.source for row in rows} == {"chain-solver", "chain-solver/omega"}


def counting(asked: list[Any]) -> Any:
    """`ChainSolver.generate`, which remembers what it was asked."""
    generate = ChainSolver.generate

    def recording(self: ChainSolver, requests: Any, *arguments: Any) -> Any:
        asked.extend(requests)
        return generate(self, requests, *arguments)

    return recording


def label_options(sampled_rollouts: Sample, folder: FilePath, monkeypatch: Any) -> dict[str, Any]:
    """`prm label --labeler omega` on a solver without weights."""
    rollouts = sampled_rollouts(ChainSolver(0.15), problems=5, n=8)
    write_jsonl(folder / "rollouts.jsonl", (rollout.to_dict() for rollout in rollouts))
    monkeypatch.setattr(LabelConfig, "load_generator", lambda self: ChainSolver(0.15))
    monkeypatch.setattr(
        LabelConfig, "model_settings", lambda self: {"model_name_or_path": "solver", "model_revision": "1"}
    )
    return {
        "labeler": "omega",
        "rollouts_path": str(folder / "rollouts.jsonl"),
        "model_name_or_path": "solver",
        "searches": 5,
        "device": "cpu",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 1}, "n of at least 2"),
        ({"alpha": 0.0}, "0 < alpha"),
        ({"splitter": "words"}, "unknown splitter"),
        ({"labeler": "consensus", "consensus_of": ["omega", "monte_carlo"]}, "run it first"),
    ],
)
def test_what_cannot_work_is_refused_first(
    sampled_rollouts: Sample, tmp_path: FilePath, monkeypatch: Any, changes: dict[str, Any], message: str
) -> None:
    options = label_options(sampled_rollouts, tmp_path, monkeypatch) | changes
    with pytest.raises(ConfigError, match=message):
        run_label(LabelConfig(**options, output_dir=str(tmp_path / "out")))


def test_a_pool_without_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="keep_texts"):
        OmegaLabeler(CompletionPool(ChainSolver(), ExactGrader(), SamplingParams()))
