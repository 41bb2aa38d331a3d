"""The first wrong step of a rollout, found by asking only the prefixes that tell most about where it is.

Halving (O(log S) prefixes instead of S) with a start and a number of completions that adapt: what is known is held as
a distribution over the place of the first error, which begins with what the problem's own rollouts say of its
difficulty, and is updated by every completion (probabilistic bisection, Horstein 1963; Waeber et al. 2013). The next
completions are drawn where they tell most per token, and a rollout is left alone as soon as one place is likely
enough or nothing tells enough. EpicPRM (arXiv 2503.02382) adapts start and k by rules of thumb; a lucky success there
ends the search in the wrong half, here it is evidence among other.

Two chances decide what a completion says: behind a right prefix it succeeds about as often as the problem's rollouts
do, more often the fewer steps are left; behind a wrong one it succeeds by luck, rarely. Neither is known exactly, so
both have a Beta distribution: a prefix must fail more often before it is believed wrong where the problem is hard.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm.errors import ConfigError
from prm.labels import ASSUMED_RULE, POSTERIOR_RULE, LabelledRollout, StepLabel
from prm.rollouts import Outcome, Rollout

from .grading import FINISHED
from .prefixes import CompletionPool, Prefix, first_costs, open_prefixes, rollout_outcomes
from .searches import Search, advance_together

SOURCE = "first_error"

Floats = NDArray[np.float64]

_DIFFICULTY_WEIGHT = 2.0  # rollouts that the pass rate of all problems counts as, in a problem's own pass rate
_RIGHT_WEIGHT = 8.0  # completions that the expected chance behind a right prefix counts as
LUCK = (0.3, 7.0)  # Beta of the chance to reach the answer from a wrong prefix: .04, often none, sometimes more
_WRONG_SHARE = 0.2  # of right answers that have a wrong step, before looking (MATH in ProcessBench: 18.8%)


@dataclass(frozen=True)
class FirstErrorRule:
    """When a search ends.

    Attributes:
        confidence: the probability of one place from which the search stops.
        min_worth: bits that the best next completion must tell, per solution's length of tokens; below it the search
            stops undecided. Long hard problems, where a failure says next to nothing, would eat the budget of all.
        max_n: completions of one prefix at most.
        verify_correct: whether rollouts with a right answer are searched too, or assumed right throughout.
    """

    confidence: float = 0.85
    min_worth: float = 0.01
    max_n: int = 8
    verify_correct: bool = False

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1 or self.max_n < 1 or self.min_worth < 0:
            raise ConfigError("first_error needs 0.5 <= confidence < 1, max_n of at least 1 and min_worth from 0 up")


class FirstErrorLabeler:
    """A `Labeler` that finds the first wrong step. A label's value is the probability that no step up to it is wrong;
    what its own prefix's completions showed is kept beside."""

    def __init__(
        self, pool: CompletionPool, rule: FirstErrorRule | None = None, rates: Mapping[str, float] | None = None
    ):
        """`rates`: how often each problem is solved, by its id; by default read off the rollouts to label."""
        self.pool, self.rule, self.rates = pool, rule or FirstErrorRule(), rates
        self._searches: Counter[str] = Counter()

    def summary(self) -> dict[str, int]:
        """How many rollouts were searched, and of how many the search ended below `confidence`, or without a
        completion that decided anything (these are among the former)."""
        return {name: self._searches[name] for name in ("searches", "below_confidence", "nothing_decided")}

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order. Where the answer is unknown (truncated, unparsable) so are the
        labels, and where no completion of a search was decided, those of all steps but a wrong answer's last. The
        cost of a shared prefix is its first rollout's."""
        self._searches.clear()
        outcomes = rollout_outcomes(rollouts, self.pool.grader)
        rates = pass_rates(rollouts, outcomes) if self.rates is None else self.rates
        searches = [
            self._search(rollout, outcome, rates[rollout.problem.unique_id])
            for rollout, outcome in zip(rollouts, outcomes, strict=True)
        ]
        labels = advance_together(searches, self.pool)
        costs = first_costs(rollouts, self.pool.results)
        return [LabelledRollout(*row) for row in zip(rollouts, labels, costs, strict=True)]

    def _search(self, rollout: Rollout, outcome: Outcome | None, rate: float) -> Search[tuple[StepLabel, ...]]:
        if not rollout.steps or rollout.stop_reason not in FINISHED:
            return tuple(StepLabel(SOURCE) for _ in rollout.steps)
        if outcome is Outcome.CORRECT and not self.rule.verify_correct:
            return tuple(StepLabel(SOURCE, value=1.0, rule=ASSUMED_RULE) for _ in rollout.steps)
        if outcome not in (Outcome.CORRECT, Outcome.WRONG):
            return tuple(StepLabel(SOURCE) for _ in rollout.steps)
        prefixes, belief = list(open_prefixes(rollout)), Belief.of(len(rollout.steps), rate)
        if outcome is Outcome.CORRECT:
            return (yield from self._verify(belief, prefixes))
        while (at := self._next(belief, prefixes)) is not None:
            yield {prefixes[at]: self.pool[prefixes[at]].n_asked + 1}
        counts = self._counts(prefixes)
        places = belief.places(counts)
        self._count_search(counts, sure=places.max() >= self.rule.confidence)
        right = 1 - places.cumsum().clip(0, 1)  # that the error lies behind the step
        return self._labels(prefixes, right, [bool(counts.any())] * len(prefixes) + [True])

    def _verify(self, belief: Belief, prefixes: Sequence[Prefix]) -> Search[tuple[StepLabel, ...]]:
        """Try every prefix of a rollout that reached the answer. Its end is right whatever went before, so that a
        wrong step need not show behind the step that made good for it: each prefix is judged by itself."""
        right = belief.each(self._counts(prefixes))
        while open_ones := [
            prefix
            for prefix, chance in zip(prefixes, right, strict=True)
            if (self.pool[prefix].n_asked == 0 or 1 - self.rule.confidence < chance < self.rule.confidence)
            and self.pool[prefix].n_asked < self.rule.max_n
        ]:
            yield {prefix: self.pool[prefix].n_asked + 1 for prefix in open_ones}
            right = belief.each(self._counts(prefixes))
        counts = self._counts(prefixes)
        self._count_search(counts, sure=(np.maximum(right, 1 - right) >= self.rule.confidence).all())
        so_far = np.minimum.accumulate(np.append(right, 1.0))
        return self._labels(
            prefixes, so_far, [*np.asarray(counts.any(axis=1)).tolist(), not len(counts) or bool(counts.any())]
        )

    def _count_search(self, counts: Floats, sure: np.bool_) -> None:
        """Note how a search ended. One without a prefix to ask about is none."""
        if len(counts):
            nothing = not counts.any()
            self._searches.update(searches=1, below_confidence=int(nothing or not sure), nothing_decided=int(nothing))

    def _next(self, belief: Belief, prefixes: Sequence[Prefix]) -> int | None:
        """The prefix to complete next, `None` where one place of the first error is likely enough. What is likely
        before any completion was decided is no finding."""
        counts = self._counts(prefixes)
        places = belief.places(counts)
        if counts.any() and places.max() >= self.rule.confidence:
            return None
        asked = np.array([self.pool[prefix].n_asked for prefix in prefixes])
        worth = np.where(asked < self.rule.max_n, belief.worth(places, counts), -1.0)
        return int(worth.argmax()) if len(worth) and worth.max() > self.rule.min_worth else None

    def _counts(self, prefixes: Sequence[Prefix]) -> Floats:
        """Right and wrong completions of each prefix; shape (S-1, 2)."""
        results = [self.pool[prefix] for prefix in prefixes]
        pairs = [(result.n_correct, result.n_total - result.n_correct) for result in results]
        return np.array(pairs, dtype=np.float64).reshape(len(prefixes), 2)

    def _labels(self, prefixes: Sequence[Prefix], right: Floats, known: Sequence[bool]) -> tuple[StepLabel, ...]:
        """Labels from the probability (S,) that no step up to each is wrong, with what its prefix showed. They are
        unknown but where `known` (S,): completions told nothing, and the value would be the prior's alone."""
        results = [self.pool[prefix] for prefix in prefixes]
        counts = [(r.n_correct, r.n_total, r.n_asked - r.n_total) for r in results] + [(0, 0, 0)]
        return tuple(
            StepLabel(SOURCE, *count, POSTERIOR_RULE, value) if told else StepLabel(SOURCE, *count)
            for count, value, told in zip(counts, right.tolist(), known, strict=True)
        )


