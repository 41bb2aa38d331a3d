"""Math-Shepherd's step labels (arXiv 2312.08935, section 3.3): complete every prefix n times and count right answers.

Prefixes that several rollouts share are completed once, and the prefixes of all rollouts advance together in one large
generator call. Three things are kept apart:

- a completion that is truncated, states no answer, or whose answer could not be compared in time is undecided, never
  wrong;
- the last prefix of a finished rollout is the rollout itself: each of its n completions would be empty and have the
  rollout's own outcome. Its label therefore counts n of n, or 0 of n, at no cost;
- a truncated rollout's last prefix is a prefix like any other and is completed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams, request_seed
from prm.grading import Grader
from prm.labels import LabelledRollout, StepLabel
from prm.ledger import Ledger, generate_once
from prm.rollouts import Cost, Outcome, Rollout

from .grading import FINISHED, SampledText, grade_texts

SOURCE = "monte_carlo"


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
    """

    outcomes: tuple[Outcome | None, ...]
    cost: Cost

    @property
    def label(self) -> StepLabel:
        n_correct, n_wrong = self.outcomes.count(Outcome.CORRECT), self.outcomes.count(Outcome.WRONG)
        n_total = n_correct + n_wrong
        return StepLabel(SOURCE, n_correct, n_total, n_undecided=len(self.outcomes) - n_total)


class MonteCarloLabeler:
    """A `Labeler` that estimates the chance to reach the reference answer from every prefix.

    Args:
        generator: completes the prefixes; commonly the one that sampled the rollouts.
        grader: compares final answers.
        sampling: temperature, length and stop texts of a completion.
        n: completions of each prefix.
        seed: another seed draws other completions.
        ledger: keeps finished completions over a kill; `None` keeps none.
        progress: opened with the number of completions; advanced as they are finished.
        workers: processes that share the completions; they need a ledger.

    After `label`, `results` holds what every distinct prefix showed.
    """

    def __init__(
        self,
        generator: Generator,
        grader: Grader,
        sampling: SamplingParams,
        *,
        n: int = 8,
        seed: int = 0,
        ledger: Ledger | None = None,
        progress: Callable[[int], None] | None = None,
        workers: int = 1,
    ):
        if n < 1 or (sampling.temperature == 0 and n > 1):
            raise ConfigError(
                f"n={n} completions at temperature {sampling.temperature}: n must be 1 or more, 1 if greedy"
            )
        self.generator, self.grader, self.sampling = generator, grader, sampling
        self.n, self.seed, self.ledger, self.progress, self.workers = n, seed, ledger, progress, workers
        self.results: dict[Prefix, PrefixResult] = {}

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order. The cost of a shared prefix is its first rollout's."""
        self.results = self._complete(sampled_prefixes(rollouts))
        own = self._own_labels(rollouts)
        paid: set[Prefix] = set()
        return [self._labelled(rollout, label, paid) for rollout, label in zip(rollouts, own, strict=True)]

    def _complete(self, prefixes: Sequence[Prefix]) -> dict[Prefix, PrefixResult]:
        requests = [
            GenerationRequest(ids, request_seed(prefix.problem, prefix.text, index, self.seed))
            for prefix in prefixes
            for ids in [tuple(self.generator.prompt_ids(prefix.problem, prefix.text))]
            for index in range(self.n)
        ]
        completions = self._generate(requests)
        texts = [
            SampledText(prefix.text + completion.text, completion.stop_reason, prefix.answer)
            for prefix, group in zip(prefixes, self._groups(completions), strict=True)
            for completion in group
        ]
        outcomes = [graded.outcome for graded in grade_texts(texts, self.grader)]
        return {
            prefix: PrefixResult(
                tuple(outcomes[at * self.n : (at + 1) * self.n]), sum((c.cost for c in group), Cost())
            )
            for at, (prefix, group) in enumerate(zip(prefixes, self._groups(completions), strict=True))
        }

    def _groups(self, completions: Sequence[Completion]) -> Iterator[Sequence[Completion]]:
        return (completions[at : at + self.n] for at in range(0, len(completions), self.n))

    def _generate(self, requests: Sequence[GenerationRequest]) -> list[Completion]:
        if self.ledger is None:
            return self.generator.generate(requests, self.sampling, self.progress)
        return generate_once(self.generator, requests, self.sampling, self.ledger, self.progress, self.workers)

    def _own_labels(self, rollouts: Sequence[Rollout]) -> list[StepLabel | None]:
        """The last label of each finished rollout, from its outcome; ungraded ones are graded now."""
        ungraded = [r for r in rollouts if r.outcome is None]
        texts = [SampledText(r.text, r.stop_reason, r.problem.answer) for r in ungraded]
        late = iter(grade_texts(texts, self.grader))
        outcomes = [next(late).outcome if r.outcome is None else r.outcome for r in rollouts]
        return [
            PrefixResult((outcome,) * self.n, Cost()).label if r.stop_reason in FINISHED else None
            for r, outcome in zip(rollouts, outcomes, strict=True)
        ]

    def _labelled(self, rollout: Rollout, own_label: StepLabel | None, paid: set[Prefix]) -> LabelledRollout:
        prefixes = list(open_prefixes(rollout))
        labels = [self.results[prefix].label for prefix in prefixes]
        cost = sum((self.results[prefix].cost for prefix in prefixes if prefix not in paid), Cost())
        paid.update(prefixes)
        if own_label is not None and rollout.steps:
            labels.append(own_label)
        return LabelledRollout(rollout, tuple(labels), cost)


def open_prefixes(rollout: Rollout) -> Iterator[Prefix]:
    """The prefixes of a rollout that need completing: one per step, save the last step of a finished rollout."""
    text = rollout.gaps[0]
    count = len(rollout.steps) - (rollout.stop_reason in FINISHED)
    for step, gap in zip(rollout.steps[: max(0, count)], rollout.gaps[1:], strict=False):
        text += step + gap
        yield Prefix(rollout.problem.problem, rollout.problem.answer, text)


def sampled_prefixes(rollouts: Sequence[Rollout]) -> list[Prefix]:
    """The distinct prefixes to complete, in order of appearance."""
    return list(dict.fromkeys(prefix for rollout in rollouts for prefix in open_prefixes(rollout)))
