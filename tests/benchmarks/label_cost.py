"""What step labels cost, against completing every prefix eight times: ratios from one run.

    python -m tests.benchmarks.label_cost [--problems 60] [--output_dir runs/label_cost]

On the arithmetic world, same rollouts, same generator: `embedded:generator` on the chains it was trained for (4 to 6
operations) and, because it solves no longer ones, a solver without weights with a known chance of a slip
(`prm.worlds.solver`) on chains of 5, 12 and 16. Brute force completes every prefix of every rollout eight times; what
it costs when equal prefixes are completed once, which is our own doing, stands beside it. Prints a table; its last
line is one JSON object with every figure, its target and the machine's description. The frontier of soft values is
drawn to `frontier.svg`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.data_gen.first_error import FirstErrorLabeler
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.omega import OmegaLabeler
from prm.data_gen.prefixes import CompletionPool, open_prefixes, sampled_prefixes
from prm.data_gen.rollout import grade_rollouts

from prm.generation.base import GenerationRequest, Generator, SamplingParams, request_seed
from prm.grading import ExactGrader
from prm.labels import LabelledRollout, first_wrong
from prm.report.plots import line_plot
from prm.report.series import Series
from prm.rollouts import Outcome, Rollout
from prm.run_record import machine
from prm.sampling_rules import FirstSuccess, Fixed, Interval, SamplingRule
from prm.splitting import split_steps
from prm.stats.intervals import paired_difference
from prm.worlds.arithmetic import first_error, make_problems, step_truth

SAMPLING = SamplingParams(max_new_tokens=512)
REFERENCE_N = 256


@dataclass(frozen=True)
class World:
    """A generator, the lengths of the chains it is asked to solve, and how it is named in the tables."""

    name: str
    generator: Generator
    operations: tuple[int, int]

    def rollouts(self, problems: int, n: int) -> list[Rollout]:
        """Graded rollouts of `problems` training problems, n of each."""
        least, most = self.operations
        chains = make_problems(problems, seed=7, split="train", min_operations=least, max_operations=most)
        asked = [(problem, index) for problem in chains for index in range(n)]
        requests = [
            GenerationRequest(tuple(self.generator.prompt_ids(p.problem)), request_seed(p.problem, "", index, 11))
            for p, index in asked
        ]
        rollouts = []
        for (problem, index), done in zip(asked, self.generator.generate(requests, SAMPLING), strict=True):
            split = split_steps(done.text, "line")
            reason, cost = done.stop_reason, done.cost
            rollouts.append(Rollout(problem, split.steps, split.gaps, index, reason, self.name, cost=cost))
        return [rollout for rollout in grade_rollouts(rollouts, ExactGrader()) if rollout.steps]

    def pool(self, seed: int = 0, keep_texts: bool = False) -> CompletionPool:
        return CompletionPool(self.generator, ExactGrader(), SAMPLING, seed=seed, keep_texts=keep_texts)


def generated(rows: Sequence[LabelledRollout]) -> float:
    """Tokens, where equal prefixes are completed once."""
    return sum(row.cost.generated_tokens for row in rows)


def generated_apart(rollouts: Sequence[Rollout], pool: CompletionPool) -> float:
    """Tokens, where every rollout's prefixes are completed by themselves."""
    return sum(pool[prefix].cost.generated_tokens for rollout in rollouts for prefix in open_prefixes(rollout))


def found(rows: Sequence[LabelledRollout]) -> list[bool]:
    """For each rollout, whether the first step labelled wrong is the first wrong step."""
    return [first_wrong(row.labels) == first_error(row.rollout.problem.problem, row.rollout.steps) for row in rows]


