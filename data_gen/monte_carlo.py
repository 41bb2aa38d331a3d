"""Math-Shepherd's step labels (arXiv 2312.08935, section 3.3): complete every prefix and count right answers.

Prefixes that several rollouts share are completed once, and the prefixes of all rollouts advance together. How many
completions a prefix gets is the sampling rule's business (`prm.sampling_rules`). Three things are kept apart:

- a completion that is truncated, states no answer, or whose answer could not be compared in time is undecided, never
  wrong;
- the last prefix of a finished rollout is the rollout itself: each of its completions would be empty and have the
  rollout's own outcome. Its label therefore counts n of n, or 0 of n, at no cost;
- a truncated rollout's last prefix is a prefix like any other and is completed.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.labels import LabelledRollout, StepLabel
from prm.rollouts import Outcome, Rollout
from prm.sampling_rules import FIXED_RULE, SamplingRule

from .grading import FINISHED
from .prefixes import (
    CompletionPool,
    Prefix,
    PrefixResult,
    first_costs,
    open_prefixes,
    rollout_outcomes,
    sampled_prefixes,
)
from .searches import Search, advance_together

SOURCE = "monte_carlo"


class MonteCarloLabeler:
    """A `Labeler` that estimates the chance to reach the reference answer from every prefix."""

    def __init__(self, pool: CompletionPool, rule: SamplingRule):
        self.pool, self.rule = pool, rule

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order. The cost of a shared prefix is its first rollout's."""
        advance_together([self._search(prefix) for prefix in sampled_prefixes(rollouts)], self.pool)
        outcomes = rollout_outcomes(rollouts, self.pool.grader)
        costs = first_costs(rollouts, self.pool.results)
        return [
            LabelledRollout(rollout, tuple(self._labels(rollout, outcome)), cost)
            for rollout, outcome, cost in zip(rollouts, outcomes, costs, strict=True)
        ]

    def _search(self, prefix: Prefix) -> Search[None]:
        result = self.pool[prefix]
        while more := self.rule.more(result.n_correct, result.n_total, result.n_asked):
            yield {prefix: result.n_asked + more}
            result = self.pool[prefix]

    def _labels(self, rollout: Rollout, outcome: Outcome | None) -> list[StepLabel]:
        labels = [self._label(self.pool[prefix]) for prefix in open_prefixes(rollout)]
        if rollout.stop_reason in FINISHED and rollout.steps:
            labels.append(self._label(PrefixResult((outcome,) * self.rule.max_n), known=True))
        return labels

    def _label(self, result: PrefixResult, known: bool = False) -> StepLabel:
        n_total = result.n_total
        rule = FIXED_RULE if known else self.rule.spec
        return StepLabel(SOURCE, result.n_correct, n_total, result.n_asked - n_total, rule)
