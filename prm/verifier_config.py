"""`VerifierConfig`: transformers' training arguments, and what a verifier needs besides."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from prm.aggregation import Aggregation
from prm.errors import ConfigError
from prm.step_format import PromptFormat, StepFormat
from prm.training_rows import BadRows, Kind, LabelView


@dataclass
class VerifierConfig(TrainingArguments):
    """transformers' training arguments, and what a verifier needs besides. Defaults that differ from transformers'
    are those under which the losses are exact, little is padded and a killed run loses at most a fifth."""

    kind: Kind = field(default="prm", metadata={"help": "prm scores every step, orm the finished solution"})
    label_view: LabelView = field(
        default="hard",
        metadata={"help": "hard: 1 if any completion of the prefix was right; soft: the share of right ones"},
    )
    prompt_template: str = field(
        default="{problem}\n",
        metadata={"help": "Text before the first step, or the user's turn, with {problem} in it"},
    )
    chat: bool = field(default=False, metadata={"help": "Render the prompt with the tokenizer's chat template"})
    system_prompt: str = field(default="", metadata={"help": "System turn, with chat only"})
    step_separator: str = field(
        default="\n", metadata={"help": "Text after every step; its last token carries the step's score"}
    )
    aggregation: Aggregation = field(default="last", metadata={"help": "Default fold of step scores into one"})
    threshold: float = field(default=0.5, metadata={"help": "A step counts as correct from this score up"})
    max_length: int = field(
        default=2048, metadata={"help": "Longest encoding in tokens; whole steps beyond it are dropped and counted"}
    )
    bad_rows: BadRows = field(
        default="refuse",
        metadata={"help": "Rows that cannot be read or encoded: refuse to train, or drop them into rejected.jsonl"},
    )
    head_init_tokens: list[str] | None = field(
        default=None,
        metadata={"help": "Two tokens, bad and good, whose language-model head rows the new head starts from"},
    )
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate"})
    seed: int = field(default=0, metadata={"help": "Seed of the new head, the order of rows and the dropouts"})
    train_sampling_strategy: str = field(
        default="group_by_length",
        metadata={"help": "Order of rows", "choices": ["random", "sequential", "group_by_length"]},
    )
    logging_steps: float = field(default=0.05, metadata={"help": "Log every so many steps; below 1, a share of all"})
    save_steps: float = field(default=0.2, metadata={"help": "Save every so many steps; below 1, a share of all"})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep"})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Hide losses that are not numbers; off, so that they are seen"}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Not used: rows are encoded before training, and keep what the loss needs"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_cpu:
            self.dataloader_pin_memory = False
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be from 0 to 1, as scores are, not {self.threshold}")
        if self.label_smoothing_factor:
            raise ConfigError("label_smoothing_factor is not part of this loss; use label_view: soft")
        if self.train_sampling_strategy not in {"random", "sequential", "group_by_length"}:
            raise ConfigError(
                f"train_sampling_strategy must be random, sequential or group_by_length, "
                f"not {self.train_sampling_strategy!r}"
            )

    @property
    def step_format(self) -> StepFormat:
        """How problems and steps are encoded."""
        prompt = PromptFormat(template=self.prompt_template, chat=self.chat, system=self.system_prompt)
        return StepFormat(prompt=prompt, step_separator=self.step_separator)
