"""The live branches of many problems, advanced together: one generator call and one verifier call per round.

A problem owns one or more independent trees, each with a number of places. In every round each tree draws one step for
each of its places, sets finished branches aside, and shares the places among the others by their scores
(`prm.eval.search.allotment`; beam search is one tree, DVTS several). Problems enter while the tokens of live branches
stay within a budget and leave when they are done, so that batches stay full; what a problem's search finds does not
depend on its company. The rules that others broke:

- A finished branch keeps its place: it is neither extended nor copied, and the tree shrinks by one. So a search of
  width n never generates more than n solutions.
- Equal branches keep a place each, as in the paper, and are scored once. Merged, they would leave the room to worse
  steps: where most samples agree on the right step, most of the tree would follow wrong ones.
- No sample is drawn twice: children of equal prefixes have different sample indices, over all trees of a problem.
- A branch that ran out of tokens is not finished, and does not come back.
- Tokens are carried: a branch continues exactly the ids that were generated.
- Where there is nothing to choose between, nothing is scored.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from prm.aggregation import Aggregation
from prm.generation.base import Generator, SamplingParams
from prm.problems import Problem
from prm.rollouts import Cost

from .allotment import Allotment, KeepBest
from .base import StepVerifier, TreePlan
from .drawing import Drawer, Job
from .guide import Guide, Question
from .tree import Branch, TreeSearch

LIVE_TOKENS = 131_072
"""Tokens of the live branches of all problems, where the generator does not say how many a batch of it holds."""

GUESSED_SHARE = 0.25
"""Of the token limit: how long a solution is taken to become before any has ended."""


@dataclass
class _Tree:
    """One tree: the branches to draw a step behind, one entry for each place, and the rounds behind it."""

    search: TreeSearch
    parents: list[Branch]
    drawn: Counter[str]
    iteration: int = 0


class Frontier:
    """Runs a `TreePlan` on many problems.

    Args:
        sampling: temperature, nucleus, the token limit of a whole solution, and the texts that end one; the
            verifier's step separator ends a step.
        aggregation: folds step scores into the score that ranks branches and is used in the final vote.
        base_seed: separates whole runs.
        live_tokens: tokens that live branches may hold, prompts included, before another problem is let in; one is
            searched in any case. By default what one batch of the generator holds.
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
        live_tokens: int | None = None,
    ):
        self.plan = plan
        self.allotment: Allotment = plan.allotment or KeepBest(plan.beam_width)
        self.guide = Guide(verifier, aggregation)
        self.drawer = Drawer(generator, sampling, self.guide.separator, base_seed)
        of_a_batch: int = getattr(generator, "batch_tokens", LIVE_TOKENS)
        self.live_tokens = live_tokens or of_a_batch
        self._ended = self._ended_tokens = 0  # solutions that came to an end, and how long they were together

    def run(self, problems: Sequence[Problem], progress: Callable[[int], None] | None = None) -> list[TreeSearch]:
        """Search every problem; `progress` is called with the number of solutions that came to an end."""
        searches = [TreeSearch(problem) for problem in problems]
        waiting, trees = deque(searches), list[_Tree]()
        while waiting or trees:
            trees += self._let_in(waiting, trees)
            families = self._draw(trees)
            self._settle(trees, families)
            if progress:
                progress(sum(not child.continues for family in families for child in family))
            trees = [tree for tree in trees if tree.parents]
            self.drawer.retain(parent for tree in trees for parent in tree.parents)
            self.guide.retain((tree.search, parent) for tree in trees for parent in tree.parents)
        self._close_bills(searches)
        return searches

    def _let_in(self, waiting: deque[TreeSearch], trees: Sequence[_Tree]) -> list[_Tree]:
        """Trees of the next problems, as many as fit beside the live ones."""
        room = self.live_tokens - sum(self._demand(tree) for tree in trees)
        entered: list[_Tree] = []
        while waiting:
            planted = self._plant(waiting[0])
            room -= sum(self._demand(tree) for tree in planted)
            if room < 0 and (trees or entered):
                break
            waiting.popleft()
            entered += planted
        return entered

    def _plant(self, search: TreeSearch) -> list[_Tree]:
        root, drawn = self.drawer.root(search), Counter[str]()
        return [_Tree(search, [root] * width, drawn) for width in self.plan.widths]

    def _demand(self, tree: _Tree) -> float:
        """Tokens that the tree's branches hold, or will hold by their end if they become as long as others have."""
        guess = GUESSED_SHARE * self.drawer.sampling.max_new_tokens
        usual = self._ended_tokens / self._ended if self._ended else guess
        return sum(parent.prompt_length + max(parent.n_generated, usual) for parent in tree.parents)

    def _draw(self, trees: Sequence[_Tree]) -> list[list[Branch]]:
        """The children of every tree. Those in their last iteration go on to the end, by a call of their own."""
        families: list[list[Branch]] = [[] for _ in trees]
        for to_the_end in (False, True):
            chosen = [
                (family, tree, parent)
                for family, tree in zip(families, trees, strict=True)
                if (tree.iteration == self.plan.num_iterations - 1) is to_the_end
                for parent in tree.parents
            ]
            drawable = [(tree, parent) for _, tree, parent in chosen if parent.continues]
            jobs = [Job(tree.search, parent, tree.drawn) for tree, parent in drawable]
            drawn = iter(self.drawer.draw(jobs, to_the_end=to_the_end) if jobs else [])
            for family, tree, parent in chosen:
                child = next(drawn) if parent.continues else parent  # a prompt that fills the context
                family.append(tree.search.add(parent, child, tree.iteration))
        return families

    def _settle(self, trees: Sequence[_Tree], families: Sequence[Sequence[Branch]]) -> None:
        """Set ended branches aside, score what has to be scored, and share the places of the others."""
        contested = [(tree, _continuing(family)) for tree, family in zip(trees, families, strict=True)]
        contested = [(tree, live) for tree, live in contested if len({branch.text for branch in live}) > 1]
        finished = [
            Question(tree.search, child, child.text)
            for tree, family in zip(trees, families, strict=True)
            for child in family
            if child.finished
        ]
        scored = iter(self.guide.scored(self._questions(contested), finished))
        ranked = {id(tree): [next(scored) for _ in live] for tree, live in contested}
        for question, branch in zip(finished, scored, strict=True):
            question.search.finished.append(branch)
        for tree, family in zip(trees, families, strict=True):
            ended = [child for child in family if not child.continues]
            tree.search.unfinished += [child for child in ended if not child.finished]
            self._ended += len(ended)
            self._ended_tokens += sum(child.n_generated for child in ended)
            live = ranked.get(id(tree))
            tree.parents = _continuing(family) if live is None else self._shared(tree, live)
            tree.iteration += 1

    def _questions(self, contested: Sequence[tuple[_Tree, list[Branch]]]) -> list[Question]:
        pairs = [(tree.search, branch) for tree, live in contested for branch in live]
        if not self.plan.lookahead:
            return [Question(search, branch, branch.text) for search, branch in pairs]
        texts = self.drawer.look_ahead(pairs, self.plan.lookahead)
        return [Question(search, branch, text) for (search, branch), text in zip(pairs, texts, strict=True)]

    def _shared(self, tree: _Tree, live: Sequence[Branch]) -> list[Branch]:
        counts = self.allotment.shares([branch.score for branch in live])
        for branch, count in zip(live, counts, strict=True):
            if not count:
                tree.search.give_up(branch)
        return [branch for branch, count in zip(live, counts, strict=True) for _ in range(count)]

    def _close_bills(self, searches: Sequence[TreeSearch]) -> None:
        """What is known at the end: wasted tokens, and the caches at their peak, which all problems share."""
        peak = self.drawer.carrier.peak_cache_bytes + self.guide.session.peak_cache_bytes
        for search in searches:
            search.cost = replace(search.cost, pruned_tokens=search.pruned_tokens) + Cost(cache_bytes=peak)


def _continuing(family: Sequence[Branch]) -> list[Branch]:
    return [child for child in family if child.continues]
