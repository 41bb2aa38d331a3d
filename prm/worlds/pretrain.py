"""Train the arithmetic world's two models, the generator and the base for verifiers, with TRL's `SFTTrainer`.

    prm pretrain --config recipes/arithmetic/pretrain_base_1.yaml

The generator learns to solve chains, for a short time only. The base learns to solve and to check: first single
operations, then whole chains, with injected mistakes. In a checking row the token predicted at every
step separator is a mark, `+` where that step by itself is right and `-` where it is wrong; the marks are labels
only and never part of the input, so that a verifier reads exactly what it was pretrained on.

The curriculum, the tokenizer and the rows live here; problems and mistakes come from `prm.worlds.arithmetic`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.errors import ConfigError
from prm.scoring_spec import ScoringSpec
from prm.step_format import PromptFormat, StepFormat
from prm.worlds.arithmetic import Chain, CheckedStep, careless_lines, careless_solution, sample_chain, split_of

SEPARATOR = "\n"
SOLVE_TEMPLATE = "{problem}\n"
CHECK_TEMPLATE = "check {problem}\n"
GOOD_MARK, BAD_MARK = "+", "-"
IGNORED = -100
TASKS = ("solve", "lines", "chains")
LINES_PER_ROW = 6


@dataclass
class PretrainConfig:
    """What to train and for how long; `phase_task` and `phase_tokens` have one entry per phase."""

    output_dir: str = field(metadata={"help": "Directory of the checkpoint"})
    hidden_size: int = field(default=64, metadata={"help": "Width of the model"})
    num_hidden_layers: int = field(default=4, metadata={"help": "Layers of the model"})
    num_attention_heads: int = field(default=4, metadata={"help": "Attention heads"})
    phase_task: list[str] = field(
        default_factory=lambda: ["solve"],
        metadata={"help": "What each phase teaches: solve chains, check lines, or check chains"},
    )
    phase_tokens: list[int] = field(default_factory=lambda: [1_000_000], metadata={"help": "Tokens of each phase"})
    max_operations: int = field(default=6, metadata={"help": "Longest chain; lengths are drawn from 1 up"})
    solve_fraction: float = field(default=0.15, metadata={"help": "Share of solving rows in the phases that check"})
    error_rate: float = field(default=0.4, metadata={"help": "Share of wrong steps in the rows that check"})
    miscopied: float = field(default=0.25, metadata={"help": "Share of the wrong steps that copy wrongly"})
    batch_rows: int = field(default=48, metadata={"help": "Rows of one optimiser step"})
    learning_rate: float = field(default=3e-3, metadata={"help": "Peak learning rate"})
    warmup_steps: int = field(default=50, metadata={"help": "Linear warm-up, in optimiser steps"})
    seed: int = field(default=0, metadata={"help": "Seed of the rows and of the weights"})
    init_from: str | None = field(default=None, metadata={"help": "Start from this checkpoint instead of at random"})


def build_tokenizer() -> Any:
    """A byte-level tokenizer without merges: any text is encoded, losslessly, and every digit is a token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<pad>", "<eos>"]
    vocab = {token: index for index, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )


def build_model(config: PretrainConfig, tokenizer: Any) -> Any:
    """A small `Qwen2ForCausalLM` with tied embeddings, seeded."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

    if config.init_from:
        return AutoModelForCausalLM.from_pretrained(config.init_from, dtype=torch.float32)
    torch.manual_seed(config.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=4 * config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_attention_heads,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def zero_shot_spec(longest: int) -> ScoringSpec:
    """How the base's own marks are read: as a PRM, before any training on step labels."""
    return ScoringSpec(
        kind="prm",
        head="reward_tokens",
        step_format=StepFormat(PromptFormat(CHECK_TEMPLATE), SEPARATOR),
        reward_tokens=(BAD_MARK, GOOD_MARK),
        aggregation="min",  # a mark speaks of its own step alone
        max_length=4096,
        label_source=f"injected mistakes in chains of up to {longest} operations",
        label_view="hard",
    )


def solve_row(chain: Chain, tokenizer: Any) -> dict[str, list[int]]:
    """Prompt, solution, end of text; the loss on everything after the prompt."""
    prompt = tokenizer.encode(SOLVE_TEMPLATE.format(problem=chain.text))
    solution = [*tokenizer.encode(SEPARATOR.join(chain.solution())), tokenizer.eos_token_id]
    return {"input_ids": prompt + solution, "labels": [IGNORED] * len(prompt) + solution}


def check_row(problem: str, steps: Sequence[CheckedStep], tokenizer: Any) -> dict[str, list[int]]:
    """Prompt and steps, some of them wrong. The labels are a mark after each separator and the digits that each
    operation should have resulted in, whatever was written: checking is learned together with computing."""
    separator = tokenizer.encode(SEPARATOR)
    good, bad = tokenizer.convert_tokens_to_ids([GOOD_MARK, BAD_MARK])
    ids = tokenizer.encode(CHECK_TEMPLATE.format(problem=problem))
    labels = [IGNORED] * len(ids)
    mark: int | None = None
    for step in steps:
        step_labels = _step_labels(step, tokenizer)
        if mark is not None:
            step_labels[0] = mark  # predicted from the separator before this token
        ids += tokenizer.encode(step.written) + separator
        labels += step_labels + [IGNORED] * len(separator)
        mark = good if step.right else bad
    assert mark is not None
    return {"input_ids": [*ids, tokenizer.eos_token_id], "labels": [*labels, mark]}


