"""The verifier's own encoding of a search tree: a prompt at the root, one step and its separator at each node.

The ids of a beginning do not change when a step is added (DESIGN.md, decision 5), so that each node has its own.
A node knows its token ids, its score once it is read, and the row of a key-value cache in which the text up to its end
lies, while that is kept. Nothing here runs a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prm.errors import FormatError
from prm.generation.kept_rows import KeptRow
from prm.step_format import StepFormat

if TYPE_CHECKING:
    import torch

Item = tuple[str, Sequence[str]]
"""A problem and the steps of a solution, finished or not."""


@dataclass(eq=False)
class Node:
    """The prompt of a problem, or one step and the separator after it.

    Attributes:
        ids: of this node alone.
        start, end: tokens before it, and before what follows it.
        score: of the solution up to here, in [0, 1]; `None` for a prompt, and for what has not been read.
        row: where its tokens, from the prompt on, are cached.
        last: the hidden state (D) of its last token in each model, where the token after it is predicted from it.
        log_probabilities: of the solution up to here in each model, in nats; where they make the score.
    """

    ids: list[int]
    parent: Node | None = None
    children: dict[str, Node] = field(default_factory=dict)
    score: float | None = None
    row: KeptRow | None = None
    last: tuple[torch.Tensor, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    start: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        self.start = self.parent.end if self.parent else 0
        self.end = self.start + len(self.ids)

    @property
    def kept(self) -> bool:
        """Whether the text up to its end is in a cache."""
        return self.row is not None and self.row.batch is not None

    @property
    def is_step(self) -> bool:
        return self.parent is not None

    @property
    def attended(self) -> int:
        """What its tokens attend to, themselves included, summed."""
        return (self.end * (self.end + 1) - self.start * (self.start + 1)) // 2


@dataclass(frozen=True)
class Segment:
    """Nodes that are read at once, each the only one that follows the one before it; `level` segments come first."""

    nodes: tuple[Node, ...]
    level: int

    @property
    def base(self) -> Node | None:
        """The node that they follow."""
        return self.nodes[0].parent

    @property
    def start(self) -> int:
        return self.nodes[0].start

    @property
    def end(self) -> int:
        return self.nodes[-1].end

    @property
    def ids(self) -> list[int]:
        return [token for node in self.nodes for token in node.ids]


class ScoreTree:
    """The nodes of all problems of a search, each encoded once.

    Args:
        max_length: tokens that the verifier reads at most.
    """

    def __init__(self, step_format: StepFormat, tokenizer: Any, max_length: int):
        self.step_format, self.tokenizer, self.max_length = step_format, tokenizer, max_length
        self.roots: dict[str, Node] = {}

    def path(self, item: Item) -> list[Node]:
        """The nodes of a solution, the prompt's first; made where they are new.

        Raises:
            FormatError: a step that cannot be encoded, or a solution longer than the verifier reads.
        """
        problem, steps = item
        nodes = self.known_path(item)
        if len(nodes) == len(steps) + 1:
            return nodes
        encoded = self.step_format.encode(problem, steps, self.tokenizer)
        if len(encoded.input_ids) > self.max_length:
            raise FormatError(f"a solution is longer than the verifier's max_length of {self.max_length}")
        if not nodes:
            nodes = [self.roots.setdefault(problem, Node(encoded.input_ids[: encoded.prompt_length]))]
        for at in range(len(nodes) - 1, len(steps)):
            parent, end = nodes[-1], encoded.score_positions[at] + 1
            nodes.append(parent.children.setdefault(steps[at], Node(encoded.input_ids[parent.end : end], parent)))
        return nodes

    def known_path(self, item: Item) -> list[Node]:
        """As far as there are nodes for it."""
        problem, steps = item
        nodes = [self.roots[problem]] if problem in self.roots else []
        for step in steps if nodes else ():
            if step not in nodes[-1].children:
                break
            nodes.append(nodes[-1].children[step])
        return nodes

    def retain(self, paths: Iterable[Sequence[Node]]) -> dict[KeptRow, int]:
        """Forget every node but these; the rows that hold them, and how many tokens of each. A row holds all that lies
        before its last node, so that none is needed for a node that another one continues."""
        wanted: set[Node] = set()
        lengths: dict[KeptRow, int] = {}
        for path in paths:
            wanted.update(path)
            row = None
            for node in reversed(path):
                if row is not None:
                    node.row = row
                elif node.kept and node.row is not None:
                    row = node.row
                    lengths[row] = max(node.end, lengths.get(row, 0))
        self.roots = {problem: root for problem, root in self.roots.items() if root in wanted}
        for node in wanted:
            node.children = {step: child for step, child in node.children.items() if child in wanted}
        return lengths


def unread(path: Sequence[Node]) -> Sequence[Node]:
    """The nodes of a path that have to be read for all its scores: those behind the last one that is cached."""
    if all(node.score is not None for node in path[1:]):
        return ()
    known = next((at for at in range(len(path), 0, -1) if path[at - 1].kept), 0)
    return path[known:]


def segments_of(nodes: Iterable[Node]) -> list[Segment]:
    """Segments of nodes that are to be read, a parent before its children; no token is in two of them."""
    wanted = set(nodes)
    first = [node for node in dict.fromkeys(nodes) if node.parent not in wanted]
    return list(_segments(first, wanted))


def _segments(first: Sequence[Node], wanted: set[Node]) -> Iterator[Segment]:
    waiting = [(node, 0) for node in first]
    while waiting:
        node, level = waiting.pop(0)
        chain = [node]
        while len(following := [child for child in chain[-1].children.values() if child in wanted]) == 1:
            chain += following
        yield Segment(tuple(chain), level)
        waiting += [(child, level + 1) for child in following]