def first_error_figures(world: World, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Tokens and accuracy of the search on wrong rollouts alone, against both brute forces."""
    wrong = [rollout for rollout in rollouts if rollout.outcome is Outcome.WRONG]
    names = {rollout.key for rollout in wrong}
    brute = MonteCarloLabeler(brute_pool := world.pool(), Fixed(8)).label(wrong)
    early = MonteCarloLabeler(early_pool := world.pool(), FirstSuccess(8)).label(wrong)
    # The search reads the problems' pass rates off all rollouts; right ones cost it nothing.
    every = FirstErrorLabeler(world.pool()).label(rollouts)
    search = [row for row in every if row.rollout.key in names]
    problems = [row.rollout.problem.unique_id for row in brute]
    gain = paired_difference(found(search), found(brute), clusters=problems)
    return {
        "wrong_rollouts": len(wrong),
        "accuracy": sum(found(search)) / len(wrong),
        "accuracy_brute_force": sum(found(brute)) / len(wrong),
        "accuracy_gain": [gain.mean, gain.low, gain.high],
        "tokens_over_brute_force": generated(search) / generated_apart(wrong, brute_pool),
        "tokens_over_first_success": generated(search) / generated_apart(wrong, early_pool),
        "tokens_over_shared_brute_force": generated(search) / generated(brute),
        "tokens_over_shared_first_success": generated(search) / generated(early),
    }


def hard_label_figures(world: World, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Whether stopping at the first success gives the same hard labels, and for which share of the tokens."""
    brute = MonteCarloLabeler(pool := world.pool(), Fixed(8)).label(rollouts)
    early = MonteCarloLabeler(world.pool(), FirstSuccess(8)).label(rollouts)
    pairs = [
        (a.hard, b.hard) for x, y in zip(brute, early, strict=True) for a, b in zip(x.labels, y.labels, strict=True)
    ]
    return {
        "labels": len(pairs),
        "same_labels": sum(a == b for a, b in pairs) / len(pairs),
        "tokens_over_brute_force": generated(early) / generated_apart(rollouts, pool),
        "tokens_over_shared_brute_force": generated(early) / generated(brute),
    }


DEFAULT_RULES = {"fixed n=8": Fixed(), "interval .15, zero .2": Interval()}
RULES: dict[str, SamplingRule] = {
    **{f"fixed n={n}": Fixed(n) for n in (2, 4, 8, 16, 32)},
    **{f"interval {error:g}": Interval(error, 1.0) for error in (0.25, 0.2, 0.15, 0.1)},
    **{f"interval {error:g}, zero {zero:g}": Interval(error, zero) for error, zero in ((0.2, 0.1), (0.1, 0.1))},
    **DEFAULT_RULES,
}


def soft_value_figures(world: World, rollouts: Sequence[Rollout], reference_n: int) -> list[dict[str, Any]]:
    """Mean squared error of each rule's soft values, against as many other samples, and tokens per prefix."""
    prefixes = sampled_prefixes(rollouts)
    reference = world.pool(seed=1)
    reference.grow(dict.fromkeys(prefixes, reference_n))
    truth = {
        prefix: result.n_correct / result.n_total for prefix, result in reference.results.items() if result.n_total
    }
    # What the reference's own sampling adds to every rule's error.
    noise = sum(p * (1 - p) / reference[prefix].n_total for prefix, p in truth.items()) / len(truth)
    figures = []
    for name, rule in RULES.items():
        rows = MonteCarloLabeler(pool := world.pool(), rule).label(rollouts)
        values: dict[Any, float] = {}
        for row in rows:
            for prefix, label in zip(sampled_prefixes([row.rollout]), row.labels, strict=False):
                if label.soft is not None and prefix in truth:
                    values[prefix] = label.soft
        errors = [(values[prefix] - truth[prefix]) ** 2 for prefix in values]
        figures.append(
            {
                "rule": name,
                "mean_squared_error": sum(errors) / len(errors) - noise,
                "tokens_per_prefix": sum(r.cost.generated_tokens for r in pool.results.values()) / len(prefixes),
                "completions_per_prefix": sum(r.n_asked for r in pool.results.values()) / len(prefixes),
            }
        )
    return figures


def on_frontier(figures: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether no rule has less error for no more tokens."""
    own = next(figure for figure in figures if figure["rule"] == name)
    return not any(
        other["mean_squared_error"] < own["mean_squared_error"]
        and other["tokens_per_prefix"] <= own["tokens_per_prefix"]
        for other in figures
    )


def omega_figures(world: World, rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """Distinct labelled prefixes per generated token and their accuracy, against completing every prefix."""
    brute_pool, omega_pool = world.pool(), world.pool(keep_texts=True)
    brute = MonteCarloLabeler(brute_pool, Fixed(8)).label(rollouts)
    omega = OmegaLabeler(omega_pool, splitter="line").label(rollouts)
    figures: dict[str, Any] = {}
    for name, rows, pool in (("brute_force", brute, brute_pool), ("omega", omega, omega_pool)):
        tokens = sum(result.cost.generated_tokens for result in pool.results.values())
        labels = labelled_prefixes(rows)
        right = sum(said == true for said, true in labels.values())
        figures[name] = {"prefixes": len(labels), "tokens": tokens, "accuracy": right / len(labels)}
    per_token = [figures[name]["prefixes"] / figures[name]["tokens"] for name in ("omega", "brute_force")]
    return figures | {"prefixes_per_token_over_brute_force": per_token[0] / per_token[1]}


def labelled_prefixes(rows: Sequence[LabelledRollout]) -> dict[tuple[str, ...], tuple[bool, bool]]:
    """What was said of each distinct prefix that has a hard label, and the truth."""
    labels = {}
    for row in rows:
        problem, steps = row.rollout.problem.problem, row.rollout.steps
        for count, (label, true) in enumerate(zip(row.labels, step_truth(problem, steps), strict=True), start=1):
            if label.hard is not None:
                labels[(problem, *steps[:count])] = (label.hard == 1, true)
    return labels


def draw_frontier(figures: Sequence[dict[str, Any]], path: Path) -> None:
    """Error against tokens, a line a family of rules."""
    families: dict[str, list[dict[str, Any]]] = {}
    for figure in figures:
        family = "fixed" if figure["rule"].startswith("fixed") else "zero" if "zero" in figure["rule"] else "interval"
        families.setdefault({"zero": "interval, careful with zeros"}.get(family, family), []).append(figure)
    series = [
        Series(name, [f["tokens_per_prefix"] for f in rows], [max(0.0, f["mean_squared_error"]) ** 0.5 for f in rows])
        for name, members in families.items()
        for rows in [sorted(members, key=lambda f: float(f["tokens_per_prefix"]))]
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing = line_plot(
        series,
        title="Soft values: error against a 256-sample reference",
        x_label="tokens generated per prefix",
        y_label="root mean squared error",
        log_x=True,
    )
    path.write_text(drawing, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--rollouts", type=int, default=8, help="of each problem")
    parser.add_argument("--soft_problems", type=int, default=30)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/label_cost"))
    parser.add_argument("--skip_prefix_reuse", action="store_true")
    options = parser.parse_args(arguments)
    results = measure(options)
    print(json.dumps(results))


def measure(options: argparse.Namespace, say: Callable[[str], None] = print) -> dict[str, Any]:
    """All figures, with the table said on the way."""
    from prm.generation.hf import HFGenerator
    from prm.step_format import PromptFormat
    from prm.worlds.solver import ChainSolver

    embedded = HFGenerator.from_pretrained("embedded:generator", PromptFormat(), device="cpu")
    worlds = [
        World("embedded:generator, 4-6 operations", embedded, (4, 6)),
        World("solver, 5 operations", ChainSolver(0.1), (5, 5)),
        World("solver, 12 operations", ChainSolver(0.05), (12, 12)),
        World("solver, 16 operations", ChainSolver(0.05), (16, 16)),
    ]
    results: dict[str, Any] = {"benchmark": "label_cost", "machine": machine(), "worlds": {}}
    for world in worlds:
        rollouts = world.rollouts(options.problems, options.rollouts)
        long = world.operations[0] >= 12
        figures = {
            "first_error": first_error_figures(world, rollouts) | {"target_tokens": 0.25 if long else 0.5},
            "first_success": hard_label_figures(world, rollouts) | {"target_tokens": 0.5},
            "omega": omega_figures(world, rollouts) | {"target_ratio": 3.0},
        }
        results["worlds"][world.name] = figures
        _say_world(world.name, figures, say)
    soft = soft_value_figures(worlds[0], worlds[0].rollouts(options.soft_problems, 2), REFERENCE_N)
    results["soft_values"] = soft
    results["defaults_on_frontier"] = {name: on_frontier(soft, name) for name in DEFAULT_RULES}
    _say_soft(soft, say)
    draw_frontier(soft, options.output_dir / "frontier.svg")
    if not options.skip_prefix_reuse:
        from tests.benchmarks import prefix_reuse

        results["prefix_reuse"] = prefix_reuse.measure()
    return results


def _say_world(name: str, figures: dict[str, Any], say: Callable[[str], None]) -> None:
    search, early, omega = figures["first_error"], figures["first_success"], figures["omega"]
    low, high = search["accuracy_gain"][1:]
    say(f"\n{name}")
    say(
        f"  first_error: {search['tokens_over_brute_force']:.2f} of the tokens (target {search['target_tokens']}), "
        f"{search['tokens_over_first_success']:.2f} of those with first_success; where prefixes are shared "
        f"{search['tokens_over_shared_brute_force']:.2f} and {search['tokens_over_shared_first_success']:.2f}"
    )
    say(
        f"    accuracy {search['accuracy']:.3f} against {search['accuracy_brute_force']:.3f}, "
        f"gain [{low:+.3f}, {high:+.3f}], {search['wrong_rollouts']} wrong rollouts"
    )
    say(
        f"  first_success: {early['tokens_over_brute_force']:.2f} of the tokens (target {early['target_tokens']}), "
        f"{early['tokens_over_shared_brute_force']:.2f} where prefixes are shared; "
        f"{early['same_labels']:.1%} of {early['labels']} hard labels the same"
    )
    say(
        f"  omega: {omega['prefixes_per_token_over_brute_force']:.2f} times the labelled prefixes per token (target "
        f"{omega['target_ratio']}), accuracy {omega['omega']['accuracy']:.3f} against "
        f"{omega['brute_force']['accuracy']:.3f}, {omega['omega']['prefixes']:,} prefixes"
    )


def _say_soft(figures: Sequence[dict[str, Any]], say: Callable[[str], None]) -> None:
    say(f"\nsoft values against {REFERENCE_N} other samples of every prefix")
    for figure in figures:
        mark = "on the frontier" if on_frontier(figures, figure["rule"]) else ""
        say(
            f"  {figure['rule']:24} error {max(0, figure['mean_squared_error']) ** 0.5:.4f}  "
            f"tokens {figure['tokens_per_prefix']:7.1f}  completions {figure['completions_per_prefix']:5.1f}  {mark}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
