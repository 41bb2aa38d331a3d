"""How much faster a verifier is trained than by the plain padded `Trainer` that TRL's PRM trainer was.

Both sides train the same Qwen2 of ten million parameters on the same rows, with the same batch size, optimiser, dtype
and threads; they take turns of a few steps in one process, so that what else the machine does hits both. The baseline
is `transformers.Trainer` on `AutoModelForTokenClassification`: rows in random order, padded to the longest of the
batch, with an attention mask, and labels of -100 at all tokens but the separators. Ours is `VerifierTrainer` with its
defaults, and with each option that changes what a batch looks like. Rows are as long as OpenAI's recorded solutions of
GSM8K, four of each problem; their words are random, for no time depends on them. Tokens are those of the rows, each
prompt counted with each of its solutions whether it is computed once or again. Last, both sides read one set of rows
in evaluation mode with the same weights, and have to find the same loss.

    python -m tests.benchmarks.train_throughput            # a quarter of an hour on one core
    python -m tests.benchmarks.train_throughput --small    # a minute, to see that it runs
    python -m tests.benchmarks.train_throughput --solutions gsm8k_model_solutions.jsonl --batch_size 16

Lengths are those of all solutions in that file
(grade-school-math/grade_school_math/data/example_model_solutions.jsonl of openai/grade-school-math, MIT), by a
byte-level BPE of 8,192 tokens that is trained on them and takes digits one by one, as current models do (a published
vocabulary of 131,000 tokens gives 2% less). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForTokenClassification,
    PrinterCallback,
    Qwen2Config,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from prm.heads import TokenClassificationHead
from prm.rows.training_rows import StepRow
from prm.run_record import machine
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer

SPEEDUP_TARGET, PADDING_TARGET, LOSS_TARGET = 2.5, 0.05, 1e-5
LENGTHS = Path(__file__).with_name("gsm8k_lengths.json")
SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
VOCABULARY = 8192
TOGETHER = 4  # solutions of each problem
OURS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "padding_free": {"padding_free": True},
    "padding_free, random order": {"padding_free": True, "train_sampling_strategy": "random"},
    f"share_prompts {TOGETHER}": {"share_prompts": TOGETHER},
}
Lengths = list[tuple[int, list[list[int]]]]  # of each problem: its prompt's tokens, and those of each solution's steps


# The rows


def recorded_lengths(path: Path) -> Lengths:
    """Tokens of all recorded solutions, separators included, by a BPE that is trained on them."""
    problems = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    steps = [[_steps(problem[system]["solution"]) for system in SYSTEMS] for problem in problems]
    texts = [step for solutions in steps for solution in solutions for step in solution]
    bpe = _trained_bpe([*(problem["question"] for problem in problems), *texts])

    def tokens(text: str) -> int:
        return len(bpe.encode(text).ids) + 1

    return [
        (tokens(problem["question"]), [[tokens(step) for step in solution] for solution in solutions])
        for problem, solutions in zip(problems, steps, strict=True)
    ]


def _steps(solution: str) -> list[str]:
    return [line for line in solution.split("\n") if line.strip()]


def _trained_bpe(texts: Iterable[str]) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    # Qwen2's own pattern: words with the space before them, digits one by one.
    words = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    return bpe


def rows_of(lengths: Lengths, problems: int, seed: int = 0) -> list[StepRow]:
    """Rows of these lengths in random words, the list repeated with other words until there are enough."""
    draw = random.Random(seed)

    def text(tokens: int) -> str:
        return " ".join(f"w{draw.randrange(VOCABULARY - 2)}" for _ in range(max(1, tokens - 1)))

    rows = []
    for number in range(problems):
        prompt_length, solutions = lengths[number % len(lengths)]
        prompt = text(prompt_length)
        for steps in solutions:
            labels = tuple(float(draw.random() < 0.6) for _ in steps)
            rows.append(StepRow(prompt, tuple(text(step) for step in steps), labels, group=str(number), source="x"))
    return rows


def word_tokenizer() -> Any:
    """One token for each word, and one for the end of a line."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "\n": 1} | {f"w{index}": index + 2 for index in range(VOCABULARY - 2)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(Regex(" +"), "removed")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


# The two sides


