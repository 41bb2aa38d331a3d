"""How long completions take that are asked for in rounds, from what a generator was measured at.

A batch advances token by token, and each such step costs something however few rows it has: a search that asks for
five completions at a time is far from the tokens per second of a full batch. Time is therefore counted in tokens that
go through the model, and in steps beside them, each of which counts as `STEP_TOKENS` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prm.report.formatting import seconds

from .ledger_tally import LedgerTally, tally_ledger
from .stage import StageOutput, read_json_object

STEP_TOKENS = 100  # of the shipped generator on one CPU core: 4.2 ms a step, 0.04 ms a token; more on a GPU
BATCH_ROWS = 512  # rows of a batch where nothing else is asked for


@dataclass(frozen=True)
class Work:
    """What completing takes, whatever the speed.

    Attributes:
        tokens: generated and prefilled.
        steps: of decoding, one behind another: in each batch as many as its longest completion has tokens.
        rounds: one behind another; the next is known when the last one is graded.
    """

    tokens: float = 0.0
    steps: float = 0.0
    rounds: int = 0

    @classmethod
    def of_round(cls, lengths: Sequence[float], prefilled: float, rows: int, scale: float = 1.0) -> Work:
        """One round of completions of these lengths, in batches of so many rows; each stands for `scale` others."""
        longest_first = sorted(lengths, reverse=True)
        steps = sum(longest_first[:: max(1, round(rows / scale))])
        return cls(scale * (sum(lengths) + prefilled), steps, 1)

    @classmethod
    def done(cls, tally: LedgerTally) -> Work:
        """What a ledger has."""
        return cls(tally.generated + tally.prefilled, tally.steps)

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.steps + other.steps, self.rounds + other.rounds)


@dataclass(frozen=True)
class Speed:
    """What was measured: `work`, of which `generated` tokens, took so many seconds. A step counts as `step_tokens`."""

    work: Work
    generated: float
    seconds: float
    step_tokens: float = STEP_TOKENS

    def seconds_of(self, work: Work) -> float:
        """How long other work takes."""
        sizes = [one.tokens + self.step_tokens * one.steps for one in (work, self.work)]
        return sizes[0] / sizes[1] * self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.generated / self.seconds


def measured_speed(output: StageOutput, rollouts_path: str | Path | None = None) -> Speed | None:
    """Of the stage itself, or of the one that sampled its rollouts; `None` where nothing was measured. What servers
    stream says nothing of their batches: of them there are tokens per second alone."""
    step_tokens = 0 if output.settings.get("backend") == "endpoint" else STEP_TOKENS
    folder = None if rollouts_path is None else Path(rollouts_path).parent
    ledgers = [output.ledger_path, *([] if folder is None else [folder / "rollout_ledger.jsonl"])]
    for done in map(tally_ledger, ledgers):
        if done.generated and done.seconds:
            return Speed(Work.done(done), done.generated, done.seconds, step_tokens)
    return None if folder is None else _reported_speed(folder, step_tokens)


def _reported_speed(folder: Path, step_tokens: float) -> Speed | None:
    """From the reports alone, which do not say how long the longest samples were: the batches pass for full ones."""
    took = read_json_object(folder / "rollout_run.json").get("generation_seconds")
    cost = read_json_object(folder / "rollout_report.json").get("cost") or {}
    generated = cost.get("generated_tokens")
    if not generated or not took:
        return None
    return Speed(
        Work(generated + cost.get("prefilled_tokens", 0), generated / BATCH_ROWS), generated, took, step_tokens
    )


def time_line(word: str, work: Work, done: Work, speed: Speed) -> str:
    """What is left of the work, in time."""
    left = max(0.0, speed.seconds_of(work) - speed.seconds_of(done))
    measured = f"{speed.tokens_per_second:,.0f} generated tokens per second"
    if work.rounds < 2:
        return f"time: {word} {seconds(left)}, at {measured}"
    behind = f"in {word} {work.rounds:,} rounds, one behind another"
    return f"time: {word} {seconds(left)}, {behind}: small ones do not reach the {measured} that were measured"
