"""OmegaPRM (Luo et al., arXiv 2406.06592): a tree of solutions for each problem, grown where a mistake is to be found.

A problem begins with its rollouts as the root's. One wrong rollout after another is chosen by Q + U
(`data_gen.omega_tree`) and its first wrong step is searched by halving: k completions of the prefix in the middle; if
any reaches the answer, the mistake lies behind it, else before. Each prefix tried is a state from then on, and its
completions are rollouts like any other: wrong ones can be chosen later, and all of them become training paths. A
problem that is always or never solved is left alone.

Where the paper leaves it open, or where we depart from it:

- a prefix that a known right solution passes is solvable, and no completions are spent on it; a search begins with
  what the tree knows of its rollout, and a rollout whose first error is known already counts as no search;
- MC(s) is the share of right ones among all paths that pass the state, not only its own k. Labels count its own alone,
  which nobody chose by their outcome;
- truncated and unparsable completions are paths, but decide nothing. A search ends where a state has no others.

A search inside one problem waits for its completions; the trees of all problems advance together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prm.generation.base import Completion
from prm.grading import extract_answer
from prm.labels import LabelledRollout
from prm.rollouts import GROWN, Outcome, Rollout
from prm.splitting import Split, split_steps

from .grading import FINISHED
from .known_splitter import splitter_of
from .omega_labels import TreeLabels
from .omega_tree import OmegaRule, Path, State, Tree, prefix_texts
from .prefixes import CompletionPool, rollout_outcomes
from .searches import Search, advance_together


class OmegaLabeler:
    """A `Labeler` that returns more rollouts than it is given: every path of every tree.

    Args:
        pool: must keep texts.
        rule: the paper's constants by default.
        splitter: finds the steps of a completion (`prm.splitting`); by default the one that the rollouts show. Or a
            function that names it, given the rollouts.
    """

    def __init__(
        self,
        pool: CompletionPool,
        rule: OmegaRule | None = None,
        splitter: str | Callable[[Sequence[Rollout]], str] = splitter_of,
    ):
        if not pool.keep_texts:
            raise ValueError("the tree is made of completions: give a pool with keep_texts=True")
        self.pool, self.rule, self.splitter = pool, rule or OmegaRule(), splitter

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """The given rollouts in their order, at no cost, and behind the last of each problem the new ones of its tree,
        each at its own cost. A new one is numbered behind the given ones; its source is the generator's name, with
        `/omega` behind it unless it was drawn at the root and is a sample of the problem like any other.

        Raises:
            ConfigError: no splitter finds the steps of the rollouts.
        """
        splitter = self.splitter if isinstance(self.splitter, str) else self.splitter(rollouts)
        trees: dict[tuple[str, str], Tree] = {}
        given = []
        for rollout, outcome in zip(rollouts, rollout_outcomes(rollouts, self.pool.grader), strict=True):
            problem = rollout.problem
            tree = trees.setdefault((problem.problem, problem.answer), Tree(problem, self.rule))
            given.append((tree, self._given(rollout, outcome)))
            tree.add(tree.root, given[-1][1])
        grown = [_Growth(self.pool, tree, splitter) for tree in trees.values()]
        advance_together([growth.search() for growth in grown], self.pool)
        labels = {id(tree): TreeLabels(tree) for tree in trees.values()}
        new = {id(growth.tree): growth.tree.paths[growth.n_given :] for growth in grown}
        last = {id(tree): number for number, (tree, _) in enumerate(given)}
        paths = [
            (tree, path)
            for number, (tree, first) in enumerate(given)
            for path in (first, *(new[id(tree)] if last[id(tree)] == number else ()))
        ]
        return [LabelledRollout(path.rollout, labels[id(tree)](path), path.cost) for tree, path in paths]

    def _given(self, rollout: Rollout, outcome: Outcome | None) -> Path:
        tokens = rollout.cost.generated_tokens
        if not tokens and outcome is Outcome.WRONG:  # recorded, so that nobody counted
            ids = self.pool.generator.prompt_ids
            tokens = len(ids(rollout.problem.problem, rollout.text)) - len(ids(rollout.problem.problem))
        return Path(rollout, outcome, prefix_texts(rollout.steps, rollout.gaps), 0, tokens)


@dataclass
class _Growth:
    """One problem's tree while it grows."""

    pool: CompletionPool
    tree: Tree
    splitter: str

    def __post_init__(self) -> None:
        self.n_given = len(self.tree.paths)
        self.first_index = 1 + max(path.rollout.sample_index for path in self.tree.paths)

    def search(self) -> Search[None]:
        root, rule = self.tree.root, self.tree.rule
        if self.n_given < rule.k:
            self.pool.first_index[root.prefix] = self.first_index  # the given ones may be those before
            yield from self._complete(root, rule.k - self.n_given)
        for _ in range(rule.searches):
            chosen = self.tree.choose()
            if chosen is None:
                return
            yield from self._halve(chosen[1])

    def _halve(self, path: Path) -> Search[None]:
        """Find the first wrong step of a path, as far as its states can be decided."""
        known, end = self.tree.bounds(path)
        while end - known > 1:
            middle = (known + end) // 2
            if path.prefixes[middle - 1] in self.tree.states:
                return  # its completions decided nothing
            yield from self._complete(self.tree.open_state(path, middle), self.tree.rule.k)
            known, end = self.tree.bounds(path)

    def _complete(self, state: State, count: int) -> Search[None]:
        """Draw a state's completions and hang them below it."""
        yield {state.prefix: count}
        state.result = self.pool[state.prefix]
        drawn = zip(state.result.completions[:count], state.result.outcomes, strict=False)
        for index, (completion, outcome) in enumerate(drawn):
            self.tree.add(state, self._path(state, index, completion, outcome))

    def _path(self, state: State, index: int, completion: Completion, outcome: Outcome | None) -> Path:
        split = continued(state, completion.text, self.splitter)
        finished = completion.stop_reason in FINISHED
        rollout = Rollout(
            problem=self.tree.problem,
            steps=split.steps,
            gaps=split.gaps,
            sample_index=self.first_index + len(self.tree.paths) - self.n_given,
            stop_reason=completion.stop_reason,
            source=self.pool.generator.name + (GROWN if state.steps else ""),
            pred=extract_answer(split.text) if finished else None,
            outcome=outcome,
            seed=self.pool.sample_seed(state.prefix, index),
            cost=completion.cost,
        )
        depth, texts = len(state.steps), prefix_texts(split.steps, split.gaps)
        prefixes = state.prefixes + texts[depth:]
        return Path(rollout, outcome, prefixes, depth, completion.cost.generated_tokens, completion.cost)


def continued(state: State, text: str, splitter: str) -> Split:
    """The steps of a state and of a completion of it. The state's steps stay as they are: where the splitter would
    divide the whole otherwise, it divides the completion alone."""
    whole, depth = split_steps(state.prefix.text + text, splitter), len(state.steps)
    same = whole.steps[:depth] == state.steps and whole.gaps[:depth] == state.gaps[:depth]
    if same and whole.gaps[depth].startswith(state.gaps[depth]):
        return whole
    rest = split_steps(text, splitter)
    joined = state.gaps[-1] + rest.gaps[0]
    return Split(state.steps + rest.steps, (*state.gaps[:-1], joined, *rest.gaps[1:]))