@dataclass(frozen=True)
class Belief:
    """What is held of one rollout of S steps before any completion.

    Attributes:
        prior: (S,) the probability that the first wrong step is the i-th.
        right: (S-1, 2) Beta parameters of the chance of success behind each prefix, were it right.
        cost: (S-1,) what a completion of each prefix costs, in solutions.
    """

    prior: Floats
    right: Floats
    cost: Floats

    @classmethod
    def of(cls, steps: int, rate: float) -> Belief:
        """For a rollout with this many steps of a problem solved at this rate.

        Every step is as likely to be wrong as every other, and a rollout without a wrong step is right: at a pass rate
        r a step is right with probability r^(1/S). Among wrong rollouts the first error then lies at step i with
        probability proportional to r^((i-1)/S).
        """
        survives = rate ** (np.arange(steps) / steps)
        left = (steps - np.arange(1, steps)) / steps
        chance = np.clip(rate**left, 0.02, 0.98)
        right = _RIGHT_WEIGHT * np.stack([chance, 1 - chance], axis=1)
        return cls(survives / survives.sum(), right, 0.5 / steps + left)

    def places(self, counts: Floats) -> Floats:
        """The probability of each place of the first error, given the counts (S-1, 2) of right and wrong completions;
        shape (S,)."""
        if_right, if_wrong = self._likelihoods(counts)
        # With the first error at step i (from 1), the prefixes of 1 .. i-1 steps are right and the others wrong.
        log = np.append(0.0, if_right.cumsum()) + np.append(if_wrong[::-1].cumsum()[::-1], 0.0)
        weights = self.prior * np.exp(log - log.max())
        return np.asarray(weights / weights.sum())

    def each(self, counts: Floats) -> Floats:
        """The probability that each prefix is right, judged by its own counts (S-1, 2) alone; shape (S-1,)."""
        if_right, if_wrong = self._likelihoods(counts)
        odds = (1 - _WRONG_SHARE) / _WRONG_SHARE * np.exp(if_right - if_wrong)
        return np.asarray(odds / (1 + odds))

    def _likelihoods(self, counts: Floats) -> tuple[Floats, Floats]:
        luck = np.broadcast_to(np.array(LUCK), counts.shape)
        return _log_beta_binomial(self.right, counts), _log_beta_binomial(luck, counts)

    def worth(self, places: Floats, counts: Floats) -> Floats:
        """Bits that one more completion of each prefix tells of whether it is right, over its cost; (S-1,)."""
        right = 1 - places.cumsum()[: len(counts)]
        success_right = _mean(self.right + counts)
        success_wrong = _mean(np.array(LUCK) + counts)
        mixed = right * success_right + (1 - right) * success_wrong
        told = _entropy(mixed) - right * _entropy(success_right) - (1 - right) * _entropy(success_wrong)
        return np.asarray(told / self.cost)


