"""Every recipe for a real base trains a tiny random model of the same architecture, on a CPU and by its own launch
line: it learns eight rows by heart, saves, loads in plain transformers, and scores there what the verifier scores."""

from __future__ import annotations

import copy
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from prm.verifier import Verifier

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "recipes"

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (  # as Llama 3.1's own, it begins with the BOS token and writes the date
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}]"
    "{% if loop.first %}{{ strftime_now('%d %b %Y') }}{% endif %}"
    "{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
GEMMA = (  # as Gemma 2's own, it has no system turn
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}({{ m['role'] }}){{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}(model){% endif %}"
)


@dataclass(frozen=True)
class Family:
    """What of a family of models a tiny one shares: its classes, its chat template, and its special tokens."""

    chat_template: str | None = CHATML
    bos: bool = False
    pads: bool = True
    config: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "Qwen2": Family(),
    "Qwen3": Family(config={"head_dim": 16}),
    "Llama": Family(LLAMA, bos=True, pads=False),
    "Mistral": Family(None, bos=True, pads=False, config={"sliding_window": None}),
    "Gemma2": Family(
        GEMMA,
        bos=True,
        config={"head_dim": 16, "sliding_window": 16, "tie_word_embeddings": True, "attn_logit_softcapping": 5.0},
    ),
}


@dataclass(frozen=True)
class Case:
    """A recipe and how it is tried."""

    recipe: str
    family: str
    rows: str = "truth"
    learning_rate: float = 0.002
    steps: int = 200


CASES = [
    Case("qwen2.5-math-prm-lora/train", "Qwen2", learning_rate=0.005),
    Case("qwen2.5-math-prm-full/train", "Qwen2"),
    Case("qwen2.5-math-prm800k/train", "Qwen2", "ratings"),
    Case("qwen3-soft-labels/train", "Qwen3", "counts"),
    Case("qwen3-soft-labels/train_beta_binomial", "Qwen3", "counts"),
    Case("mistral-math-shepherd/train", "Mistral"),
    Case("gemma2-orm/train", "Gemma2", "outcomes"),
    Case("gemma2-orm/train_pairs", "Gemma2", "outcomes"),
    Case("llama-implicit-prm/train", "Llama", "outcomes"),
    Case("llama-reward-tokens/train", "Llama"),
    Case("llama-qlora/train", "Llama", learning_rate=0.005),
]
FAST = {"gemma2-orm/train_pairs", "qwen3-soft-labels/train_beta_binomial"}
SOLUTIONS = [  # a problem, its steps, and whether each is right
    ("2+3", ["2+3=5", "5+1=6"], [1, 1]),
    ("2+3", ["2+3=7", "7+1=8"], [0, 0]),
    ("4+4", ["4+4=8"], [1]),
    ("4+4", ["4+4=8", "8+2=9"], [1, 0]),
    ("7+2", ["7+2=9", "9+3=12", "12+1=13"], [1, 1, 1]),
    ("7+2", ["7+2=9", "9+3=11", "11+1=12"], [1, 0, 0]),
    ("5+6", ["5+6=11", "11+4=15"], [1, 1]),
    ("5+6", ["5+6=12"], [0]),
]


def rows_of(kind: str) -> list[dict[str, Any]]:
    """The solutions with labels of a kind, in TRL's columns."""
    rows = []
    for problem, steps, right in SOLUTIONS:
        row: dict[str, Any] = {"prompt": problem, "completions": steps, "labels": [bool(value) for value in right]}
        if kind == "outcomes":
            row["labels"] = [None] * (len(steps) - 1) + [bool(right[-1])]
        if kind == "counts":
            row |= {"n_correct": [7 * value for value in right], "n_total": [8] * len(steps), "source": "monte_carlo"}
        if kind == "ratings":  # as `prm data convert` writes PRM800K: a neutral one is 0.5
            row["labels"] = [0.5 if value and steps[i] == "9+3=12" else float(value) for i, value in enumerate(right)]
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def family_dir(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Callable[[str], Path]:
    """Save a tiny random causal language model of a family with a tokenizer that behaves as the family's does."""

    def build(name: str) -> Path:
        import torch
        import transformers

        family, own = FAMILIES[name], tokenizer_of(tokenizer, FAMILIES[name])
        directory = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        size: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
        heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.1}
        ids: dict[str, Any] = {"bos_token_id": own.bos_token_id, "eos_token_id": own.eos_token_id}
        config = getattr(transformers, f"{name}Config")(
            vocab_size=len(own), pad_token_id=own.pad_token_id, **size, **heads, **ids, **family.config
        )
        getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(directory)
        own.save_pretrained(directory)
        return directory

    return build


def tokenizer_of(tokenizer: Any, family: Family) -> Any:
    """The tiny tokenizer with the family's special tokens and chat template."""
    from tokenizers.processors import TemplateProcessing

    own = copy.deepcopy(tokenizer)
    own.chat_template = family.chat_template
    if family.bos:
        own.add_special_tokens({"bos_token": "<bos>"})
        own.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", own.bos_token_id)]
        )
    if not family.pads:
        own.pad_token = None
    return own


