"""The live searches of one problem, made ready to be drawn: what became of every step, whether it is right where the
truth about steps is known, and where verifier and truth disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prm.report.outline import SearchOutline, TreeStep
from prm.report.tree import TreeNode

from ..arena import EvalArena
from ..quality import FirstError
from ..results import method_title
from ..search.base import Candidates, TreePlan
from ..search.tree import ROOT, Fate, Node
from ..steps import split_by

HOW_TO_READ = (
    "Columns are steps; a mark's colour and number are its score. Squares end a solution, dashed ones gave up or ran "
    "out of tokens, the blue line is what the highest score takes. ✗: wrong up to here; a thick dark rim: score and "
    "truth lie on different sides of the threshold."
)


@dataclass(frozen=True)
class GrownSearches:
    """The live searches that a verifier guided, with the nodes of some problems, by their place in the run."""

    arena: EvalArena
    nodes: Mapping[TreePlan, Mapping[int, Sequence[Node]]]

    @classmethod
    def of(cls, arena: EvalArena, indices: Sequence[int]) -> GrownSearches:
        """Read the store once for all of these problems."""
        trees = ((plan, arena.trees(plan)) for plan in arena.grown)
        return cls(arena, {plan: {index: found[index] for index in indices} for plan, found in trees})

    def outlines(self, index: int, first_error: FirstError | None) -> Iterator[SearchOutline]:
        """Every search of one problem."""
        for plan, found in self.nodes.items():
            if found[index]:
                yield _outline(self.arena, plan, found[index], self.arena.grown[plan][index], first_error)


def _outline(
    arena: EvalArena, plan: TreePlan, nodes: Sequence[Node], pool: Candidates, first_error: FirstError | None
) -> SearchOutline:
    separator, threshold = arena.separator, arena.spec.threshold
    paths = _paths(nodes, separator)
    chosen = _chosen(nodes, paths, pool)
    columns = _columns(nodes)
    steps = []
    for place, (node, path) in enumerate(zip(nodes, paths, strict=True)):
        right = None if first_error is None else first_error(pool.problem.problem, path) == -1
        mistaken = right is not None and node.step_score is not None and (node.step_score >= threshold) != right
        text = node.text.removesuffix(separator)
        mark = TreeNode(
            parent=node.parent,
            column=columns[place],
            score=_shown(node),
            fate=node.fate.value,
            right=right,
            mistaken=mistaken,
            chosen=place in chosen,
            note=f"{text} ({node.fate})",
            label=" ".join(text.split()),
        )
        steps.append(TreeStep(mark, text, node.score, node.tokens))
    n = sum(plan.widths)
    title = f"{method_title(plan.strategy)}, {arena.name}, n = {n}"
    return SearchOutline(title, steps, _outcome(pool))


def _shown(node: Node) -> float | None:
    """The step's own score, or else what it was ranked by."""
    found = node.step_score if node.step_score is not None else node.score
    return None if found is None or found < 0 else found


def _columns(nodes: Sequence[Node]) -> list[int]:
    """How many steps lie before each node."""
    depths: list[int] = []
    for node in nodes:
        depths.append(0 if node.parent == ROOT else depths[node.parent] + 1)
    return depths


def _paths(nodes: Sequence[Node], separator: str) -> list[tuple[str, ...]]:
    """The steps up to each node; the last node of a branch may hold several."""
    texts: list[str] = []
    for node in nodes:
        texts.append(("" if node.parent == ROOT else texts[node.parent]) + node.text)
    return [split_by(text, separator).steps for text in texts]


def _chosen(nodes: Sequence[Node], paths: Sequence[tuple[str, ...]], pool: Candidates) -> set[int]:
    """The nodes of the finished solution with the highest score, the first of equal ones; empty without any."""
    scored = [place for place in range(len(pool)) if pool.classes[place] >= 0]
    if not scored:
        return set()
    best = pool.steps[max(scored, key=lambda place: pool.scores[place])]
    ends = [i for i, node in enumerate(nodes) if node.fate is Fate.FINISHED and paths[i] == best]
    found: set[int] = set()
    at = ends[0] if ends else ROOT
    while at != ROOT:
        found.add(at)
        at = nodes[at].parent
    return found


def _outcome(pool: Candidates) -> str:
    """What the search ended with, in a sentence."""
    right = sum(pool.correct)
    finished = sum(label >= 0 for label in pool.classes)
    return f"{finished} of {len(pool)} branches finished with an answer, {right} of them with the right one."
