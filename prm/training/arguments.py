"""What `prm train` is told beside the training arguments: the data sets and what becomes of their labels, and TRL's
model arguments with defaults that keep the loss exact and the head out of a LoRA."""

from __future__ import annotations

from dataclasses import dataclass, field

from trl import ModelConfig

from prm.errors import ConfigError
from prm.rows.label_policies import AfterFirstError, Neutral
from prm.rows.mixture_config import TrainDataset
from prm.rows.step_rows import LabelScale
from prm.splitting import DEFAULT_SPLITTER
from prm.training.config import VerifierConfig


@dataclass
class TrainScriptArguments:
    """What to train on, and what to leave behind."""

    dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "labels.jsonl, rollouts.jsonl (outcome models), or TRL's stepwise or preference rows: a file or a "
            "dataset of the Hub"
        },
    )
    datasets: list[TrainDataset] = field(
        default_factory=list,
        metadata={
            "help": "Several data sets instead of dataset_name; in a recipe a list of mappings: path, name, split, "
            "weight (times each row is seen in an epoch), and label_source, label_view, label_scale, neutral_labels "
            "and after_first_error where they differ from the run's"
        },
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset"})
    dataset_train_split: str = field(default="train", metadata={"help": "Split of a Hub dataset to train on"})
    eval_dataset_name: str | None = field(
        default=None, metadata={"help": "Rows to evaluate on, in any of the same formats; or give eval_fraction"}
    )
    dataset_test_split: str = field(default="test", metadata={"help": "Split of a Hub eval_dataset_name"})
    eval_fraction: float = field(
        default=0.0, metadata={"help": "Share of the problems to hold out for evaluation, with all of their rows"}
    )
    shuffle_labels: bool = field(
        default=False, metadata={"help": "Control: permute the training labels over all steps, with the run's seed"}
    )
    label_source: str = field(
        default="", metadata={"help": "What to call the source of the labels, whatever the rows say of it"}
    )
    label_scale: LabelScale = field(
        default="unit",
        metadata={"help": "Labels of TRL's rows: unit, from 0 (wrong) to 1 (right), or ratings of -1, 0 (neutral), 1"},
    )
    neutral_labels: Neutral = field(
        default="keep",
        metadata={
            "help": "PRM800K's neutral ratings: keep (the target 0.5, right as a hard label), right, wrong, or drop"
        },
    )
    after_first_error: AfterFirstError = field(
        default="keep",
        metadata={
            "help": "Labels of the steps behind a rollout's first wrong one: keep them, drop them (PRM800K's way), or "
            "call them wrong"
        },
    )
    splitter: str = field(
        default=DEFAULT_SPLITTER,
        metadata={"help": "Preference rows: how a solution that is one text becomes steps (see prm.splitting)"},
    )
    dry_run: bool = field(
        default=False,
        metadata={"help": "Encode, print the plan, the memory it takes and the first batch with its labels, and stop"},
    )
    merge_adapter: bool = field(
        default=False, metadata={"help": "LoRA: also write the merged plain checkpoint to output_dir/merged"}
    )

    def __post_init__(self) -> None:
        self.datasets = [
            TrainDataset.from_mapping(entry, f"datasets, entry {number}")
            for number, entry in enumerate(self.datasets, start=1)
        ]
        if bool(self.dataset_name) == bool(self.datasets):
            raise ConfigError(
                "give dataset_name or datasets, not both"
                if self.datasets
                else "missing dataset_name: name the rows to train on, or list several data sets as datasets"
            )

    @property
    def sources(self) -> list[TrainDataset]:
        """The data sets to train on."""
        if self.datasets:
            return self.datasets
        return [TrainDataset(str(self.dataset_name), self.dataset_config, self.dataset_train_split)]

    @property
    def evaluation(self) -> TrainDataset | None:
        """The data set to evaluate on, if it is one of its own."""
        name = self.eval_dataset_name
        return TrainDataset(name, self.dataset_config, self.dataset_test_split) if name else None


@dataclass
class VerifierModelConfig(ModelConfig):
    """TRL's model arguments; the task type and the head of a LoRA follow the objective."""

    lora_dropout: float = field(
        default=0.0, metadata={"help": "LoRA dropout; at 0 the loss does not depend on how a batch is split"}
    )
    lora_target_modules: list[str] | None = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "LoRA target modules; the head is never among them"}
    )
    lora_task_type: str = field(default="CAUSAL_LM", metadata={"help": "Not used: it follows the objective"})


CONFIGS = [TrainScriptArguments, VerifierConfig, VerifierModelConfig]