def fresh_model(small: bool) -> Any:
    """A token classifier of 10 million parameters, or of half a million."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32 if small else 256,
        intermediate_size=128 if small else 1024,
        num_hidden_layers=2 if small else 8,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        num_labels=2,
        pad_token_id=0,
        initializer_range=0.1,  # so that losses differ from label to label
        id2label=TokenClassificationHead.labels,
    )
    return AutoModelForTokenClassification.from_config(config, dtype=torch.float32)


@dataclass
class Side(TrainerCallback):
    """A trainer, and what it has done: seconds, tokens of the rows, tokens run over, padding among them; by turn."""

    name: str
    trainer: Any
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    padding: list[int] = field(default_factory=list)
    started: float = 0.0

    def __post_init__(self) -> None:
        compute_loss, trainer = self.trainer.compute_loss, self.trainer

        def counted(model: Any, inputs: Any, **others: Any) -> Any:
            computed = inputs["input_ids"].numel()
            if "index" in inputs:  # ours
                self.tokens[-1] += int(trainer.train_dataset.lengths[inputs["index"].flatten().numpy()].sum())
                self.padding[-1] += computed - int(inputs["length"].sum())
            else:
                self.tokens[-1] += int(inputs["attention_mask"].sum())
                self.padding[-1] += computed - int(inputs["attention_mask"].sum())
            self.computed[-1] += computed
            return compute_loss(model, inputs, **others)

        trainer.compute_loss = counted
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(self)

    def turn(self, number: int, steps: int) -> None:
        """Train so many steps, on other batches than in the turns before."""
        for kept in (self.tokens, self.computed, self.padding):
            kept.append(0)
        self.trainer.args.max_steps = steps
        self.trainer.args.seed = number
        if isinstance(self.trainer.train_dataset, list):  # a plain Trainer draws the same batches from the same list
            random.Random(number).shuffle(self.trainer.train_dataset)
        self.trainer.train()

    def on_epoch_begin(self, *given: Any, **others: Any) -> None:
        self.started = time.process_time()

    def on_epoch_end(self, *given: Any, **others: Any) -> None:
        self.seconds.append(time.process_time() - self.started)

    def figures(self, baseline: Side) -> dict[str, float]:
        """Over all turns but the first, which warms up; the speedup's range is that of single turns."""
        rate = sum(self.tokens[1:]) / sum(self.seconds[1:])
        other = sum(baseline.tokens[1:]) / sum(baseline.seconds[1:])
        own, theirs = ([t / s for t, s in zip(x.tokens, x.seconds, strict=True)][1:] for x in (self, baseline))
        ratios = sorted(a / b for a, b in zip(own, theirs, strict=True))
        return {
            "tokens_per_second": rate,
            "speedup": rate / other,
            "speedup_median_turn": statistics.median(ratios),
            "speedup_lowest_turn": ratios[0],
            "speedup_highest_turn": ratios[-1],
            "padding_share": sum(self.padding[1:]) / sum(self.computed[1:]),
            "computed_share": (sum(self.computed[1:]) - sum(self.padding[1:])) / sum(self.tokens[1:]),
            "seconds": sum(self.seconds[1:]),
        }


def common(batch_size: int, folder: str) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "output_dir": folder,
        "use_cpu": True,
        "per_device_train_batch_size": batch_size,
        "learning_rate": 1e-5,
        "max_steps": 1,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def our_side(name: str, rows: Sequence[StepRow], batch_size: int, folder: str, small: bool, **keys: Any) -> Side:
    arguments = VerifierConfig(**common(batch_size, folder), **keys)
    trainer = VerifierTrainer(
        fresh_model(small), arguments, train_dataset=rows, processing_class=word_tokenizer(), base_model="random"
    )
    return Side(name, trainer)


def plain_side(ours: Side, batch_size: int, folder: str, small: bool) -> Side:
    """`transformers.Trainer` on the rows as ours encoded them."""
    rows = [plain_row(row) for row in ours.trainer.train_dataset.rows]
    arguments = TrainingArguments(**common(batch_size, folder), remove_unused_columns=False)
    trainer = Trainer(fresh_model(small), arguments, data_collator=padded_batch, train_dataset=rows)  # type: ignore[arg-type]
    assert trainer.args.optim == ours.trainer.args.optim
    return Side("plain Trainer", trainer)


def plain_row(row: Any) -> dict[str, list[int]]:
    """As TRL's PRM trainer made them: a label at each separator, -100 elsewhere."""
    labels = np.full(len(row.input_ids), -100)
    labels[row.positions] = row.targets
    return {"input_ids": row.input_ids.tolist(), "labels": labels.tolist()}


