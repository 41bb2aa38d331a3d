"""One pass of a verifier's model over new segments of a search tree, on top of the cached rows that they continue.

Suffixes: B segments, T columns of this pass, P columns of the past, S steps of a segment, D hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prm.generation.kept_rows import KeptRow, KeptRows, kept_spans
from prm.heads import margins, unwrapped
from prm.heads.implicit import ImplicitHead, cumulative_log_probabilities
from prm.incremental.tree import Node, Segment

if TYPE_CHECKING:
    import torch

    from prm.verifier import Verifier

_NO_TOKEN = -100


class SegmentReader:
    """Reads segments, and writes onto their nodes the score and the row in which they are kept."""

    def __init__(self, verifier: Verifier, kept: KeptRows):
        self.kept, self.head, self.temperature = kept, verifier.head, verifier.spec.temperature
        self.models = [unwrapped(model) for model in models_of(verifier)]
        self.implicit = isinstance(verifier.head, ImplicitHead)
        self.beta = verifier.head.beta if isinstance(verifier.head, ImplicitHead) else 1.0
        self.device = self.models[0].device
        self.pad_id = verifier.tokenizer.pad_token_id or 0
        self.positions_end = getattr(self.models[0].config.get_text_config(), "max_position_embeddings", None) or 2**31

    def read(self, segments: Sequence[Segment]) -> list[KeptRow]:
        """Read segments whose bases are read; the row of each, in the order they were read in."""
        import torch

        segments = sorted(segments, key=_place_of)
        width = max(segment.end - segment.start for segment in segments)
        past = max(segment.start for segment in segments)
        ids_BT = self._stacked([segment.ids for segment in segments], self.pad_id)
        given: dict[str, Any] = {"input_ids": ids_BT, "use_cache": True}
        if past:
            starts_B = torch.tensor([segment.start for segment in segments], device=self.device)
            columns = torch.arange(past + width, device=self.device)
            if any(segment.start < past for segment in segments):
                given["attention_mask"] = (columns >= past - starts_B[:, None]).long()
            positions_BT = starts_B[:, None] + columns[:width]
            given["position_ids"] = positions_BT.clamp(max=self.positions_end - 1)  # only padding lies beyond
        with torch.inference_mode():
            caches = [self._past(segments, index, width) for index in range(len(self.models))]
            hidden = [
                getattr(model, model.base_model_prefix)(**given, past_key_values=cache)[0]
                for model, cache in zip(self.models, caches, strict=True)
            ]
            self._score(segments, hidden)
        places = [(at, past - segment.start) for at, segment in enumerate(segments)]
        rows = self.kept.add(caches, places, len(segments))
        for segment, row in zip(segments, rows, strict=True):
            for node in segment.nodes:
                node.row = row
        return rows

    def _past(self, segments: Sequence[Segment], index: int, width: int) -> Any:
        """What stands before each segment, with room for `width` columns more."""
        from prm.generation.kv_cache import Spans, gather, in_place_cache

        config = self.models[index].config
        beginnings = [(s.base.row, s.start) for s in segments if s.base is not None and s.base.row is not None]
        prompts = len(segments) - len(beginnings)  # they stand first
        if not beginnings:
            return in_place_cache(config)
        nothing = [Spans(in_place_cache(config), *[[0] * prompts] * 3)] if prompts else []
        return gather([*nothing, *kept_spans(beginnings, index)], config, spare=width)

    def _score(self, segments: Sequence[Segment], hidden: Sequence[torch.Tensor]) -> None:
        """Scores of every step, from the hidden states (B, T, D) of each model."""
        steps = [[node for node in segment.nodes if node.is_step] for segment in segments]
        if self.implicit:
            margins_BS = self._log_ratios(segments, steps, hidden)
        elif any(steps):
            width = hidden[0].shape[1]
            at = [
                [row * width + node.end - 1 - segment.start for node in nodes]
                for row, (segment, nodes) in enumerate(zip(segments, steps, strict=True))
            ]
            batch = {"positions": self._stacked(at, 0)}
            margins_BS = margins(self.head.logits(self.models[0], hidden[0].flatten(0, 1), batch))
        else:
            return
        for nodes, scores in zip(steps, (margins_BS / self.temperature).sigmoid().float().tolist(), strict=True):
            for node, score in zip(nodes, scores, strict=False):
                node.score = score

    def _log_ratios(
        self, segments: Sequence[Segment], steps: Sequence[Sequence[Node]], hidden: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """Margins (B, S) of an implicit head; the nodes get what the steps behind them need to go on from here."""
        import torch

        batch = self._predictions(segments, steps, hidden[0].shape[1] + 1)
        totals_MBS = []
        for number, (model, hidden_BTD) in enumerate(zip(self.models, hidden, strict=True)):
            before_BD = torch.stack(
                [s.base.last[number] if s.base else torch.zeros_like(hidden_BTD[0, 0]) for s in segments]
            )
            states_BTD = torch.cat([before_BD[:, None], hidden_BTD], dim=1)
            new_BS = cumulative_log_probabilities(model, states_BTD.flatten(0, 1), batch)
            known = [s.base.log_probabilities[number] if s.base and s.base.is_step else 0.0 for s in segments]
            totals_MBS.append(new_BS + torch.tensor(known, device=self.device)[:, None])
        for row, segment in enumerate(segments):
            for node in segment.nodes:
                at = node.end - 1 - segment.start
                node.last = tuple(hidden_BTD[row, at].clone() for hidden_BTD in hidden)
            for number, node in enumerate(steps[row]):
                node.log_probabilities = tuple(float(total[row, number]) for total in totals_MBS)
        own_BS, reference_BS = totals_MBS
        return self.beta * (own_BS - reference_BS)

    def _predictions(
        self, segments: Sequence[Segment], steps: Sequence[Sequence[Node]], width: int
    ) -> dict[str, torch.Tensor]:
        """Which token is predicted where, in rows of `width` states of which the first is the base's last."""
        at, following, ends = [], [], []
        for row, (segment, nodes) in enumerate(zip(segments, steps, strict=True)):
            ids = [token for node in nodes for token in node.ids]
            first = row * width + (nodes[0].start - segment.start if nodes else 0)
            at.append(list(range(first, first + len(ids))))
            following.append(ids)
            ends.append(list(accumulate(len(node.ids) for node in nodes)))
        return {
            "predict_at": self._stacked(at, 0),
            "next_ids": self._stacked(following, _NO_TOKEN),
            "ends": self._stacked(ends, 0),
        }

    def _stacked(self, rows: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
        import torch

        width = max(map(len, rows))
        padded = [[*row, *[padding] * (width - len(row))] for row in rows]
        return torch.tensor(padded, dtype=torch.long, device=self.device)


def models_of(verifier: Verifier) -> Iterator[Any]:
    """The verifier's model, and the reference that it is read against, if any."""
    yield verifier.model
    if verifier.reference is not None:
        yield verifier.reference


def _place_of(segment: Segment) -> tuple[int, int, int, int]:
    """Segments in this order are gathered in few copies."""
    row = segment.base.row if segment.base else None
    if row is None or row.batch is None:
        return -1, 0, segment.start, 0
    return row.batch.number, row.offset, segment.start, row.row
