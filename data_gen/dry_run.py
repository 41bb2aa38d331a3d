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
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.grading import ExactGrader
from prm.report.formatting import Column, Value
from prm.report.terminal import render_table
from prm.rollouts import Cost, Outcome, Rollout

from .first_error import LUCK, Belief, pass_rates
from .generation_time import BATCH_ROWS, Speed, Work, time_line
from .labelers import FIRST_ERROR, JUDGE, MONTE_CARLO, OMEGA, Workbench, labelers_used
from .ledger_tally import LedgerTally
from .prefixes import NOTHING, Prefix, PrefixResult, open_prefixes, sampled_prefixes
from .request_bounds import DECIDED, JudgePrompts, TreeBound, label_plan, n_votes

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
        work: what decides the time; `None` where the tokens are not known. At most, where `generated` is not known.
        notes: what the figures do not say.
    """

    completions: float | None
    generated: float | None
    prefilled: float | None
    votes: int = 0
    at_most: int | None = None
    work: Work | None = None
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
        work=None,
        prefilled=None if tokens is None or played.prefilled is None else played.prefilled + tokens,
        votes=votes,
        notes=(*played.notes, *_judge_notes(config, played, prompts, votes)),
    )


def _played(config: LabelConfig, rollouts: Sequence[Rollout]) -> Estimate:
    """What the labelers that complete prefixes take."""
    some = _whole_problems(rollouts, _MOST_ROLLOUTS)
    scale = len(sampled_prefixes(rollouts)) / max(1, len(sampled_prefixes(some)))
    first = _DryBench(config, some, scale)
    benches = (first, first.second())  # as in a consensus, whose labelers draw samples of their own
    results, work = list[PrefixResult](), Work()
    for bench, name in zip(benches, labelers_used(config), strict=False):
        if name in SIMULATED:
            bench.labeler(name).label(some)
            pool: Any = bench.pool
            results += pool.results.values()
            work += pool.work
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
        work=work if known else None,
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
    rows = config.max_batch_rows or BATCH_ROWS
    steps = config.max_new_tokens * max(most.rounds, most.completions / rows)
    return Estimate(None, None, None, work=Work(tokens, steps, most.rounds), notes=(note,))


def estimate_rollout(requests: int, max_new_tokens: int, done: LedgerTally) -> Estimate:
    """What sampling asks in all; its tokens are scaled up from the samples that are there."""
    if not done.completions:
        bound = f"tokens: at most {requests * max_new_tokens:,} generated; known better after the first samples"
        return Estimate(requests, None, None, at_most=requests, notes=(bound,))
    each, spent = requests / done.completions, Work.done(done)
    work = Work(each * spent.tokens, each * spent.steps, rounds=1)
    return Estimate(requests, each * done.generated, each * done.prefilled, at_most=requests, work=work)


def estimate_table(estimate: Estimate, done: LedgerTally, speed: Speed | None) -> str:
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
    lines = [render_table(headers, rows), _time(estimate, done, speed)]
    if estimate.at_most not in (None, round(estimate.completions or 0) + estimate.votes):
        lines.append(f"at most {estimate.at_most:,} requests, whatever comes out")
    return "\n".join([*lines, *estimate.notes])


def _line(name: str, estimated: float | None, done: int) -> list[Value]:
    return [name, estimated, done, None if estimated is None else max(0.0, estimated - done)]


def _time(estimate: Estimate, done: LedgerTally, speed: Speed | None) -> str:
    if estimate.work is None:
        return "time: unknown, for the tokens are"
    if speed is None:
        return "time: unknown, for no speed was measured (rollout_run.json beside the rollouts holds one)"
    word = "about" if estimate.generated is not None else "at most about"
    return time_line(word, estimate.work, Work.done(done), speed)


def _whole_problems(rollouts: Sequence[Rollout], most: int) -> list[Rollout]:
    """All rollouts, or those of every so many-th problem where they are many."""
    if len(rollouts) <= most:
        return list(rollouts)
    problems = list(dict.fromkeys(rollout.problem.unique_id for rollout in rollouts))
    kept = set(problems[:: -(-len(rollouts) // most)])
    return [rollout for rollout in rollouts if rollout.problem.unique_id in kept]


class _DryBench(Workbench):
    """A workbench whose pool is played."""

    def __init__(self, config: LabelConfig, rollouts: Sequence[Rollout], scale: float = 1.0):
        self.scale = scale
        nothing: Any = None  # no labeler that is played writes to a ledger
        super().__init__(config, nothing, ExactGrader(), lambda count: None, rollouts)

    @cached_property
    def pool(self) -> Any:
        return PlayedPool(self.rollouts, rows=self.config.max_batch_rows or BATCH_ROWS, scale=self.scale)


@dataclass
class _Drawn:
    """What is assumed of a prefix: tokens of a completion and of its prompt, and the chance of a right answer."""

    left: float
    prompt: float
    chance: float


class PlayedPool:
    """In the place of a `CompletionPool`: completions that are drawn from what the rollouts let expect.

    Args:
        rows: of a generator's batch.
        scale: rollouts of the run that each of these stands for.

    `work` is what the rounds take.
    """

    keep_texts = False

    def __init__(self, rollouts: Sequence[Rollout], seed: int = 0, rows: int = BATCH_ROWS, scale: float = 1.0):
        self.grader, self.rows, self.scale = ExactGrader(), rows, scale
        self.work = Work()
        self.results: dict[Prefix, PrefixResult] = {}
        self.rng = np.random.default_rng(seed)
        self.lengths_known = any(rollout.cost.generated_tokens for rollout in rollouts)
        self.undecided = sum(rollout.outcome not in DECIDED for rollout in rollouts) / max(1, len(rollouts))
        self._assumed = self._assume(rollouts)

    def __getitem__(self, prefix: Prefix) -> PrefixResult:
        return self.results.get(prefix, NOTHING)

    def grow(self, wants: Mapping[Prefix, int]) -> None:
        """Draw what is missing."""
        lengths, prefilled = list[float](), 0.0
        for prefix, count in wants.items():
            missing = count - self[prefix].n_asked
            if missing > 0:
                assumed = self._assumed[prefix]
                lengths += [assumed.left] * missing
                prefilled += assumed.prompt
                cost = Cost(round(missing * assumed.left), round(assumed.prompt))
                self.results[prefix] = self[prefix] + PrefixResult(self._outcomes(assumed.chance, missing), cost=cost)
        if lengths:
            self.work += Work.of_round(lengths, prefilled, self.rows, self.scale)

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
