"""How much faster verifier-guided search is than the plain way, and how its cost grows with steps and with n.

Both sides search the same problems of the arithmetic world with the same generator (`embedded:generator`), the same
PRM (`embedded:base`), the same n, beam width, temperature and number of threads; they take turns in one process, so
that what else the machine does hits both. The plain way is `tests.benchmarks.plain_search`: search-and-learn's loop,
one problem at a time, one batched `generate` and one batched PRM call per iteration over all n beams, whole prefixes
each time. Each side draws its own samples, so accuracies differ by chance; their difference is given with its
interval, paired by problem. Tokens are those that go through a model, padding aside.

Growth with steps is measured on a random language model of the generator's shape, whose chances of a newline and of
the end of the text are set: steps are of nine tokens and solutions of as many steps as asked for, on average.

    python -m tests.benchmarks.search_speed                       # half an hour on one core
    python -m tests.benchmarks.search_speed --small               # a minute, to see that it runs
    python -m tests.benchmarks.search_speed --plot growth.svg     # the two curves as a picture

The last line of standard output is one JSON object with every figure, its target and the machine. Where a target is
missed, the exit status is 1 and standard error says which; `--small` sizes are held to none.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from prm.eval.search.base import TreePlan
from prm.eval.search.frontier import Frontier

from prm.generation.base import SamplingParams
from prm.generation.hf import HFGenerator
from prm.grading import extract_answer
from prm.problems import Problem
from prm.run_record import machine
from prm.stats.intervals import paired_difference
from prm.step_format import PromptFormat
from prm.verifier import Verifier
from prm.worlds.arithmetic import make_problems
from tests.benchmarks.plain_search import PlainSearch, Spent

WIDTH = 4  # beam_width
TARGETS = {"speedup": 4.0, "verifier_tokens": 3.0}
LINEAR = 1.25  # growth exponent that ours stays below


@dataclass
class Side:
    """What one way of searching reached and spent on all problems."""

    seconds: float = 0.0
    generator_tokens: int = 0
    verifier_tokens: int = 0
    correct: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Models:
    generator: HFGenerator
    verifier: Verifier


def shipped_models() -> Models:
    prompt = PromptFormat("{problem}\n")
    generator = HFGenerator.from_pretrained("embedded:generator", prompt, device="cpu")
    return Models(generator, Verifier.from_pretrained("embedded:base", device="cpu"))


def metronome(models: Models, step_tokens: int, steps: int) -> Models:
    """The same verifier, and a generator that has learned nothing but to end a step after about `step_tokens`, and a
    text after about that many `steps`."""
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(models.generator.model.config).eval()
    tokenizer = models.generator.tokenizer
    (newline,) = tokenizer.encode("\n", add_special_tokens=False)
    printable = [tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "0123456789+-*=abcdef"]
    bias = torch.full((model.config.vocab_size,), -1e4)
    bias[printable] = 0.0
    bias[newline] = math.log(len(printable) / step_tokens)  # the others are about equally likely
    bias[list(models.generator.eos_ids)] = math.log(len(printable) / (step_tokens * steps))
    head = model.lm_head.forward
    model.lm_head.forward = lambda hidden: head(hidden) + bias
    return Models(HFGenerator(model, tokenizer, models.generator.prompt), models.verifier)


def ours(models: Models, problems: Sequence[Problem], plan: TreePlan, max_new_tokens: int, seed: int) -> Side:
    started = time.perf_counter()
    frontier = Frontier(
        plan,
        models.generator,
        models.verifier,
        sampling=SamplingParams(max_new_tokens=max_new_tokens),
        aggregation="last",
        base_seed=seed,
    )
    side = Side()
    for search in frontier.run(problems):
        best = max(search.finished, key=lambda branch: branch.score, default=None)
        side.correct.append(_right(best.text if best else "", search.problem))
        # The last token of a branch is sampled and never read.
        side.generator_tokens += search.cost.prefilled_tokens + search.cost.generated_tokens
        side.verifier_tokens += search.cost.verifier_tokens
    side.seconds = time.perf_counter() - started
    return side


def plain(models: Models, problems: Sequence[Problem], plan: TreePlan, max_new_tokens: int, seed: int) -> Side:
    started = time.perf_counter()
    torch.manual_seed(seed)
    search = PlainSearch(
        models.generator,
        models.verifier,
        n=sum(plan.widths),
        beam_width=plan.beam_width,
        num_iterations=plan.num_iterations,
        max_step_tokens=max_new_tokens,
        approach="dvts" if len(plan.widths) > 1 else "beam_search",
    )
    side, spent = Side(), Spent()
    for problem in problems:
        best = search.run(problem.problem, spent)
        side.correct.append(_right(best.text if best.ended else "", problem))
    side.generator_tokens, side.verifier_tokens = spent.generator_tokens, spent.verifier_tokens
    side.seconds = time.perf_counter() - started
    return side


def _right(text: str, problem: Problem) -> float:
    return float(extract_answer(text) == problem.answer)


def plan_of(approach: str, n: int, iterations: int = 40) -> TreePlan:
    widths = (n,) if approach == "beam_search" else (WIDTH,) * (n // WIDTH)
    return TreePlan(approach, widths, WIDTH, iterations)


def compare(models: Models, approach: str, n: int, problems: Sequence[Problem], turns: int) -> dict[str, Any]:
    """Both ways on every problem, in `turns` turns; speed is the median over turns of the ratio of seconds."""
    plan, sides, ratios = plan_of(approach, n), (Side(), Side()), []
    for turn in range(turns):
        part = problems[turn::turns]
        found = [way(models, part, plan, 96, turn) for way in (ours, plain)]
        ratios.append(found[1].seconds / found[0].seconds)
        for side, more in zip(sides, found, strict=True):
            side.seconds += more.seconds
            side.generator_tokens += more.generator_tokens
            side.verifier_tokens += more.verifier_tokens
            side.correct += more.correct
    first, second = sides
    difference = paired_difference(first.correct, second.correct)
    return {
        "problems": len(problems),
        "seconds": first.seconds,
        "seconds_plain": second.seconds,
        "speedup": statistics.median(ratios),
        "speedup_of_turns": [min(ratios), max(ratios)],
        "speedup_target": TARGETS["speedup"],
        "verifier_tokens": first.verifier_tokens,
        "verifier_tokens_plain": second.verifier_tokens,
        "verifier_tokens_ratio": second.verifier_tokens / first.verifier_tokens,
        "verifier_tokens_target": TARGETS["verifier_tokens"],
        "generator_tokens": first.generator_tokens,
        "generator_tokens_plain": second.generator_tokens,
        "accuracy": statistics.mean(first.correct),
        "accuracy_plain": statistics.mean(second.correct),
        "accuracy_difference": [difference.mean, difference.low, difference.high],
    }


def grow(sizes: Sequence[tuple[Models, int, int]], problems: Sequence[Problem], limit: int) -> list[dict[str, Any]]:
    """Both ways of beam search for each (models, n, steps): seconds and tokens; `limit` is of tokens a step."""
    rows = []
    for models, n, steps in sizes:
        plan = plan_of("beam_search", n, max(40, 4 * steps))
        found = [ours(models, problems, plan, limit * steps, 0), plain(models, problems, plan, limit, 0)]
        rows.append(
            {
                "n": n,
                "steps": steps,
                "seconds": found[0].seconds,
                "seconds_plain": found[1].seconds,
                "verifier_tokens": found[0].verifier_tokens,
                "verifier_tokens_plain": found[1].verifier_tokens,
                "generator_tokens": found[0].generator_tokens,
                "generator_tokens_plain": found[1].generator_tokens,
            }
        )
    return rows


def exponent(rows: Sequence[dict[str, Any]], x: str, y: str) -> float:
    """By how much log y grows with log x, from the first row to the last."""
    a, b = rows[0], rows[-1]
    return math.log(b[y] / a[y]) / math.log(b[x] / a[x])


def measure(args: argparse.Namespace) -> dict[str, Any]:
    models = shipped_models()
    problems = make_problems(args.problems, seed=0, split="test", min_operations=4, max_operations=6)
    for way in (ours, plain):  # both warm
        way(models, problems[:2], plan_of("beam_search", WIDTH), 96, 0)
    figures: dict[str, Any] = {
        approach: compare(models, approach, args.n, problems, args.turns) for approach in ("beam_search", "dvts")
    }
    few = problems[: args.few]
    by_steps = grow([(metronome(models, args.step_tokens, s), args.n, s) for s in args.steps], few, 96)
    figures["steps"] = {
        "rows": by_steps,
        "exponent_verifier_tokens": exponent(by_steps, "steps", "verifier_tokens"),
        "exponent_verifier_tokens_plain": exponent(by_steps, "steps", "verifier_tokens_plain"),
        "exponent_target": LINEAR,
        "exponent_seconds": exponent(by_steps, "steps", "seconds"),
        "exponent_seconds_plain": exponent(by_steps, "steps", "seconds_plain"),
    }
    figures["n"] = {"rows": grow([(models, n, 1) for n in args.ns], few, 96)}
    return figures


def table(figures: dict[str, Any]) -> str:
    """The figures as a person reads them."""
    lines = []
    for approach in ("beam_search", "dvts"):
        f = figures[approach]
        low, high = f["speedup_of_turns"]
        faster, fewer = TARGETS["speedup"], TARGETS["verifier_tokens"]
        mean, *interval = f["accuracy_difference"]
        lines += [
            f"{approach}, {f['problems']} problems",
            f"  wall clock       {f['speedup']:6.1f} times faster (turns {low:.1f} to {high:.1f}; target {faster:g}): "
            f"{f['seconds']:.1f} s against {f['seconds_plain']:.1f} s",
            f"  verifier tokens  {f['verifier_tokens_ratio']:6.1f} times fewer (target {fewer:g}): "
            f"{f['verifier_tokens']:,} against {f['verifier_tokens_plain']:,}",
            f"  accuracy         {f['accuracy']:6.1%} against {f['accuracy_plain']:.1%}, difference {100 * mean:+.1f} "
            f"[{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}] points",
        ]
    for what, x in (("steps", "steps"), ("n", "n")):
        lines.append(f"{x:>8}{'seconds':>10}{'plain':>10}{'verifier tokens':>18}{'plain':>14}{'times':>8}")
        for row in figures[what]["rows"]:
            times = row["seconds_plain"] / row["seconds"]
            lines.append(
                f"{row[x]:8}{row['seconds']:10.2f}{row['seconds_plain']:10.2f}{row['verifier_tokens']:18,}"
                f"{row['verifier_tokens_plain']:14,}{times:8.1f}"
            )
    grown = figures["steps"]
    lines.append(
        f"verifier tokens grow with steps to the power {grown['exponent_verifier_tokens']:.2f} (target below {LINEAR})"
        f", the plain way's {grown['exponent_verifier_tokens_plain']:.2f}; seconds {grown['exponent_seconds']:.2f} "
        f"and {grown['exponent_seconds_plain']:.2f}"
    )
    return "\n".join(lines)


def missed(figures: Mapping[str, Any]) -> list[str]:
    """The targets that figures of `measure` miss, a sentence for each."""
    found = []
    for approach in ("beam_search", "dvts"):
        for key, what in (("speedup", "times faster"), ("verifier_tokens_ratio", "times fewer verifier tokens")):
            target = TARGETS[key.removesuffix("_ratio")]
            if not figures[approach][key] >= target:
                found.append(f"{approach} is {figures[approach][key]:.2f} {what}; the target is {target:g}")
    power = figures["steps"]["exponent_verifier_tokens"]
    if not power < LINEAR:
        found.append(f"verifier tokens grow with steps to the power {power:.2f}; the target is below {LINEAR}")
    return found


def plot(figures: dict[str, Any], path: Path) -> None:
    """Verifier tokens and seconds against steps and against n, both ways, as one SVG."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    _, axes = pyplot.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for row, (key, cost) in enumerate((("verifier_tokens", "verifier tokens"), ("seconds", "seconds"))):
        for column, (what, label) in enumerate((("steps", "steps of a solution"), ("n", "branches n"))):
            lines, axis = figures[what]["rows"], axes[row][column]
            for suffix, name, mark in (("", "ours", "o"), ("_plain", "plain", "s")):
                axis.loglog([at[what] for at in lines], [at[key + suffix] for at in lines], marker=mark, label=name)
            axis.set(xlabel=label, ylabel=cost)
            axis.set_xticks([at[what] for at in lines], [str(at[what]) for at in lines], minor=False)
            axis.minorticks_off()
            axis.legend(frameon=False)
    pyplot.savefig(path)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=120, help="of the speed comparison")
    parser.add_argument("--turns", type=int, default=4, help="in which both sides share them")
    parser.add_argument("--n", type=int, default=16, help="branches")
    parser.add_argument("--few", type=int, default=8, help="problems of the growth curves")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 10, 20, 40])
    parser.add_argument("--ns", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--step_tokens", type=int, default=9, help="mean length of a step of the growth curve")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--plot", type=Path, help="write the growth as an SVG")
    args = parser.parse_args(argv)
    if args.small:
        args.problems, args.turns, args.few, args.steps, args.ns = 8, 2, 2, [4, 8, 16], [4, 16]
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    figures = measure(args)
    print(table(figures))
    if args.plot:
        plot(figures, args.plot)
    facts = {**machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps({"benchmark": "search_speed", **figures, "machine": facts}), flush=True)
    if wrong := [] if args.small else missed(figures):
        sys.exit("\n".join(f"missed: {one}" for one in wrong))


if __name__ == "__main__":
    main()
