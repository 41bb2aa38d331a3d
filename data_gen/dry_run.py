"""What labelling would cost, before anything is spent: `prm label --dry_run true`.

The labelers themselves are run, on a pool whose completions are drawn instead of sampled. A completion is as long as
what the rollouts have behind the prefix, and succeeds as often as the labelers' own model of a rollout says
(`data_gen.first_error.Belief`): behind a right prefix as the problem's pass rate lets expect, behind a wrong one
rarely. A tree search and a judge cannot be played: of them there is the most that they ask
(`data_gen.request_bounds`). No generator is asked, no model is loaded, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.grading import ExactGrader
from prm.report.formatting import Column, Value, seconds
from prm.report.terminal import render_table
from prm.rollouts import Cost, Outcome, Rollout

from .first_error import LUCK, Belief, pass_rates
from .labelers import FIRST_ERROR, JUDGE, MONTE_CARLO, OMEGA, Workbench, labelers_used
from .ledger_tally import LedgerTally, tally_ledger
from .prefixes import NOTHING, Prefix, PrefixResult, open_prefixes, sampled_prefixes
from .request_bounds import DECIDED, JudgePrompts, TreeBound, label_plan, n_votes
from .stage import StageOutput, read_json_object

if TYPE_CHECKING:
    from .label_config import LabelConfig

SIMULATED = (MONTE_CARLO, FIRST_ERROR)
_MOST_ROLLOUTS = 1500  # of which labelling is played through; more are scaled up from whole problems among them


@dataclass(frozen=True)
class Estimate:
    """What a run asks in all.

    Attributes:
        completions: of prefixes, `None` where a labeler cannot be played through.
        generated, prefilled: all tokens, `None` where they are not known: the rollouts carry no counts, or a judge's
            answers and prompts are part of them. Prefilled counts every prefix once for each time that it is asked
            for: sharing between prefixes makes it less.
        votes: a judge's answers, whose length nobody knows beforehand.
        at_most: the most completions and votes that the rules allow, `None` where that is not known.
        generated_at_most: the most generated tokens, where `generated` is not known but this is.
        notes: what the figures do not say.
    """

    completions: float | None
    generated: float | None
    prefilled: float | None
    votes: int = 0
    at_most: int | None = None
    generated_at_most: int | None = None
    notes: tuple[str, ...] = ()


def estimate_label(config: LabelConfig, rollouts: Sequence[Rollout]) -> Estimate:
    """Play the labelling through; the same rollouts and options give the same estimate."""
    names = labelers_used(config)
    if OMEGA in names:
        return _estimate_tree(config, rollouts)
    played = _played(config, rollouts)
    if JUDGE not in names:
        return played
    prompts, votes = JudgePrompts.of(config, rollouts), n_votes(config, rollouts)
    tokens = prompts.size if prompts.unit == "tokens" else None
    return replace(
        played,
        generated=None,
        prefilled=None if tokens is None or played.prefilled is None else played.prefilled + tokens,
        votes=votes,
        notes=(*played.notes, *_judge_notes(config, played, prompts, votes)),
    )


def _played(config: LabelConfig, rollouts: Sequence[Rollout]) -> Estimate:
    """What the labelers that complete prefixes take."""
    some = _whole_problems(rollouts, _MOST_ROLLOUTS)
    first = _DryBench(config, some)
    benches = (first, first.second())  # as in a consensus, whose labelers draw samples of their own
    results: list[PrefixResult] = []
    for bench, name in zip(benches, labelers_used(config), strict=False):
        if name in SIMULATED:
            bench.labeler(name).label(some)
            results += bench.pool.results.values()
    scale = len(sampled_prefixes(rollouts)) / max(1, len(sampled_prefixes(some)))
    cost = sum((result.cost for result in results), Cost())
    known = any(rollout.cost.generated_tokens for rollout in some) or not results
    notes = [] if known else ["tokens: unknown, for the rollouts carry no token counts"]
    if results and len(some) < len(rollouts):
        notes.append(f"scaled up from {len(some):,} of {len(rollouts):,} rollouts")
    return Estimate(
        scale * sum(result.n_asked for result in results),
        scale * cost.generated_tokens if known else None,
        scale * cost.prefilled_tokens if known else None,
        at_most=label_plan(config, rollouts).requests,
        notes=tuple(notes),
    )


def _judge_notes(config: LabelConfig, played: Estimate, prompts: JudgePrompts, votes: int) -> Iterator[str]:
    if played.completions and played.generated is not None and played.prefilled is not None:
        parts = f"about {played.generated:,.0f} generated and {played.prefilled:,.0f} prefilled tokens"
        yield f"completions: {parts}, without the judge's"
    many = "" if prompts.exact and prompts.unit == "characters" else "about "
    beside = "by its tokenizer, without its chat template" if prompts.unit == "tokens" else "its tokenizer is not here"
    yield (
        f"judge: {votes:,} requests, {many}{prompts.size:,} {prompts.unit} of prompts ({beside}), at most "
        f"{votes * config.judge_max_tokens:,} generated tokens; failed requests that are asked again come on top"
    )


def _estimate_tree(config: LabelConfig, rollouts: Sequence[Rollout]) -> Estimate:
    most = TreeBound.of(config, rollouts)
    tokens = most.completions * config.max_new_tokens
    note = (
        f"omega: at most {most.completions:,} completions of {most.prefixes:,} prefixes, and at most {tokens:,} "
        f"generated tokens, where no solution has more than {most.depth:,} steps, the longest rollout's; commonly "
        f"far fewer. {most.searched:,} of {most.problems:,} problems may be searched"
    )
    return Estimate(None, None, None, generated_at_most=tokens, notes=(note,))


def estimate_rollout(requests: int, max_new_tokens: int, done: LedgerTally) -> Estimate:
    """What sampling asks in all; its tokens are scaled up from the samples that are there."""
    if not done.completions:
        bound = f"tokens: at most {requests * max_new_tokens:,} generated; known better after the first samples"
        return Estimate(requests, None, None, at_most=requests, notes=(bound,))
    each = requests / done.completions
    return Estimate(requests, each * done.generated, each * done.prefilled, at_most=requests)


def estimate_table(estimate: Estimate, done: LedgerTally, tokens_per_second: float | None) -> str:
    """In all, in the ledger already, and left: completions, tokens and time, for the terminal."""
    names = ("estimated", "in the ledger", "left")
    headers: list[str | Column] = ["", *(Column(name, "integer") for name in names)]
    rows: list[list[Value]] = [
        _line("completions", estimate.completions, done.completions),
        _line("generated tokens", estimate.generated, done.generated),
        _line("prefilled tokens", estimate.prefilled, done.prefilled),
    ]
    if estimate.votes:
        rows.append(_line("judge's votes", estimate.votes, done.votes))
    lines = [render_table(headers, rows), _time(estimate, done, tokens_per_second)]
    if estimate.at_most not in (None, round(estimate.completions or 0) + estimate.votes):
        lines.append(f"at most {estimate.at_most:,} requests, whatever comes out")
    return "\n".join([*lines, *estimate.notes])


def measured_speed(output: StageOutput, rollouts_path: str | Path | None = None) -> float | None:
    """Generated tokens per second of the stage itself, or of the rollouts' stage; `None` where none was measured."""
    done = tally_ledger(output.ledger_path)
    if done.generated and done.seconds:
        return done.generated / done.seconds
    if rollouts_path is None:
        return None
    folder = Path(rollouts_path).parent
    seconds_spent = read_json_object(folder / "rollout_run.json").get("generation_seconds")
    tokens = (read_json_object(folder / "rollout_report.json").get("cost") or {}).get("generated_tokens")
    return tokens / seconds_spent if tokens and seconds_spent else None