def _step_labels(step: CheckedStep, tokenizer: Any) -> list[int]:
    """One label per token (here: character) of the written step. Up to the `=`, each is a mark that says whether the
    tokens before it stand as they should; behind it are the digits of the expected result."""
    before, found, result = step.written.rpartition("=")
    if not found:
        return [IGNORED] * len(step.written)
    good, bad = tokenizer.convert_tokens_to_ids([GOOD_MARK, BAD_MARK])
    marks = [good if step.expected.startswith(before[: end + 1]) else bad for end in range(len(before))]
    digits = tokenizer.encode(step.expected.rpartition("=")[2])[: len(result)]
    return [IGNORED, *marks, *digits, *[IGNORED] * (len(result) - len(digits))]


def make_rows(config: PretrainConfig, tokenizer: Any) -> Iterator[dict[str, list[int]]]:
    """Yield the rows phase after phase, in batches of similar length; only chains of the training split occur, except
    for single operations, of which there are too few to split.

    Raises:
        ConfigError: an unknown task, or another number of tasks than of token counts.
    """
    if len(config.phase_task) != len(config.phase_tokens) or not set(config.phase_task) <= set(TASKS):
        raise ConfigError(
            f"phase_task must name one of {', '.join(TASKS)} for each of the {len(config.phase_tokens)} phase_tokens"
        )
    rng = random.Random(config.seed)
    for task, tokens in zip(config.phase_task, config.phase_tokens, strict=True):
        spent = 0
        while spent < tokens:
            pool = [_row(task, config, rng, tokenizer) for _ in range(64 * config.batch_rows)]
            pool.sort(key=lambda row: len(row["input_ids"]))
            batches = [pool[at : at + config.batch_rows] for at in range(0, len(pool), config.batch_rows)]
            rng.shuffle(batches)
            for batch in batches:
                if spent < tokens:
                    spent += sum(len(row["input_ids"]) for row in batch)
                    yield from batch


def _row(task: str, config: PretrainConfig, rng: random.Random, tokenizer: Any) -> dict[str, list[int]]:
    solving = task == "solve" or rng.random() < config.solve_fraction
    if task == "lines" and not solving:
        return check_row("", careless_lines(LINES_PER_ROW, config.error_rate, rng), tokenizer)
    while True:
        operations = rng.randint(1, config.max_operations)
        if solving:
            chain = sample_chain(operations, rng)
            problem = chain.text
        else:
            problem, steps = careless_solution(operations, config.error_rate, rng, miscopied=config.miscopied)
        if operations == 1 or split_of(problem) == "train":
            break
    return solve_row(chain, tokenizer) if solving else check_row(problem, steps, tokenizer)


def collate(rows: list[dict[str, Any]], pad_token_id: int) -> dict[str, Any]:
    """Pad one batch on the right. No attention mask: under causal attention a real token never sees the
    padding behind it, and without the mask the CPU kernel is two to three times faster."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)
    pad = lambda ids, value: ids + [value] * (width - len(ids))  # noqa: E731
    return {
        "input_ids": torch.tensor([pad(row["input_ids"], pad_token_id) for row in rows]),
        "labels": torch.tensor([pad(row["labels"], IGNORED) for row in rows]),
        "position_ids": torch.arange(width).expand(len(rows), -1),  # SFTTrainer counts tokens by it
    }


def pretrain(config: PretrainConfig) -> Path:
    """Train and save model and tokenizer; returns the directory."""
    import torch
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = build_tokenizer()
    model = build_model(config, tokenizer)
    rows = Dataset.from_list(list(make_rows(config, tokenizer)))
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=config.output_dir,
            per_device_train_batch_size=config.batch_rows,
            num_train_epochs=1,
            learning_rate=config.learning_rate,
            warmup_steps=config.warmup_steps,
            lr_scheduler_type="cosine",
            weight_decay=0.01,
            max_grad_norm=1.0,
            logging_steps=100,
            disable_tqdm=True,
            save_strategy="no",
            report_to=[],
            seed=config.seed,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,
            activation_checkpointing=False,
            train_sampling_strategy="sequential",
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=lambda batch: collate(batch, tokenizer.pad_token_id),
    )
    trainer.train()
    trainer.save_model(config.output_dir)
    tokenizer.save_pretrained(config.output_dir)
    if set(config.phase_task) != {"solve"}:
        zero_shot_spec(config.max_operations).save(config.output_dir)
    return Path(config.output_dir)


def main(arguments: list[str]) -> None:
    """`prm pretrain`."""
    from prm.config import parse_config

    print(f"saved to {pretrain(parse_config(PretrainConfig, arguments, prog='prm pretrain'))}")


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