def launch_line(recipe: Path) -> list[str]:
    """The command of the recipe's header, with the configuration of accelerate that fits a CPU."""
    head = "".join(line[1:] + "\n" for line in recipe.read_text().splitlines() if line.startswith("#"))
    words = shlex.split(head.replace("\\\n", " ").split("Command: ")[1].splitlines()[0])
    if words[0] == "prm":
        return [str(Path(sys.executable).with_name("prm")), *words[1:]]
    assert words[:2] == ["accelerate", "launch"], words
    on_a_cpu = {"recipes/accelerate/zero3.yaml": "recipes/accelerate/cpu_zero3.yaml", "8": "2"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = ["--main_process_port", str(probe.getsockname()[1])]
    words = [on_a_cpu.get(word, word) for word in words[2:]]
    return [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *port, *words]


def train(case: Case, base: Path, tmp_path: Path) -> Path:
    """Run the recipe's launch line on eight rows; returns the directory of a plain checkpoint."""
    rows, out, recipe = tmp_path / "rows.jsonl", tmp_path / "out", RECIPES / f"{case.recipe}.yaml"
    rows.write_text("".join(json.dumps(row) + "\n" for row in rows_of(case.rows)))
    command = launch_line(recipe)
    overrides: dict[str, Any] = {
        **{"model_name_or_path": base, "dataset_name": rows, "output_dir": out},
        **{"eval_dataset_name": rows, "eval_fraction": 0},  # how well it knows what it was trained on
        **{"use_cpu": "true", "bf16": "false", "dtype": "float32", "max_steps": case.steps},
        **{"per_device_train_batch_size": 4 if "accelerate" in command[2] else 8, "gradient_accumulation_steps": 1},
        **{"learning_rate": case.learning_rate, "warmup_steps": 0, "disable_tqdm": "true"},
        **({"merge_adapter": "true"} if "lora" in case.recipe else {}),
    }
    command += [text for key, value in overrides.items() for text in (f"--{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    return out / "merged" if "lora" in case.recipe else out


def plain_scores(directory: Path, verifier: Verifier, problem: str, steps: list[str]) -> list[float]:
    """Scores as the card of a checkpoint shows them: plain transformers, nothing of ours but the ids."""
    import torch
    import transformers

    spec, encoded = verifier.spec, verifier.encode(problem, steps)
    ids, at = torch.tensor([encoded.input_ids]), encoded.score_positions
    loader = {
        "token_classification": transformers.AutoModelForTokenClassification,
        "sequence_classification": transformers.AutoModelForSequenceClassification,
    }.get(spec.head, transformers.AutoModelForCausalLM)
    model = loader.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = model(ids, attention_mask=torch.ones_like(ids)).logits[0]
    if spec.head == "sequence_classification":
        return list(logits.sigmoid().tolist())
    if spec.head == "token_classification":
        return list(logits[at].softmax(-1)[:, 1].tolist())
    if spec.head == "reward_tokens":
        pair = verifier.tokenizer.convert_tokens_to_ids(list(spec.reward_tokens or ()))
        return list((logits[at][:, pair] / spec.temperature).softmax(-1)[:, 1].tolist())
    reference = loader.from_pretrained(spec.reference_model, dtype=torch.float32).eval()
    with torch.inference_mode():
        other = reference(ids, attention_mask=torch.ones_like(ids)).logits[0]
    ratio = logits.log_softmax(-1) - other.log_softmax(-1)
    tokens = ratio[:-1].gather(1, ids[0, 1:, None])[:, 0]
    first = encoded.prompt_length - 1
    return [float((spec.beta * tokens[first:end].sum()).sigmoid()) for end in at]


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.recipe, marks=() if c.recipe in FAST else pytest.mark.slow) for c in CASES]
)
def test_a_recipe_learns_eight_rows_and_scores_the_same_everywhere(
    case: Case, family_dir: Callable[[str], Path], tmp_path: Path
) -> None:
    directory = train(case, family_dir(case.family), tmp_path)
    metrics = json.loads((tmp_path / "out" / "train_metrics.json").read_text())
    losses = [log["loss"] for log in metrics["training"]["loss_history"]]
    # What the counts leave to chance is the floor of the losses that read them: 7 of 8 have an entropy of their own.
    assert losses[-1] < (0.8 if case.rows == "counts" else 0.1) * losses[0], losses
    known = "accuracy" if case.rows == "outcomes" else "step_accuracy"
    learned = metrics["eval_before_calibration"]  # eight rows are too few to settle a threshold on others of them
    assert learned[known]["value"] == 1, learned
    verifier = Verifier.from_pretrained(directory, device="cpu", dtype="float32")
    model_class = verifier.model.__class__.__name__
    assert model_class.startswith(case.family)
    for problem, steps, _ in SOLUTIONS:
        expected = plain_scores(directory, verifier, problem, steps)
        assert verifier.score(problem, steps) == pytest.approx(expected, abs=1e-5)


def test_every_training_recipe_for_a_real_base_is_among_them() -> None:
    on_the_hub = {
        f"{path.parent.name}/{path.stem}"
        for path in RECIPES.glob("*/train*.yaml")
        if "model_name_or_path: embedded:" not in path.read_text()
    }
    assert on_the_hub == {case.recipe for case in CASES}