def pass_rates(rollouts: Sequence[Rollout], outcomes: Sequence[Outcome | None]) -> Mapping[str, float]:
    """How often each problem is solved, from its decided rollouts, drawn towards the rate of all."""
    tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for rollout, outcome in zip(rollouts, outcomes, strict=True):
        known = tally[rollout.problem.unique_id]
        if outcome in (Outcome.CORRECT, Outcome.WRONG):
            known[0] += outcome is Outcome.CORRECT
            known[1] += 1
    right, total = (sum(column) for column in zip(*tally.values(), strict=True)) if tally else (0, 0)
    overall = (right + 1) / (total + 2)
    return {
        problem: (right + _DIFFICULTY_WEIGHT * overall) / (total + _DIFFICULTY_WEIGHT)
        for problem, (right, total) in tally.items()
    }


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


def _log_beta_binomial(beta: Floats, counts: Floats) -> Floats:
    """Log probability of a sequence with these counts when its chance has this Beta distribution; both (S, 2)."""
    after = beta + counts
    gained = _log_gamma(after).sum(1) - _log_gamma(beta).sum(1)
    return np.asarray(gained - _log_gamma(after.sum(1)) + _log_gamma(beta.sum(1)))


def _mean(beta: Floats) -> Floats:
    return np.asarray(beta[:, 0] / beta.sum(1))


def _entropy(chance: Floats) -> Floats:
    """Bits of a coin."""
    safe = np.clip(chance, 1e-12, 1 - 1e-12)
    return np.asarray(-safe * np.log2(safe) - (1 - safe) * np.log2(1 - safe))
