"""A search tree as the page shows it: the picture of `prm.report.tree`, and every step as an indented list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prm.report.formatting import MISSING
from prm.report.tree import NO_PARENT, TreeNode, tree_svg


@dataclass(frozen=True)
class TreeStep:
    """One drawn step with its text.

    Attributes:
        node: its place in the tree, its fate and the score that its colour shows.
        text: what was generated.
        rank: what it was ranked by, where that is not its own score.
        tokens: how many were generated for it.
    """

    node: TreeNode
    text: str
    rank: float | None = None
    tokens: int = 0


@dataclass(frozen=True)
class SearchOutline:
    """A search of one problem.

    Attributes:
        title: which search.
        steps: parents before their children.
        note: how to read it.
    """

    title: str
    steps: Sequence[TreeStep]
    note: str = ""


def outline_values(tree: SearchOutline, anchor: str) -> dict[str, Any]:
    """What the template shows; `anchor` starts the ids of the list's rows."""
    nodes = [step.node for step in tree.steps]
    return {
        "title": tree.title,
        "note": tree.note,
        "anchor": anchor,
        "svg": tree_svg(nodes, description=f"{tree.title}: {len(nodes)} steps", anchor=anchor),
        "rows": [_row(index, tree.steps[index]) for index in preorder(nodes)],
    }


def preorder(nodes: Sequence[TreeNode]) -> list[int]:
    """Indices with every node before its children and each branch in one piece, the better ones first."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        children.setdefault(node.parent, []).append(index)
    for family in children.values():
        family.sort(key=lambda i: (-(nodes[i].score or 0.0), i))
    order: list[int] = []
    waiting = children.get(NO_PARENT, [])[::-1]
    while waiting:
        index = waiting.pop()
        order.append(index)
        waiting += children.get(index, [])[::-1]
    return order


def _row(index: int, step: TreeStep) -> dict[str, Any]:
    node = step.node
    return {
        "index": index,
        "depth": node.column,
        "text": step.text,
        "fate": node.fate,
        "truth": "unknown" if node.right is None else "right" if node.right else "wrong",
        "score": MISSING if node.score is None else f"{node.score:.2f}",
        "tone": None if node.score is None else round(10 * min(1.0, max(0.0, node.score))),
        "rank": MISSING if step.rank is None else f"{step.rank:.2f}",
        "tokens": f"{step.tokens:,}",
        "mistaken": node.mistaken,
        "chosen": node.chosen,
    }
