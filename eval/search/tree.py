"""The records of a tree search: branches, the nodes they are made of, and what the search of one problem ended with.

How branches are drawn, scored and kept is `prm.eval.search.frontier`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from prm.problems import Problem
from prm.rollouts import Cost, StopReason
from prm.verifier import StepScores

from .base import UNCHOOSABLE

ROOT = -1
"""The parent of a first step."""


@dataclass(frozen=True)
class Branch:
    """A started solution: the ids to continue (prompt included), the generated text, and what is known of it.

    `stop_reason` is `STOP` while the branch may be continued. `step_scores` are the verifier's, where it was asked.
    `node` is where its last step stands among the search's nodes.
    """

    token_ids: tuple[int, ...]
    text: str = ""
    n_generated: int = 0
    stop_reason: StopReason = StopReason.STOP
    step_scores: tuple[float, ...] = ()
    score: float = UNCHOOSABLE
    node: int = ROOT

    @property
    def finished(self) -> bool:
        return self.stop_reason is StopReason.EOS

    @property
    def continues(self) -> bool:
        return self.stop_reason is StopReason.STOP

    @property
    def prompt_length(self) -> int:
        """In tokens."""
        return len(self.token_ids) - self.n_generated


class Fate(StrEnum):
    """What became of a node: continued; given up for better ones; the last of a finished solution; or of one that ran
    out of tokens."""

    KEPT = "kept"
    PRUNED = "pruned"
    FINISHED = "finished"
    UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Node:
    """One drawn step.

    Attributes:
        parent: index of the node before it, or `ROOT`.
        text: what was generated, its separator included.
        tokens: how many that were.
        iteration: of its tree; the first is 0.
        fate: what became of it.
        step_score: the verifier's score of this step; `None` where it was not asked.
        score: what it was ranked by: the aggregated score of the branch up to here, or of the text looked ahead to.
    """

    parent: int
    text: str
    tokens: int
    iteration: int
    fate: Fate
    step_score: float | None = None
    score: float | None = None


@dataclass
class TreeSearch:
    """What the search of one problem ended with: finished and unfinished branches, every node that was drawn, and the
    whole tree's cost, pruned branches included.

    `parts` tells the verifier's tokens, and what they attend to, by the members of an ensemble; empty for others.
    """

    problem: Problem
    finished: list[Branch] = field(default_factory=list)
    unfinished: list[Branch] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    nodes: list[Node] = field(default_factory=list)
    parts: tuple[tuple[int, int], ...] = ()

    def bill_reading(self, answer: StepScores) -> None:
        """Add what the verifier read for an answer."""
        self.cost += Cost(verifier_tokens=answer.tokens, verifier_attended_tokens=answer.attended)
        if parts := getattr(answer, "parts", ()):
            before = self.parts or [(0, 0)] * len(parts)
            self.parts = tuple((t + u, a + b) for (t, a), (u, b) in zip(before, parts, strict=True))

    def add(self, parent: Branch, child: Branch, iteration: int) -> Branch:
        """Record a drawn step; the child that knows its node. A continuing one is kept until `give_up`."""
        ended = Fate.FINISHED if child.finished else Fate.UNFINISHED
        node = Node(
            parent=parent.node,
            text=child.text[len(parent.text) :],
            tokens=child.n_generated - parent.n_generated,
            iteration=iteration,
            fate=Fate.KEPT if child.continues else ended,
        )
        self.nodes.append(node)
        return replace(child, node=len(self.nodes) - 1)

    def note_scores(self, branch: Branch, step: int) -> None:
        """Record the scores of a branch whose last step is the one with this index."""
        own = branch.step_scores[step] if 0 <= step < len(branch.step_scores) else None
        self.nodes[branch.node] = replace(self.nodes[branch.node], step_score=own, score=branch.score)

    def give_up(self, branch: Branch) -> None:
        """Record that a branch is not continued."""
        self.nodes[branch.node] = replace(self.nodes[branch.node], fate=Fate.PRUNED)

    @property
    def pruned_tokens(self) -> int:
        """Tokens generated for nodes that no solution, finished or not, goes through."""
        used: set[int] = set()
        for branch in (*self.finished, *self.unfinished):
            at = branch.node
            while at != ROOT and at not in used:
                used.add(at)
                at = self.nodes[at].parent
        return sum(node.tokens for index, node in enumerate(self.nodes) if index not in used)


def nodes_to_row(nodes: Iterable[Node]) -> dict[str, list[Any]]:
    """Nodes as columns, which take a third of the room of one object for each."""
    columns: dict[str, list[Any]] = {name: [] for name in Node.__dataclass_fields__}
    for node in nodes:
        for name, column in columns.items():
            column.append(getattr(node, name))
    return columns


def nodes_from_row(row: dict[str, list[Any]]) -> list[Node]:
    """Inverse of `nodes_to_row`."""
    rows = zip(*(row[name] for name in Node.__dataclass_fields__), strict=True)
    return [replace(node, fate=Fate(node.fate)) for node in (Node(*values) for values in rows)]
