"""The live branches of all problems, advanced together: one generator call and one verifier call per iteration.

A problem owns one or more independent trees, each with room for a number of branches. In every iteration each tree
draws one step for each of its free places, sets finished branches aside, and keeps the best of the others
(Snell et al., arXiv 2408.03314, section 5.2; beam search is one tree, DVTS several). The rules that others broke:

- A finished branch keeps its place: it is neither extended nor copied, and the room left shrinks by one. So a search
  of width n never generates more than n solutions.
- Equal branches keep a place each, as in the paper, and are scored once. Merged, they would leave the room to worse
  steps: where most samples agree on the right step, most of the tree would follow wrong ones.
- No sample is drawn twice: children of equal prefixes have different sample indices, over all trees of a problem.
- A branch that ran out of tokens is not finished, and does not come back.
- Tokens are carried: a branch continues exactly the ids that were generated.
- Where there is nothing to choose between, nothing is scored.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from prm.aggregation import Aggregation, aggregate
from prm.generation.base import Completion, GenerationRequest, Generator, SamplingParams, request_seed
from prm.generation.carried import carry
from prm.problems import Problem
from prm.rollouts import Cost, StopReason

from ..steps import split_by
from .base import UNCHOOSABLE, StepVerifier, TreePlan
from .sessions import scoring_session


@dataclass(frozen=True)
class Branch:
    """A started solution: the ids to continue (prompt included), the generated text, and what is known of it.

    `stop_reason` is `STOP` while the branch may be continued. `step_scores` are the verifier's, where it was asked.
    """

    token_ids: tuple[int, ...]
    text: str = ""
    n_generated: int = 0
    stop_reason: StopReason = StopReason.STOP
    step_scores: tuple[float, ...] = ()
    score: float = UNCHOOSABLE

    @property
    def finished(self) -> bool:
        return self.stop_reason is StopReason.EOS


@dataclass
class TreeSearch:
    """What the search of one problem ended with: finished and unfinished branches, and the whole tree's cost, pruned
    branches included."""

    problem: Problem
    finished: list[Branch] = field(default_factory=list)
    unfinished: list[Branch] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)


@dataclass
class _Tree:
    """One tree: `room` places are still free, `live` are the kept branches that share them."""

    search: TreeSearch
    room: int
    live: list[Branch]
    drawn: Counter[str]  # samples drawn from each prefix of this problem, shared by the problem's trees


class Frontier:
    """Runs a `TreePlan` on many problems.

    Args:
        sampling: temperature, nucleus, the token limit of a whole solution, and the texts that end one; the
            verifier's step separator ends a step.
        aggregation: folds step scores into the score that ranks branches and is used in the final vote.
        base_seed: separates whole runs.
    """

    def __init__(
        self,
        plan: TreePlan,
        generator: Generator,
        verifier: StepVerifier,
        *,
        sampling: SamplingParams,
        aggregation: Aggregation,
        base_seed: int = 0,
    ):
        self.plan, self.generator, self.verifier = plan, generator, verifier
        self.carrier, self.session = carry(generator), scoring_session(verifier)
        self.sampling, self.aggregation, self.base_seed = sampling, aggregation, base_seed
        self.separator = verifier.spec.step_format.step_separator

    def run(self, problems: Sequence[Problem], progress: Callable[[int], None] | None = None) -> list[TreeSearch]:
        """Search every problem; `progress` is called with the number of solutions that came to an end."""
        searches = [TreeSearch(problem) for problem in problems]
        trees = [tree for search in searches for tree in self._plant(search)]
        for iteration in range(self.plan.num_iterations):
            self._retire_overlong(trees)
            jobs = [(tree, parent) for tree in trees for parent in _assigned(tree)]
            if not jobs:
                break
            children = self._draw(jobs, to_the_end=iteration == self.plan.num_iterations - 1)
            if iteration == 0:
                self._warn_without_separator(children)
            ended = self._settle(trees, jobs, children)
            if progress:
                progress(ended)
        self._score_finished(searches)
        return searches

    def _plant(self, search: TreeSearch) -> list[_Tree]:
        root = Branch(tuple(self.generator.prompt_ids(search.problem.problem)))
        drawn: Counter[str] = Counter()
        return [_Tree(search, width, [root], drawn) for width in self.plan.widths]

    def _retire_overlong(self, trees: Iterable[_Tree]) -> None:
        """Set aside branches that have no token left to continue with."""
        for tree in trees:
            spent = [branch for branch in tree.live if self._tokens_left(branch) < 1]
            if spent and len(spent) == len(tree.live):
                tree.search.unfinished += [replace(b, stop_reason=StopReason.LENGTH) for b in _assigned(tree)]
                tree.room = 0
            tree.live = [branch for branch in tree.live if branch not in spent]

    def _tokens_left(self, branch: Branch) -> int:
        return min(
            self.sampling.max_new_tokens - branch.n_generated, self.generator.context_length - len(branch.token_ids)
        )

    def _draw(self, jobs: Sequence[tuple[_Tree, Branch]], *, to_the_end: bool) -> list[Branch]:
        """One child for each job: a step, or in the last iteration the rest of the solution."""
        requests = []
        for tree, parent in jobs:
            index = tree.drawn[parent.text]
            tree.drawn[parent.text] += 1
            seed = request_seed(tree.search.problem.problem, parent.text, index, self.base_seed)
            requests.append(GenerationRequest(parent.token_ids, seed))
        limit = max(self._tokens_left(parent) for _, parent in jobs)
        stop = self.sampling.stop if to_the_end else (self.separator, *self.sampling.stop)
        sampling = replace(self.sampling, max_new_tokens=limit, stop=stop)
        completions = self.carrier.generate(requests, sampling)
        children = []
        for (tree, parent), completion in zip(jobs, completions, strict=True):
            tree.search.cost += completion.cost
            children.append(self._extend(parent, completion))
        return children

    def _extend(self, parent: Branch, completion: Completion) -> Branch:
        """The branch after one completion. One that went past its own limit, for all requests of a call share the
        longest, is truncated as a plain sample would have been. One that holds a stop text is finished there."""
        overrun = len(completion.token_ids) > self._tokens_left(parent)
        text, stopped = _until_stop(parent.text + completion.text, self.sampling.stop)
        reason = StopReason.EOS if stopped else completion.stop_reason
        return Branch(
            token_ids=parent.token_ids + completion.token_ids,
            text=text,
            n_generated=parent.n_generated + len(completion.token_ids),
            stop_reason=StopReason.LENGTH if overrun else reason,
        )

    def _settle(self, trees: Iterable[_Tree], jobs: Sequence[tuple[_Tree, Branch]], children: Sequence[Branch]) -> int:
        """Give every child its place; returns how many solutions came to an end."""
        families: dict[int, list[Branch]] = {}
        for (tree, _), child in zip(jobs, children, strict=True):
            families.setdefault(id(tree), []).append(child)
        ended = 0
        open_trees: list[tuple[_Tree, list[Branch]]] = []
        for tree in trees:
            family = families.get(id(tree), [])
            continuing = [child for child in family if child.stop_reason is StopReason.STOP]
            tree.search.finished += [child for child in family if child.finished]
            tree.search.unfinished += [c for c in family if not c.finished and c.stop_reason is not StopReason.STOP]
            tree.room = len(continuing)
            ended += len(family) - len(continuing)
            tree.live = continuing
            if len(tree.live) > self._places(tree) and len({branch.text for branch in tree.live}) > 1:
                open_trees.append((tree, tree.live))
        self._prune(open_trees)
        return ended

    def _places(self, tree: _Tree) -> int:
        return ceil(tree.room / self.plan.beam_width)

    def _prune(self, contested: Sequence[tuple[_Tree, list[Branch]]]) -> None:
        """Score the branches of every tree that has more than it may keep, and different ones; keep the best. Equal
        scores stay in the order they were drawn in, which is random."""
        scored = iter(self._scored([(tree.search, branch) for tree, live in contested for branch in live]))
        for tree, live in contested:
            ranked = sorted((next(scored) for _ in live), key=lambda branch: -branch.score)
            tree.live = ranked[: self._places(tree)]

    def _score_finished(self, searches: Sequence[TreeSearch]) -> None:
        scored = iter(self._scored([(search, branch) for search in searches for branch in search.finished]))
        for search in searches:
            search.finished = [next(scored) for _ in search.finished]

    def _scored(self, items: Sequence[tuple[TreeSearch, Branch]]) -> list[Branch]:
        """The branches with their scores; equal texts of a problem are read, and billed, once."""
        asked: dict[tuple[int, str], tuple[TreeSearch, tuple[str, ...]]] = {}
        for search, branch in items:
            steps = split_by(branch.text, self.separator).steps
            if steps:
                asked.setdefault((id(search), branch.text), (search, steps))
        answers = self.session.score([(s.problem.problem, steps) for s, steps in asked.values()])
        found = dict(zip(asked, answers, strict=True))
        for (search, _), answer in zip(asked.values(), answers, strict=True):
            if answer:
                search.cost += Cost(verifier_tokens=answer.tokens, verifier_attended_tokens=answer.attended)
        scored = []
        for search, branch in items:
            answer = found.get((id(search), branch.text))
            scores = answer.scores if answer else ()
            score = aggregate(scores, self.aggregation) if scores else UNCHOOSABLE
            scored.append(replace(branch, step_scores=scores, score=score))
        return scored

    def _warn_without_separator(self, children: Sequence[Branch]) -> None:
        if self.plan.num_iterations > 1 and not any(child.stop_reason is StopReason.STOP for child in children):
            warnings.warn(
                f"none of the first {len(children)} continuations contains the verifier's step separator "
                f"{self.separator!r}, so {self.plan.strategy} has no step to choose and equals best-of-n; "
                "check the generator's prompt template, or use a verifier trained on this generator's step format",
                stacklevel=2,
            )


def _until_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text up to its first stop text, that one included, and whether there is one. Steps are drawn one by one, so
    that a stop text with a step separator in it comes in several pieces."""
    ends = [text.index(one) + len(one) for one in stop if one in text]
    return (text[: min(ends)], True) if ends else (text, False)


def _assigned(tree: _Tree) -> list[Branch]:
    """The parent of every free place: kept branches share the room evenly, the better ones first."""
    if not tree.live:
        return []
    base, extra = divmod(tree.room, len(tree.live))
    return [branch for rank, branch in enumerate(tree.live) for _ in range(base + (rank < extra))]
