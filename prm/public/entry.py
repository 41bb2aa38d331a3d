"""What is to be known of a published verifier so that its scores are those of its authors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prm.aggregation import Aggregation
from prm.scoring_spec import Head, Kind, ScoringSpec
from prm.step_format import StepFormat

HeadLayers = Literal["linear", "two_layers"]


@dataclass(frozen=True)
class PublicFormat:
    """One way of reading, and the checkpoints that are read so.

    Attributes:
        name: as in `--prm_format` and in `prm formats`.
        checkpoints: names on the Hub, for which nothing needs to be detected.
        kind, head, step_format, reward_tokens, threshold, aggregation, max_length: as in a scoring spec.
        source: where the authors say how they read it.
        note: what differs knowingly, or what the other fields do not say; `prm.public.rule` says the rest.
        token_ids: ids of texts in the real tokenizer, where the source gives them. They are shown, not used.
        architectures: what `architectures` of its config.json holds, for copies and relatives under other names.
        needs_tokens: tokens that the vocabulary of such a copy must have.
        num_labels: of a classification head; scores are the softmax of the second of two, or the sigmoid of one.
        layers: the head is one linear layer, or linear, ReLU, linear.
        key_mapping: names of weights in the checkpoint (regular expressions) and what they are called here.
        read_with_real_tokenizer: whether ids and scores were compared with those of the real tokenizer.
    """

    name: str
    checkpoints: tuple[str, ...]
    kind: Kind
    head: Head
    step_format: StepFormat
    source: str
    architectures: tuple[str, ...]
    needs_tokens: tuple[str, ...] = ()
    note: str = ""
    token_ids: Mapping[str, int] = field(default_factory=dict)
    reward_tokens: tuple[str, str] | None = None
    num_labels: int = 2
    layers: HeadLayers = "linear"
    key_mapping: Mapping[str, str] = field(default_factory=dict)
    threshold: float = 0.5
    aggregation: Aggregation = "min"
    max_length: int = 4096
    read_with_real_tokenizer: bool = False

    @property
    def verified(self) -> str:
        """What is said of it wherever it is listed."""
        if self.read_with_real_tokenizer:
            return "verified against the real tokenizer"
        return "unverified against the real tokenizer"

    def spec(self, checkpoint: str) -> ScoringSpec:
        """The scoring spec of a checkpoint that is read so."""
        return ScoringSpec(
            kind=self.kind,
            head=self.head,
            step_format=self.step_format,
            reward_tokens=self.reward_tokens,
            aggregation=self.aggregation,
            threshold=self.threshold,
            max_length=self.max_length,
            label_source=f"published as {checkpoint}",
            base_model=checkpoint,
        )
