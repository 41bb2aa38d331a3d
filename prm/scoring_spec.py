"""`scoring_spec.json`: how a verifier's outputs are read. It travels with the weights (DESIGN.md, decision 2)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from prm.aggregation import Aggregation
from prm.errors import DataError, ModelError
from prm.jsonl import write_json
from prm.step_format import StepFormat

SPEC_FILE = "scoring_spec.json"
SPEC_VERSION = 1

Kind = Literal["prm", "orm"]
Head = Literal["token_classification", "sequence_classification", "reward_tokens", "implicit"]


@dataclass(frozen=True)
class ScoringSpec:
    """How to score with a checkpoint.

    Attributes:
        kind: `prm` scores every step, `orm` the finished solution.
        head: `token_classification`: softmax over the labels (wrong, correct) at each score position;
            `sequence_classification`: sigmoid of the one logit at the last score position;
            `reward_tokens`: a causal language model, softmax over the next-token logits of `reward_tokens`;
            `implicit`: a causal language model, sigmoid of `beta` times its log-ratio to `reference_model` up to the
            end of each step.
        step_format: how problem and steps are encoded, and where the scores are.
        reward_tokens: the token that means wrong and the one that means correct; `reward_tokens` heads only.
        beta, reference_model: of `implicit` heads only.
        temperature: the margin is divided by it before the sigmoid; 1 where the head's own weights are calibrated.
        aggregation: default fold of step scores.
        threshold: a step counts as correct from this score up.
        max_length: longest encoding the verifier was trained for, in tokens.
        label_source: what made the training labels.
        label_view: `hard` or `soft`.
        base_model: what the verifier was trained from.
        adapter_base: `prm.fingerprint.base_probe` of the base that an adapter was trained on; empty for full weights.
        quantized_base: `4-bit` or `8-bit` where threshold and temperature were found on the scores of that base
            quantised (QLoRA), which differ from those on the base as it is loaded; empty everywhere else.
    """

    kind: Kind
    head: Head
    step_format: StepFormat = field(default_factory=StepFormat)
    reward_tokens: tuple[str, str] | None = None
    beta: float | None = None
    reference_model: str | None = None
    temperature: float = 1.0
    aggregation: Aggregation = "last"
    threshold: float = 0.5
    max_length: int = 2048
    label_source: str = ""
    label_view: str = ""
    base_model: str = ""
    adapter_base: str = ""
    quantized_base: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.head not in get_args(Head):
            raise ModelError(f"a scoring spec with kind {self.kind!r} and head {self.head!r} is not known")
        if (self.head == "reward_tokens") != (self.reward_tokens is not None):
            raise ModelError("reward_tokens must be given with the reward_tokens head, and only with it")
        if (self.head == "implicit") != (self.beta is not None and self.reference_model is not None):
            raise ModelError("beta and reference_model must be given with the implicit head, and only with it")
        if not 0 < self.temperature < float("inf"):
            raise ModelError(f"the temperature of a scoring spec is a positive number, not {self.temperature}")
        if (self.kind == "orm") != (self.head == "sequence_classification"):
            raise ModelError(f"a {self.kind} cannot be read with a {self.head} head")

    def to_dict(self) -> dict[str, Any]:
        return {"version": SPEC_VERSION, **asdict(self)}

    def save(self, directory: str | Path) -> None:
        """Write `scoring_spec.json` into a checkpoint's directory."""
        write_json(Path(directory) / SPEC_FILE, self.to_dict())

    @classmethod
    def from_dict(cls, row: dict[str, Any], *, path: str | Path | None = None) -> ScoringSpec:
        """Inverse of `to_dict`.

        Raises:
            DataError: another version, or not a scoring spec.
        """
        row = dict(row)
        version = row.pop("version", None)
        if version != SPEC_VERSION:
            raise DataError(
                f"scoring spec version {version!r}, and this program reads version {SPEC_VERSION}",
                path=path,
                remedy="Update prm-toolkit, or train the verifier again",
            )
        try:
            row["step_format"] = StepFormat.from_dict(row["step_format"])
            if row.get("reward_tokens") is not None:
                row["reward_tokens"] = tuple(row["reward_tokens"])
            return cls(**row)
        except (KeyError, TypeError) as error:
            raise DataError(f"not a scoring spec ({error})", path=path, remedy="Restore the file") from None

    @classmethod
    def load(cls, path: str | Path) -> ScoringSpec:
        """Read a `scoring_spec.json`, or the one in a directory."""
        path = Path(path)
        path = path / SPEC_FILE if path.is_dir() else path
        if not path.is_file():
            raise DataError(
                "no scoring spec",
                path=path,
                remedy="A verifier's directory needs one; `prm train` writes it beside the weights",
            )
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")), path=path)
        except json.JSONDecodeError as error:
            raise DataError(f"not valid JSON ({error})", path=path, remedy="Restore the file") from None
