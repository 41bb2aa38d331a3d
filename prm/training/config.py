"""`VerifierConfig`: transformers' training arguments, and what a verifier needs besides."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from prm.aggregation import AGGREGATIONS
from prm.errors import ConfigError
from prm.heads import HEADS
from prm.losses import LOSSES, check_loss
from prm.metrics.names import greater_is_better
from prm.rows.training_rows import BadRows, Kind, LabelView
from prm.step_format import PromptFormat, StepFormat
from prm.training.setting_checks import check_settings
from prm.training.settling import AUTO, HELD_OUT


@dataclass
class VerifierConfig(TrainingArguments):
    """What a verifier needs beside transformers' training arguments. Defaults that differ from transformers' are those
    under which the losses are exact, little is padded and a killed run loses at most a fifth."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Directory of the checkpoints, the finished verifier and its report"}
    )
    objective: str = field(
        default="prm",
        metadata={
            "help": "prm: a head with a score per step; reward_tokens: a language model's odds of two tokens "
            "after each step; orm: a head with a score per solution; implicit_prm: step scores from outcome labels",
            "choices": list(HEADS),
        },
    )
    loss: str = field(
        default="cross_entropy",
        metadata={
            "help": "What is minimised; prm.losses says which goes with which objective",
            "choices": list(LOSSES),
        },
    )
    class_weights: list[str] | None = field(
        default=None,
        metadata={"help": "Weights of wrong and of correct in the loss: two numbers, or 'balanced'", "nargs": "+"},
    )
    focal_gamma: float = field(default=2.0, metadata={"help": "Exponent of the focal loss"})
    pqm_margin: float = field(default=4.0, metadata={"help": "Margin zeta of the loss pqm"})
    head_logits: int = field(
        default=2, metadata={"help": "Logits of a prm's head: 2, or 1 (saved as two rows, the first of them 0)"}
    )
    reward_tokens: list[str] = field(
        default_factory=lambda: ["-", "+"],
        metadata={"help": "Objective reward_tokens: texts of two tokens, bad and good", "nargs": 2},
    )
    implicit_beta: float = field(
        default=0.05, metadata={"help": "Objective implicit_prm: scale of the log-ratio to the reference"}
    )
    reference_model_name_or_path: str | None = field(
        default=None, metadata={"help": "Objective implicit_prm: the reference; the base itself if not given"}
    )
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
    aggregation: str = field(
        default=AUTO,
        metadata={
            "help": "Default fold of step scores into one; auto follows the label source (last for Monte Carlo, min "
            "for judged and human labels), held_out asks the held-out rows",
            "choices": [*AGGREGATIONS, AUTO, HELD_OUT],
        },
    )
    threshold: float | None = field(
        default=None,
        metadata={"help": "A step counts as correct from this score up; fitted on the held-out rows if not given"},
    )
    calibrate: bool = field(
        default=True,
        metadata={"help": "Fit a temperature on the held-out rows after training and fold it into the head"},
    )
    eval_samples_path: str | None = field(
        default=None,
        metadata={
            "help": "rollouts.jsonl with samples of held-out problems: evaluation measures best-of-n on them, and "
            "leaves out problems that are trained on"
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Stop when metric_for_best_model has not improved for so many evaluations"},
    )
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
    max_pairs_per_problem: int = field(
        default=8, metadata={"help": "Loss bradley_terry on graded solutions: pairs of each problem; 0 takes all"}
    )
    head_learning_rate: float | None = field(
        default=None, metadata={"help": "Peak learning rate of the head alone; learning_rate if not given"}
    )
    padding_free: bool = field(
        default=False,
        metadata={
            "help": "Put the rows of a micro-batch one after the other instead of padding them: fast with flash "
            "attention, slower than grouping by length without it"
        },
    )
    share_prompts: int = field(
        default=1,
        metadata={
            "help": "Keep up to so many rows of a problem together and compute their prompt once, in batches without "
            "padding; needs attn_implementation sdpa. 1 does neither"
        },
    )
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
        check_settings(self)
        if self.metric_for_best_model and self.greater_is_better is None:
            # transformers takes every metric whose name does not end in "loss" for one that should rise.
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        super().__post_init__()
        if self.device.type != "cuda":
            self.dataloader_pin_memory = False
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be from 0 to 1, as scores are, not {self.threshold}")
        if self.early_stopping_patience is not None and not (
            self.early_stopping_patience > 0 and self.load_best_model_at_end and self.metric_for_best_model
        ):
            raise ConfigError(
                "early_stopping_patience is a number of evaluations, and needs load_best_model_at_end: true and a "
                "metric_for_best_model"
            )
        check_loss(
            self.objective,
            self.loss,
            label_view=self.label_view,
            class_weights=self.class_weights,
            head_logits=self.head_logits,
        )
        for name in ("implicit_beta", "pqm_margin", "focal_gamma"):
            if not 0 <= getattr(self, name) < float("inf") or (name == "implicit_beta" and not self.implicit_beta):
                raise ConfigError(f"{name} must be a positive number, not {getattr(self, name)}")
        if self.reference_model_name_or_path and self.objective != "implicit_prm":
            raise ConfigError("reference_model_name_or_path goes with objective implicit_prm; drop it")
        if self.head_learning_rate is not None and not HEADS[self.objective].labels:
            raise ConfigError(
                f"head_learning_rate is that of a head of its own, which objective {self.objective!r} has not; drop it"
            )
        if self.share_prompts < 1:
            raise ConfigError(f"share_prompts is a number of rows from 1 up, not {self.share_prompts}")
        if self.share_prompts > 1:
            self.padding_free = True
        if self.label_smoothing_factor:
            raise ConfigError("label_smoothing_factor is not part of this loss; use label_view: soft")
        if self.train_sampling_strategy not in {"random", "sequential", "group_by_length"}:
            raise ConfigError(
                f"train_sampling_strategy must be random, sequential or group_by_length, "
                f"not {self.train_sampling_strategy!r}"
            )

    @property
    def kind(self) -> Kind:
        """What the verifier scores: `prm` every step, `orm` the finished solution."""
        return HEADS[self.objective].kind

    @property
    def rows_kind(self) -> Kind:
        """What the training rows carry: `prm` a label per step, `orm` one outcome."""
        return HEADS[self.objective].rows_kind

    @property
    def step_format(self) -> StepFormat:
        """How problems and steps are encoded."""
        prompt = PromptFormat(template=self.prompt_template, chat=self.chat, system=self.system_prompt)
        return StepFormat(prompt=prompt, step_separator=self.step_separator)