def dry_table(estimate: Estimate, output: StageOutput, speed: float | None) -> str:
    """The estimate beside what the output's ledger has of it already."""
    return estimate_table(estimate, output.tally(), speed)


def _line(name: str, estimated: float | None, done: int) -> list[Value]:
    return [name, estimated, done, None if estimated is None else max(0.0, estimated - done)]


def _time(estimate: Estimate, done: LedgerTally, tokens_per_second: float | None) -> str:
    bounds = [("about", estimate.generated), ("at most about", estimate.generated_at_most)]
    word, tokens = next((pair for pair in bounds if pair[1] is not None), ("", None))
    if tokens is None:
        return "time: unknown, for the tokens are"
    if not tokens_per_second:
        return "time: unknown, for no speed was measured (rollout_run.json beside the rollouts holds one)"
    left = seconds(max(0.0, tokens - done.generated) / tokens_per_second)
    return f"time: {word} {left}, at {tokens_per_second:,.0f} generated tokens per second"


def _whole_problems(rollouts: Sequence[Rollout], most: int) -> list[Rollout]:
    """All rollouts, or those of every so many-th problem where they are many."""
    if len(rollouts) <= most:
        return list(rollouts)
    problems = list(dict.fromkeys(rollout.problem.unique_id for rollout in rollouts))
    kept = set(problems[:: -(-len(rollouts) // most)])
    return [rollout for rollout in rollouts if rollout.problem.unique_id in kept]


class _DryBench(Workbench):
    """A workbench whose pool is played."""

    def __init__(self, config: LabelConfig, rollouts: Sequence[Rollout]):
        nothing: Any = None  # no labeler that is played writes to a ledger
        super().__init__(config, nothing, ExactGrader(), lambda count: None, rollouts)

    @cached_property
    def pool(self) -> Any:
        return PlayedPool(self.rollouts)


@dataclass
class _Drawn:
    """What is assumed of a prefix: tokens of a completion and of its prompt, and the chance of a right answer."""

    left: float
    prompt: float
    chance: float


class PlayedPool:
    """In the place of a `CompletionPool`: completions that are drawn from what the rollouts let expect."""

    keep_texts = False

    def __init__(self, rollouts: Sequence[Rollout], seed: int = 0):
        self.grader = ExactGrader()
        self.results: dict[Prefix, PrefixResult] = {}
        self.rng = np.random.default_rng(seed)
        self.lengths_known = any(rollout.cost.generated_tokens for rollout in rollouts)
        self.undecided = sum(rollout.outcome not in DECIDED for rollout in rollouts) / max(1, len(rollouts))
        self._assumed = self._assume(rollouts)

    def __getitem__(self, prefix: Prefix) -> PrefixResult:
        return self.results.get(prefix, NOTHING)

    def grow(self, wants: Mapping[Prefix, int]) -> None:
        """Draw what is missing."""
        for prefix, count in wants.items():
            missing = count - self[prefix].n_asked
            if missing > 0:
                assumed = self._assumed[prefix]
                cost = Cost(round(missing * assumed.left), round(assumed.prompt))
                self.results[prefix] = self[prefix] + PrefixResult(self._outcomes(assumed.chance, missing), cost=cost)

    def _outcomes(self, chance: float, count: int) -> tuple[Outcome | None, ...]:
        decided, right = self.rng.random(count) >= self.undecided, self.rng.random(count) < chance
        pairs = zip(decided.tolist(), right.tolist(), strict=True)
        return tuple((Outcome.CORRECT if good else Outcome.WRONG) if known else None for known, good in pairs)

    def _assume(self, rollouts: Sequence[Rollout]) -> dict[Prefix, _Drawn]:
        rates = pass_rates(rollouts, [rollout.outcome for rollout in rollouts])
        per_character = _tokens_per_character(rollouts)
        found: dict[Prefix, list[_Drawn]] = {}
        for rollout in rollouts:
            chances = self._chances(rollout, rates[rollout.problem.unique_id])
            tokens = rollout.cost.generated_tokens or per_character * len(rollout.text)
            prompt = rollout.cost.prefilled_tokens + rollout.cost.cached_tokens
            for prefix, chance in zip(open_prefixes(rollout), chances, strict=False):
                share = len(prefix.text) / max(1, len(rollout.text))
                drawn = _Drawn(tokens * (1 - share), prompt + tokens * share, chance)
                found.setdefault(prefix, []).append(drawn)
        return {
            prefix: replace(several[0], left=sum(one.left for one in several) / len(several))
            for prefix, several in found.items()
        }

    def _chances(self, rollout: Rollout, rate: float) -> list[float]:
        """The chance of a right completion behind each step. A wrong rollout's first error is drawn once, so that
        every prefix behind it is wrong."""
        steps = len(rollout.steps)
        belief = Belief.of(steps, rate)
        first = steps if rollout.correct else int(self.rng.choice(steps, p=belief.prior))
        right = [float(self.rng.beta(*parameters)) for parameters in belief.right]
        right.append(rate)  # behind the last step of a rollout that was cut off
        return [chance if at < first else float(self.rng.beta(*LUCK)) for at, chance in enumerate(right)]


def _tokens_per_character(rollouts: Sequence[Rollout]) -> float:
    counted = [rollout for rollout in rollouts if rollout.cost.generated_tokens]
    characters = sum(len(rollout.text) for rollout in counted)
    return sum(rollout.cost.generated_tokens for rollout in counted) / characters if characters else 0.0
