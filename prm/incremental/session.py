"""A verifier for the length of one search: every token of its own encoding of the search tree goes through it once.

    >>> session = verifier.session()
    >>> session.score([("7a+5b-3", ("a7+5=12",))])            # reads the prompt and the step
    >>> session.score([("7a+5b-3", ("a7+5=12", "b12-3=9"))])  # reads the second step alone
    >>> session.retain([("7a+5b-3", ("a7+5=12",))])           # the first step may be continued, the second will not

Steps are text, so that it does not matter what the generator's tokens are. Equal beginnings are read once, whichever
solution asks first; that one is billed. What does not fit into the budget is let go, the oldest first, and is read,
and billed, again. A pass is `prm.incremental.reading`'s, the tree itself `prm.incremental.tree`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from prm.errors import FormatError
from prm.generation.kept_rows import KeptRow, KeptRows
from prm.incremental.reading import SegmentReader, models_of
from prm.incremental.tree import Item, Node, ScoreTree, Segment, segments_of, unread
from prm.out_of_memory import in_halves

if TYPE_CHECKING:
    from prm.verifier import StepScores, Verifier

CACHE_TOKENS = 262_144
"""Twice the live branches that a search holds by default: they, and what they were drawn from."""


class IncrementalSession:
    """Scores of a growing tree from a causal model that keeps what it has read.

    Args:
        verifier: of any head.
        cache_tokens: tokens that the caches may hold, padding included; a verifier with a reference holds two caches.
            A call that needs more reads its items in parts.
    """

    keeps_state = True

    def __init__(self, verifier: Verifier, cache_tokens: int = CACHE_TOKENS):
        self.kind, self.batch_tokens, self.cache_tokens = verifier.spec.kind, verifier.batch_tokens, cache_tokens
        self.kept = KeptRows([model.config for model in models_of(verifier)], cache_tokens)
        self.tree = ScoreTree(verifier.spec.step_format, verifier.memo, verifier.spec.max_length)
        self.reader = SegmentReader(verifier, self.kept)

    @property
    def peak_cache_bytes(self) -> int:
        """The most that the caches held at a time."""
        return self.kept.peak_bytes

    def score(self, items: Sequence[Item]) -> list[StepScores | None]:
        """All scores of every item, in order: one per step from a PRM, that of the last from an ORM.

        `tokens` and `attended` count what was read now; what several items share is counted with the first of them.
        `None` for an item that the verifier cannot read: longer than `spec.max_length`, or with a step that cannot be
        encoded.
        """
        found: list[StepScores | None] = []
        for paths in self._parts([self._path(item) for item in items]):
            new = [unread(path) for path in paths]
            nodes = list(dict.fromkeys(node for path in new for node in path))
            self._read(nodes, [node for path in paths for node in path])
            counted: set[Node] = set()
            found += [self._scores(path, own, counted) for path, own in zip(paths, new, strict=True)]
        return found

    def retain(self, items: Iterable[Item]) -> None:
        """Let go of everything but these beginnings."""
        self.kept.retain(self.tree.retain([self.tree.known_path(item) for item in items]))

    def _path(self, item: Item) -> list[Node]:
        """The nodes of an item; none where it cannot be read."""
        try:
            path = self.tree.path(item)
        except FormatError:
            return []
        return path if len(path) > 1 else []

    def _parts(self, paths: Sequence[list[Node]]) -> Iterator[list[list[Node]]]:
        """Paths in parts whose rows fit into half the budget; the other half may hold what is kept."""
        part: list[list[Node]] = []
        tokens = 0
        for path in paths:
            length = path[-1].end if path else 0
            if part and tokens + length > self.cache_tokens // 2:
                yield part
                part, tokens = [], 0
            part.append(path)
            tokens += length
        if part:
            yield part

    def _read(self, nodes: Sequence[Node], around: Sequence[Node]) -> None:
        """Read new nodes, level by level; the rows of the nodes `around` them are not let go meanwhile."""
        segments = segments_of(nodes)
        for _, level in groupby(segments, key=lambda segment: segment.level):
            for together in self._passes(sorted(level, key=_by_shape)):
                self.kept.make_room(sum(segment.end for segment in together), _rows_of(around))
                in_halves(self.reader.read, together, relieve=lambda: self.kept.spare(_rows_of(around)))

    def _passes(self, segments: Sequence[Segment]) -> Iterator[list[Segment]]:
        """Segments of similar shape; neither their new tokens nor their cached ones are more than a pass may take."""
        batch: list[Segment] = []
        width = past = 0
        for segment in segments:
            width, past = max(width, segment.end - segment.start), max(past, segment.start)
            rows = len(batch) + 1
            if batch and (rows * width > self.batch_tokens or rows * (past + width) > self.cache_tokens // 4):
                yield batch
                batch, width, past = [], segment.end - segment.start, segment.start
            batch.append(segment)
        if batch:
            yield batch

    def _scores(self, path: Sequence[Node], new: Sequence[Node], counted: set[Node]) -> StepScores | None:
        from prm.verifier import StepScores

        if not path:
            return None
        own = [node for node in new if node not in counted]
        counted.update(own)
        scores = tuple(node.score for node in path[1:] if node.score is not None)
        return StepScores(
            scores[-1:] if self.kind == "orm" else scores,
            sum(len(node.ids) for node in own),
            attended=sum(node.attended for node in own),
        )


class RereadingSession:
    """Scores of a verifier that cannot go on from where it stopped: whole solutions are read, each time."""

    keeps_state = False
    peak_cache_bytes = 0

    def __init__(self, verifier: Verifier):
        self.verifier = verifier

    def score(self, items: Sequence[Item]) -> list[StepScores | None]:
        """As `IncrementalSession.score`; equal items are read once."""
        readable = [item for item in dict.fromkeys((p, tuple(s)) for p, s in items) if self.verifier.can_read(*item)]
        scored = dict(zip(readable, self.verifier.score_solutions(readable), strict=True))
        return [scored.get((problem, tuple(steps))) for problem, steps in items]

    def retain(self, items: Iterable[Item]) -> None:
        """Nothing is kept."""


def session_of(verifier: Verifier, cache_tokens: int = CACHE_TOKENS) -> IncrementalSession | RereadingSession:
    """A session that keeps state where every layer of the verifier's model does: full, causal attention."""
    return IncrementalSession(verifier, cache_tokens) if keeps_beginnings(verifier) else RereadingSession(verifier)


def keeps_beginnings(verifier: Verifier) -> bool:
    """Whether the cache of a text holds the caches of all its beginnings, in every model that is read, and steps are
    encoded one by one."""
    from prm.generation.kv_cache import can_gather, in_place_cache
    from prm.heads import attends_causally

    step_format = verifier.spec.step_format
    if step_format.whole_text or step_format.closing:
        return False
    return all(attends_causally(model) and can_gather(in_place_cache(model.config)) for model in models_of(verifier))


def _rows_of(nodes: Iterable[Node]) -> set[KeptRow]:
    return {node.row for node in nodes if node.row is not None}


def _by_shape(segment: Segment) -> tuple[int, int]:
    return segment.start, segment.end