def padded_batch(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """As `DataCollatorForTokenClassification`: padded on the right to the longest, with a mask."""
    width = max(len(row["input_ids"]) for row in rows)

    def filled(values: Iterable[list[int]], padding: int) -> torch.Tensor:
        return torch.tensor([value + [padding] * (width - len(value)) for value in values])

    return {
        "input_ids": filled((row["input_ids"] for row in rows), 0),
        "attention_mask": filled(([1] * len(row["input_ids"]) for row in rows), 0),
        "labels": filled((row["labels"] for row in rows), -100),
    }


def losses_on_the_same_rows(sides: Sequence[Side], rows: int) -> dict[str, float]:
    """Mean loss of each side over the labels of the first rows, in evaluation mode, all with the weights of ours."""
    dataset = sides[0].trainer.train_dataset
    batch = [dataset[index] for index in range(rows)]
    weights, found = sides[0].trainer.model.state_dict(), {}
    for side in sides:
        model = side.trainer.model.eval()
        model.load_state_dict(weights)
        with torch.no_grad():
            if isinstance(side.trainer, VerifierTrainer):
                loss = VerifierTrainer.compute_loss(side.trainer, model, side.trainer.data_collator(batch))
            else:
                loss = model(**padded_batch([plain_row(row) for row in batch])).loss
        found[side.name] = float(loss)
    return found


def measure(
    lengths: Lengths, *, batch_size: int, turns: int, steps: int, problems: int, small: bool
) -> dict[str, Any]:
    rows = rows_of(lengths, problems)
    with tempfile.TemporaryDirectory() as folder:
        ours = [our_side(name, rows, batch_size, folder, small, **keys) for name, keys in OURS.items()]
        baseline = plain_side(ours[0], batch_size, folder, small)
        sides = [baseline, *ours]
        for turn in range(turns + 1):
            for side in sides:
                side.turn(turn, steps if turn else 1)
            print(f"turn {turn} of {turns}", file=sys.stderr, flush=True)
        losses = losses_on_the_same_rows([*ours, baseline], min(64, len(rows)))
    spread = max(losses.values()) - min(losses.values())
    dataset = ours[0].trainer.train_dataset
    best = {name: side.figures(baseline) for name, side in zip(("baseline", *OURS), sides, strict=True)}
    return {
        "parameters": baseline.trainer.model.num_parameters(),
        "rows": len(rows),
        "mean_tokens": float(dataset.lengths.mean()),
        "longest": int(dataset.lengths.max()),
        "batch_size": batch_size,
        "sides": best,
        "targets": {
            "speedup": SPEEDUP_TARGET,
            "padding_share": PADDING_TARGET,
            "loss_difference": LOSS_TARGET,
        },
        "losses": losses,
        "loss_difference": spread,
        "met": {
            name: found["speedup"] >= SPEEDUP_TARGET
            and found["padding_share"] < PADDING_TARGET
            and spread <= LOSS_TARGET
            for name, found in best.items()
            if name != "baseline"
        },
    }


def table(found: dict[str, Any]) -> str:
    """One side a line."""
    lines = [f"{'':<26}  {'tokens/s':>9}  {'speedup':>7}  {'of single turns':>15}  {'padding':>7}  {'computed':>8}"]
    for name, side in found["sides"].items():
        turns = f"{side['speedup_lowest_turn']:.2f} to {side['speedup_highest_turn']:.2f}"
        lines.append(
            f"{name:<26}  {side['tokens_per_second']:>9,.0f}  {side['speedup']:>7.2f}  {turns:>15}  "
            f"{side['padding_share']:>7.1%}  {side['computed_share']:>8.1%}"
        )
    lines.append(
        f"{found['parameters']:,} parameters, {found['rows']:,} rows of {found['mean_tokens']:.0f} tokens on average, "
        f"the longest {found['longest']:,}, in batches of {found['batch_size']}; losses on the same rows differ by at "
        f"most {found['loss_difference']:.1e}"
    )
    return "\n".join(lines)


def read_lengths(solutions: Path | None) -> tuple[Lengths, str]:
    """Lengths, and where they are from."""
    if solutions is None:
        folder = Path(os.environ.get("PRM_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))
        solutions = folder / "gsm8k_model_solutions.jsonl"
        if not solutions.is_file():
            return json.loads(LENGTHS.read_text(encoding="utf-8")), LENGTHS.name
    if not solutions.is_file():
        sys.exit(f"{solutions}: no such file; give example_model_solutions.jsonl of openai/grade-school-math")
    return recorded_lengths(solutions), solutions.name


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solutions", type=Path, help="the recorded solutions of GSM8K")
    parser.add_argument("--batch_size", type=int, default=32, help="rows of a batch, of both sides")
    parser.add_argument("--turns", type=int, default=8, help="turns that count of each side")
    parser.add_argument("--steps", type=int, default=2, help="training steps of a turn")
    parser.add_argument("--problems", type=int, default=1319, help="problems, each with four solutions")
    parser.add_argument("--small", action="store_true", help="half a million parameters, and a minute")
    options = vars(parser.parse_args(argv))
    lengths, source = read_lengths(options.pop("solutions"))
    found = measure(lengths, **options)
    print(table(found))
    facts = {"torch": torch.__version__, "threads": torch.get_num_threads(), **machine()}
    print(json.dumps({"benchmark": "train_throughput", "lengths": source, **found, "machine": facts}))


if __name__ == "__main__":
    main()
