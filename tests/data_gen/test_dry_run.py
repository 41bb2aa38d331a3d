"""`--dry_run`: its estimate against what a real run asks, and that nothing is asked or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.dry_run import estimate_label, estimate_rollout, estimate_table
from prm.data_gen.first_error import FirstErrorLabeler, FirstErrorRule
from prm.data_gen.generation_time import STEP_TOKENS, Speed, Work, time_line
from prm.data_gen.label import main as label_main
from prm.data_gen.label_config import LabelConfig
from prm.data_gen.labelers import first_error_rule, omega_rule, sampling_rule
from prm.data_gen.ledger_tally import LedgerTally
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.omega import OmegaLabeler
from prm.data_gen.prefixes import CompletionPool, sampled_prefixes
from prm.data_gen.request_bounds import JudgePrompts, TreeBound, label_plan
from prm.data_gen.rollout import main as rollout_main
from prm.data_gen.stage import StageOutput
from prm.data_gen.verdicts import JudgeTemplate
from transformers import AutoTokenizer

from prm.errors import ConfigError
from prm.generation.base import SamplingParams
from prm.generation.hf import HFGenerator
from prm.grading import ExactGrader
from prm.jsonl import write_json, write_jsonl
from prm.rollouts import Cost, Outcome, Rollout
from prm.worlds.solver import ChainSolver

Sample = Callable[..., list[Rollout]]
SOLVER = ChainSolver(slip=0.1)
SPEED = Speed(Work(tokens=100, steps=1, rounds=1), generated=80, seconds=8.0)


def config(**options: Any) -> LabelConfig:
    return LabelConfig(rollouts_path="rollouts.jsonl", output_dir="out", model_name_or_path="m", **options)


def real(options: LabelConfig, rollouts: list[Rollout]) -> tuple[int, int, int]:
    """Completions, generated and prefilled tokens that labelling takes."""
    pool = CompletionPool(SOLVER, ExactGrader(), SamplingParams())
    if options.labeler == "first_error":
        FirstErrorLabeler(pool, first_error_rule(options)).label(rollouts)
    else:
        MonteCarloLabeler(pool, sampling_rule(options)).label(rollouts)
    cost = sum((result.cost for result in pool.results.values()), Cost())
    completions = sum(result.n_asked for result in pool.results.values())
    return completions, cost.generated_tokens, cost.prefilled_tokens


@pytest.mark.parametrize(
    ("options", "factor"),
    [
        ({"n": 8}, 1.03),
        ({"rule": "first_success"}, 1.35),
        ({"rule": "interval"}, 1.35),
        ({"labeler": "first_error"}, 1.6),
    ],
)
def test_the_estimate_is_near_what_the_run_takes(
    options: dict[str, Any], factor: float, sampled_rollouts: Sample
) -> None:
    rollouts, asked = sampled_rollouts(SOLVER, problems=40), config(**options)
    estimate, (completions, generated, prefilled) = estimate_label(asked, rollouts), real(asked, rollouts)
    assert estimate.generated is not None and estimate.prefilled is not None and estimate.at_most is not None
    assert 1 / factor < estimate.generated / generated < factor
    assert 1 / factor < estimate.completions / completions < factor
    assert 1 / factor < estimate.prefilled / prefilled < factor
    assert completions <= estimate.at_most
    if options == {"n": 8}:
        assert completions == estimate.completions == estimate.at_most


def test_many_rollouts_are_scaled_up_from_whole_problems(
    sampled_rollouts: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=60)
    whole = estimate_label(config(), rollouts)
    monkeypatch.setattr("prm.data_gen.dry_run._MOST_ROLLOUTS", 60)
    part = estimate_label(config(), rollouts)
    assert part.completions == pytest.approx(whole.completions)
    assert part.generated == pytest.approx(whole.generated, rel=0.1) and part.generated != whole.generated


def test_rollouts_without_token_counts_leave_the_tokens_unknown(sampled_rollouts: Sample) -> None:
    recorded = [replace(rollout, cost=Cost()) for rollout in sampled_rollouts(SOLVER, problems=5)]
    estimate = estimate_label(config(), recorded)
    assert estimate.completions == 8 * len(sampled_prefixes(recorded))
    assert estimate.generated is None and "no token counts" in estimate.notes[0]


def test_what_completes_nothing_costs_nothing(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=3)
    assert estimate_label(config(labeler="implicit"), rollouts).completions == 0
    plan = label_plan(config(labeler="first_error"), rollouts)
    wrong = [rollout for rollout in rollouts if not rollout.correct]
    assert plan.requests == FirstErrorRule().max_n * len(sampled_prefixes(wrong)) and not plan.exact


def judge(**options: Any) -> LabelConfig:
    return config(labeler="judge", judge_model="no/such-judge", n_votes=3, judge_temperature=1.0, **options)


def test_a_judge_is_counted_in_votes_on_distinct_solutions_and_in_what_it_reads(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=5)
    distinct = {(rollout.problem.problem, rollout.steps) for rollout in rollouts}
    assert len(distinct) < len(rollouts)
    estimate, votes = estimate_label(judge(), rollouts), 3 * len(distinct)
    assert (estimate.votes, estimate.at_most, estimate.completions) == (votes, votes, 0)
    assert (estimate.generated, estimate.prefilled) == (None, None)  # no tokens are not 0 tokens
    read = 3 * sum(len(JudgeTemplate.load().fill(problem, steps, None)) for problem, steps in distinct)
    lines = estimate_table(estimate, LedgerTally(), SPEED)
    assert "judge's votes" in lines and "time: unknown" in lines
    assert f"judge: {votes:,} requests, {read:,} characters of prompts (its tokenizer is not here)" in lines
    assert f"at most {votes * 4096:,} generated tokens" in lines


def test_a_judges_prompts_are_counted_by_its_tokenizer_where_that_is_here(
    sampled_rollouts: Sample, generator_dir: Path
) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=3)
    tokenizer = AutoTokenizer.from_pretrained(generator_dir)
    distinct = {(rollout.problem.problem, rollout.steps) for rollout in rollouts}
    prompts = [JudgeTemplate.load().fill(problem, steps, None) for problem, steps in distinct]
    read = sum(len(ids) for ids in tokenizer(prompts, add_special_tokens=False)["input_ids"])
    estimate = estimate_label(config(labeler="judge", judge_model=str(generator_dir)), rollouts)
    assert estimate.prefilled == read > 0
    assert f"about {read:,} tokens of prompts (by its tokenizer" in estimate.notes[0]


def test_many_prompts_of_a_judge_are_scaled_up_and_said_to_be_about(
    sampled_rollouts: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=20)
    whole = JudgePrompts.of(judge(), rollouts)
    monkeypatch.setattr("prm.data_gen.request_bounds._MOST_PROMPTS", 10)
    part = JudgePrompts.of(judge(), rollouts)
    assert whole.exact and not part.exact and part.size != whole.size
    assert part.size == pytest.approx(whole.size, rel=0.05)
    assert f"about {part.size:,} characters" in estimate_label(judge(), rollouts).notes[0]


def test_a_consensus_is_the_sum_of_its_labelers_and_a_judges_tokens_stay_apart(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=5)
    alone = {name: estimate_label(config(labeler=name), rollouts) for name in ("monte_carlo", "first_error")}
    both = estimate_label(config(labeler="consensus", consensus_of=[*alone]), rollouts)
    assert both.completions == sum(estimate.completions or 0 for estimate in alone.values())
    asked = judge()
    asked.labeler, asked.consensus_of = "consensus", ["monte_carlo", "judge"]
    mixed = estimate_label(asked, rollouts)
    assert (mixed.completions, mixed.generated) == (alone["monte_carlo"].completions, None)
    assert f"completions: about {alone['monte_carlo'].generated:,.0f} generated" in mixed.notes[0]


@pytest.mark.parametrize(("n", "k", "searches"), [(8, 8, 3), (2, 8, 2), (8, 4, 50)])
def test_a_trees_bound_holds_and_is_said_to_be_one(n: int, k: int, searches: int, sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=12, n=n, operations=9)
    asked = config(labeler="omega", n=k, searches=searches, max_new_tokens=60)
    most = TreeBound.of(asked, rollouts)
    pool = CompletionPool(SOLVER, ExactGrader(), asked.sampling(), keep_texts=True)
    labelled = OmegaLabeler(pool, omega_rule(asked), "line").label(rollouts)
    assert max(len(row.rollout.steps) for row in labelled) == most.depth  # what the bound is said to hold for
    completions = sum(result.n_asked for result in pool.results.values())
    cost = sum((result.cost for result in pool.results.values()), Cost())
    assert 0 < completions <= most.completions and len(pool.results) <= most.prefixes
    estimate = estimate_label(asked, rollouts)
    assert (estimate.completions, estimate.generated, estimate.at_most) == (None, None, None)
    assert estimate.work is not None
    assert estimate.work.tokens == 60 * most.completions >= cost.generated_tokens
    said = estimate_table(estimate, LedgerTally(), SPEED)
    assert f"at most {most.completions:,} completions of {most.prefixes:,} prefixes" in said
    assert "where no solution has more than 10 steps" in said and "time: at most about" in said


def test_a_trees_bound_is_the_missing_root_samples_and_k_for_each_halving(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=1, n=2, operations=9)  # 10 steps: four halvings
    most = TreeBound.of(config(labeler="omega", n=8, searches=3), rollouts)
    assert (most.completions, most.prefixes) == (6 + 3 * 4 * 8, 1 + 3 * 4)
    solved = [replace(rollout, outcome=Outcome.CORRECT) for rollout in rollouts]
    assert TreeBound.of(config(labeler="omega", n=2), solved).completions == 0  # always solved: left alone


def test_the_table_subtracts_what_the_ledger_has() -> None:
    done = LedgerTally(completions=30, generated=300, prefilled=10, steps=10, seconds=6.0)
    speed = Speed(Work.done(done), done.generated, done.seconds)
    lines = estimate_table(estimate_rollout(100, 50, done), done, speed).splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["completions", "100", "30", "70"],
        ["generated", "tokens", "1,000", "300", "700"],
        ["prefilled", "tokens", "33", "10", "23"],
    ]
    assert "time: about 14\xa0s, at 50 generated tokens per second" in lines[5]
    unknown = estimate_table(estimate_rollout(100, 50, LedgerTally()), LedgerTally(), None)
    assert "at most 5,000 generated" in unknown and "time: unknown, for the tokens are" in unknown


def test_small_rounds_take_their_steps_however_few_rows_they_have() -> None:
    speed = Speed(Work(tokens=512 * 50, steps=50), generated=512 * 50, seconds=3.06)
    assert speed.seconds_of(Work.of_round([50] * 512, 0, rows=512)) == pytest.approx(3.06)
    one_row = speed.seconds_of(Work.of_round([50], 0, rows=512))
    assert one_row == pytest.approx(3.06 * (1 + STEP_TOKENS) / (512 + STEP_TOKENS))
    rounds = sum((Work.of_round([50] * 8, 0, rows=512) for _ in range(64)), Work())
    assert speed.seconds_of(rounds) > 10 * 3.06  # as many tokens as one batch of 512, sixty-four times the steps
    said = time_line("about", rounds, Work(), speed)
    assert (
        "in about 64 rounds, one behind another" in said
        and "the 8,366 generated tokens per second that were measured" in said
    )


def test_a_round_of_many_rows_is_so_many_batches_and_a_sample_of_it_stands_for_all() -> None:
    assert Work.of_round([5, 9, 7, 1], 4, rows=2) == Work(tokens=26, steps=9 + 5, rounds=1)
    assert Work.of_round([9, 5], 2, rows=4, scale=2.0) == Work(tokens=32, steps=9, rounds=1)


def test_a_search_is_slower_than_its_tokens_say(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=20)
    fixed, search = (estimate_label(config(labeler=name), rollouts) for name in ("monte_carlo", "first_error"))
    assert fixed.work is not None and search.work is not None and fixed.generated and search.generated
    assert fixed.work.rounds == 1 and search.work.rounds > 8
    per_token = [SPEED.seconds_of(one.work) / one.generated for one in (fixed, search) if one.work and one.generated]
    assert per_token[1] > 3 * per_token[0]


def test_the_commands_ask_nobody_and_write_nothing(
    generator_dir: Path,
    tmp_path: Path,
    sampled_rollouts: Sample,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rollouts = sampled_rollouts(SOLVER, problems=3)
    path = tmp_path / "rollouts.jsonl"
    write_jsonl(path, (rollout.to_dict() for rollout in rollouts))
    write_json(tmp_path / "rollout_run.json", {"generation_seconds": 2.0})
    write_json(tmp_path / "rollout_report.json", {"cost": {"generated_tokens": 2000}})
    monkeypatch.setattr(HFGenerator, "from_pretrained", lambda *a, **k: pytest.fail("the model was loaded"))
    before = sorted(tmp_path.iterdir())
    shared = ["--model_name_or_path", str(generator_dir), "--output_dir", str(tmp_path / "out"), "--dry_run", "true"]
    label_main(["--rollouts_path", str(path), *shared])
    said = capsys.readouterr().out
    assert f"{8 * len(sampled_prefixes(rollouts)):,}" in said and "at 1,000 generated tokens per second" in said
    rollout_main(["--dataset_name", "arithmetic", "--num_problems", "7", "--n", "2", *shared])
    assert "completions              14              0    14" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(ConfigError, match="unknown rule"):
        label_main(["--rollouts_path", str(path), "--rule", "often", *shared])


def test_a_dry_run_knows_what_a_larger_run_that_was_killed_has_asked_for_it(
    generator_dir: Path,
    tmp_path: Path,
    sampled_rollouts: Sample,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, rollouts = tmp_path / "rollouts.jsonl", sampled_rollouts(SOLVER, problems=4)
    write_jsonl(path, (rollout.to_dict() for rollout in rollouts))
    shared = ["--model_name_or_path", str(generator_dir), "--output_dir", str(tmp_path / "out"), "--n", "2"]
    arguments = ["--rollouts_path", str(path), *shared, "--max_new_tokens", "4"]
    with monkeypatch.context() as patch:
        patch.setattr(StageOutput, "write", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            label_main(arguments)

    def said(*more: str) -> list[str]:
        capsys.readouterr()
        label_main([*arguments, *more, "--dry_run", "true"])
        return capsys.readouterr().out.splitlines()[2].split()

    everything, part = 2 * len(sampled_prefixes(rollouts)), 2 * len(sampled_prefixes(rollouts[:5]))
    assert said() == ["completions", str(everything), str(everything), "0"]
    assert said("--num_rollouts", "5") == ["completions", str(part), str(part), "0"]
    assert said("--num_rollouts", "5", "--n", "3") == ["completions", str(3 * part // 2), str(part), str(part // 2)]
    assert said("--seed", "1") == ["completions", str(everything), "0", str(everything)]
    assert said("--dtype", "bfloat16") == ["completions", str(everything), "0", str(everything)]
    assert said("--prompt_template", "Q {problem}") == ["completions", str(everything), "0", str(everything)]


def test_a_dry_run_of_sampling_knows_it_too_and_a_shard_estimates_its_own_problems(
    generator_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["--dataset_name", "arithmetic", "--model_name_or_path", str(generator_dir), "--max_new_tokens", "4"]
    whole = [*shared, "--output_dir", str(tmp_path / "out"), "--num_problems", "6", "--n", "2"]
    rollout_main(whole)
    (tmp_path / "out" / "rollouts.jsonl").unlink()  # as if it had been killed

    def said(*more: str) -> list[str]:
        capsys.readouterr()
        rollout_main([*whole, *more, "--dry_run", "true"])
        return capsys.readouterr().out.splitlines()[2].split()

    assert said() == ["completions", "12", "12", "0"]
    assert said("--num_problems", "4") == ["completions", "8", "8", "0"]
    halves = [said("--shard", f"{part}/2") for part in (1, 2)]
    assert sum(int(words[1]) for words in halves) == 12 and all(words[1] == words[2] for words in halves)
