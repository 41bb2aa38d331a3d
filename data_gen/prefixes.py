"""Prefixes of solutions, and the pool of their completions that every labeler by continuation draws from.

A pool is asked for so many completions of so many prefixes at a time. It draws what is missing in one generator call,
through the ledger, and grades it; a sample and its verdict are each made once, over kills and over labelers. Which
prefixes to ask for, and when it is enough, is the labelers' business (`data_gen.searches`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams, request_seed
from prm.grading import Grader
from prm.ledger import Ledger, generate_once, request_keys
from prm.rollouts import Cost, Outcome, Rollout

from .grading import FINISHED, SampledText, grade_once, grade_texts


@dataclass(frozen=True)
class Prefix:
    """The start of a solution, up to the gap behind one of its steps; equal prefixes are completed once."""

    problem: str
    answer: str
    text: str


@dataclass(frozen=True)
class PrefixResult:
    """What completing a prefix showed.

    Attributes:
        outcomes: one per completion; `None` where it was truncated.
        cost: of all its completions.
        completions: themselves, without their token ids, where the pool keeps texts.
    """

    outcomes: tuple[Outcome | None, ...] = ()
    cost: Cost = field(default_factory=Cost)
    completions: tuple[Completion, ...] = ()

    @property
    def n_correct(self) -> int:
        return self.outcomes.count(Outcome.CORRECT)

    @property
    def n_total(self) -> int:
        """Completions that were graded right or wrong; what is truncated or unparsable decides nothing."""
        return self.n_correct + self.outcomes.count(Outcome.WRONG)

    @property
    def n_asked(self) -> int:
        return len(self.outcomes)

    def __add__(self, other: PrefixResult) -> PrefixResult:
        return PrefixResult(
            self.outcomes + other.outcomes, self.cost + other.cost, self.completions + other.completions
        )


NOTHING = PrefixResult()


class CompletionPool:
    """Completions of prefixes, sample by sample: the i-th of a prefix is the same whoever asks, and when.

    Args:
        generator: completes the prefixes; commonly the one that sampled the rollouts.
        grader: compares final answers.
        sampling: temperature, length and stop texts of a completion.
        seed: another seed draws other completions.
        ledger: keeps finished completions and verdicts over a kill; `None` keeps none.
        progress: called with the number of completions finished since the last call.
        workers: processes that share the completions; they need a ledger.
        keep_texts: whether results hold the completions.

    `first_index` is where a prefix's samples begin, where it is not 0: others have drawn those before.
    """

    def __init__(
        self,
        generator: Generator,
        grader: Grader,
        sampling: SamplingParams,
        *,
        seed: int = 0,
        ledger: Ledger | None = None,
        progress: Callable[[int], None] | None = None,
        workers: int = 1,
        keep_texts: bool = False,
    ):
        self.generator, self.grader, self.sampling = generator, grader, sampling
        self.seed, self.ledger, self.progress, self.workers = seed, ledger, progress, workers
        self.keep_texts = keep_texts
        self.results: dict[Prefix, PrefixResult] = {}
        self.first_index: dict[Prefix, int] = {}

    def __getitem__(self, prefix: Prefix) -> PrefixResult:
        """What is known of a prefix so far."""
        return self.results.get(prefix, NOTHING)

    def sample_seed(self, prefix: Prefix, index: int) -> int:
        """The seed of a prefix's i-th completion."""
        return request_seed(prefix.problem, prefix.text, self.first_index.get(prefix, 0) + index, self.seed)

    def grow(self, wants: Mapping[Prefix, int]) -> None:
        """Have at least so many completions of each prefix; those missing are drawn in one call.

        Raises:
            ConfigError: several completions of one prefix at temperature 0, which would be the same.
        """
        if self.sampling.temperature == 0 and any(count > 1 for count in wants.values()):
            raise ConfigError("temperature 0 gives the same completion n times; set n to 1 or raise temperature")
        missing = {
            prefix: range(self[prefix].n_asked, count)
            for prefix, count in wants.items()
            if count > self[prefix].n_asked
        }
        requests = [
            GenerationRequest(ids, self.sample_seed(prefix, index))
            for prefix, indices in missing.items()
            for ids in [tuple(self.generator.prompt_ids(prefix.problem, prefix.text))]
            for index in indices
        ]
        completions = self._generate(requests)
        owners = [prefix for prefix, indices in missing.items() for _ in indices]
        outcomes = self._grade(owners, requests, completions)
        at = 0
        for prefix, indices in missing.items():
            end = at + len(indices)
            self.results[prefix] = self[prefix] + self._result(completions[at:end], outcomes[at:end])
            at = end

    def _result(self, completions: Sequence[Completion], outcomes: Sequence[Outcome | None]) -> PrefixResult:
        cost = sum((completion.cost for completion in completions), Cost())
        kept = tuple(replace(completion, token_ids=()) for completion in completions) if self.keep_texts else ()
        return PrefixResult(tuple(outcomes), cost, kept)

    def _generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        if self.ledger is None:
            return self.generator.generate(requests, self.sampling, self.progress)
        return generate_once(self.generator, requests, self.sampling, self.ledger, self.progress, self.workers)

    def _grade(
        self, owners: Sequence[Prefix], requests: Sequence[GenerationRequest], completions: Sequence[Completion]
    ) -> list[Outcome | None]:
        texts = [
            SampledText(prefix.text + completion.text, completion.stop_reason, prefix.answer)
            for prefix, completion in zip(owners, completions, strict=True)
        ]
        if self.ledger is None:
            return [graded.outcome for graded in grade_texts(texts, self.grader)]
        keys = request_keys(self.generator, self.sampling, requests)
        return [graded.outcome for graded in grade_once(keys, texts, self.grader, self.ledger)]


def open_prefixes(rollout: Rollout) -> Iterator[Prefix]:
    """The prefixes of a rollout that need completing: one per step, save the last step of a finished rollout, whose
    completions would be empty and have the rollout's own outcome."""
    text = rollout.gaps[0]
    count = len(rollout.steps) - (rollout.stop_reason in FINISHED)
    for step, gap in zip(rollout.steps[: max(0, count)], rollout.gaps[1:], strict=False):
        text += step + gap
        yield Prefix(rollout.problem.problem, rollout.problem.answer, text)


def sampled_prefixes(rollouts: Sequence[Rollout]) -> list[Prefix]:
    """The distinct prefixes to complete, in order of appearance."""
    return list(dict.fromkeys(prefix for rollout in rollouts for prefix in open_prefixes(rollout)))


def rollout_outcomes(rollouts: Sequence[Rollout], grader: Grader) -> list[Outcome | None]:
    """The outcome of each rollout, graded now where it was not; `None` where it is truncated, or ungraded and its
    problem's answer unknown."""
    ungraded = [rollout.outcome is None and bool(rollout.problem.answer) for rollout in rollouts]
    texts = [
        SampledText(r.text, r.stop_reason, r.problem.answer)
        for r, late in zip(rollouts, ungraded, strict=True)
        if late
    ]
    found = iter(grade_texts(texts, grader))
    return [next(found).outcome if late else r.outcome for r, late in zip(rollouts, ungraded, strict=True)]


def first_costs(rollouts: Sequence[Rollout], results: Mapping[Prefix, PrefixResult]) -> list[Cost]:
    """What each rollout cost to label; a shared prefix is its first rollout's."""
    costs, paid = [], set[Prefix]()
    for rollout in rollouts:
        own = [prefix for prefix in open_prefixes(rollout) if prefix in results and prefix not in paid]
        paid.update(own)
        costs.append(sum((results[prefix].cost for prefix in own), Cost()))
    return costs
