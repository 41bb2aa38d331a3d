"""A search tree as a picture: one column for each step, a mark for each drawn step in the colour of its score.

It is plain SVG in the classes of the page's style (page.css): nothing here needs matplotlib.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

NO_PARENT = -1
ROOT_X, FIRST_X = 12.0, 58.0
WIDE, CLOSE = 30.0, 12.0  # points between two marks of a column, with the score in them and without
PAGE_WIDTH, SMALLEST_STEP, LABELLED_STEP, LARGEST_STEP = 890.0, 46.0, 100.0, 140.0  # a step is the room of a column
CHARACTER = 5.6  # points, of a label
MOST_WITH_SCORES = 40
"""Marks in one column; where there are more, they are small and have no text."""


@dataclass(frozen=True)
class TreeNode:
    """One drawn step.

    Attributes:
        parent: index of the node before it, or `NO_PARENT`.
        column: how many steps lie before it.
        score: what it was ranked by or scored with, from 0 to 1.
        fate: `kept`, `pruned`, `finished` or `unfinished`.
        right: whether everything up to here is right, where that is known.
        mistaken: score and truth are on different sides.
        chosen: it is part of the solution that was chosen.
        note: what it says on hover.
        label: a few characters beside the mark, where there is room.
    """

    parent: int
    column: int
    score: float | None
    fate: str
    right: bool | None = None
    mistaken: bool = False
    chosen: bool = False
    note: str = ""
    label: str = ""


def tree_svg(nodes: Sequence[TreeNode], *, description: str, anchor: str = "") -> str:
    """Draw a tree.

    Args:
        nodes: parents before their children.
        description: what a screen reader says.
        anchor: each mark links to the element `{anchor}-{index}` of the page; empty for no links.
    """
    columns = _columns(nodes)
    most = max((len(column) for column in columns), default=1)
    pitch = WIDE if most <= MOST_WITH_SCORES else CLOSE
    height = pitch * most + 12
    step = min(LARGEST_STEP, max(SMALLEST_STEP, (PAGE_WIDTH - FIRST_X) / max(1, len(columns))))
    places = {
        node: (FIRST_X + step * number, height / 2 + pitch * (row - (len(column) - 1) / 2))
        for number, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    width = FIRST_X + step * (len(columns) - 1) + 30 + (step - 30 if step >= LABELLED_STEP else 0)
    root = (ROOT_X, height / 2)
    room = step - 44 if pitch == WIDE and step >= LABELLED_STEP else 0.0
    ends = {index: _label_end(nodes[index], room) for index in places}
    edges = [
        _edge(places.get(node.parent, root), ends.get(node.parent, 0.0), places[index], node)
        for index, node in enumerate(nodes)
    ]
    marks = [
        _mark(index, node, places[index], anchor, roomy=pitch == WIDE, room=room) for index, node in enumerate(nodes)
    ]
    return (
        f'<svg class="tree" role="img" aria-label="{html.escape(description, quote=True)}" '
        f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}">'
        f'{"".join(edges)}<circle class="root" cx="{root[0]:g}" cy="{root[1]:g}" r="4"/>{"".join(marks)}</svg>'
    )


def _columns(nodes: Sequence[TreeNode]) -> list[list[int]]:
    """The nodes of each column from top to bottom: children in the order of their parents, the better ones first."""
    by_column: dict[int, list[int]] = {}
    for index, node in enumerate(nodes):
        by_column.setdefault(node.column, []).append(index)
    ranks: dict[int, int] = {NO_PARENT: -1}
    columns = []
    for number in sorted(by_column):
        column = sorted(by_column[number], key=lambda i: (ranks[nodes[i].parent], -(nodes[i].score or 0.0), i))
        ranks |= {node: rank for rank, node in enumerate(column)}
        columns.append(column)
    return columns


def _edge(start: tuple[float, float], offset: float, end: tuple[float, float], node: TreeNode) -> str:
    """A curve from a node, behind its label, to its child."""
    (x0, y0), (x1, y1) = start, end
    x0 += offset
    middle = (x0 + x1) / 2
    kind = "chosen" if node.chosen else "pruned" if node.fate == "pruned" else "kept"
    return f'<path class="edge {kind}" d="M{x0:g} {y0:g}C{middle:g} {y0:g} {middle:g} {y1:g} {x1:g} {y1:g}"/>'


def _label_end(node: TreeNode, room: float) -> float:
    """How far right of its mark's middle a node's label ends; 0 without one."""
    text = _labelled(node, room)
    width = CHARACTER * (1.25 if node.chosen else 1.1)
    return 20 + width * len(text) if text else 0.0


def _labelled(node: TreeNode, room: float) -> str:
    """The text beside a mark: as much of its label as there is room for, in points, and whether it is wrong."""
    wrong = " ✗" if node.right is False else ""
    most = int(room / CHARACTER) - len(wrong)
    if most < 1 or not node.label:
        return ""
    return (node.label if len(node.label) <= most else node.label[: most - 1] + "…") + wrong


def _mark(index: int, node: TreeNode, place: tuple[float, float], anchor: str, *, roomy: bool, room: float) -> str:
    x, y = place
    tone = "" if node.score is None else f" tone-{round(10 * min(1.0, max(0.0, node.score)))}"
    kind = f"mark {node.fate}{tone}{' mistaken' if node.mistaken else ''}{' chosen' if node.chosen else ''}"
    r = 11.0 if roomy else 4.0
    if node.fate in ("finished", "unfinished"):
        shape = f'<rect class="{kind}" x="{x - r:g}" y="{y - r:g}" width="{2 * r:g}" height="{2 * r:g}" rx="3"/>'
    else:
        shape = f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="{r:g}"/>'
    text = ""
    if roomy and node.score is not None:
        text = f'<text x="{x:g}" y="{y + 3.2:g}">{f"{node.score:.2f}".removeprefix("0")}</text>'
    label = _labelled(node, room)
    if label:
        text += f'<text class="label" x="{x + 15:g}" y="{y + 3.4:g}">{html.escape(label)}</text>'
    elif roomy and node.right is False:
        text += f'<text class="wrong" x="{x + 14:g}" y="{y - 6:g}">✗</text>'
    body = f"<title>{html.escape(node.note)}</title>{shape}{text}"
    return f'<a href="#{html.escape(anchor, quote=True)}-{index}">{body}</a>' if anchor else f"<g>{body}</g>"
