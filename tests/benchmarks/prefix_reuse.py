"""How much faster the transformers generator answers a labeller's requests than `model.generate` does.

Two workloads, each n samples of every prefix of some rollouts: long prompts on a random Qwen2 of some six million
parameters, and the arithmetic world's short prompts on its shipped generator. Both sides get the same list of prompts
and the same stopping (end-of-text ids, `max_new_tokens`), and compute the same number of rows together; `generate`
gets its batches padded on the left, with an attention mask. They run in turn in one process, and the median counts.
Each side draws its own samples, so the speedup is one of processor seconds per sampled token, with that of the seconds
of the whole list beside it.

    python -m tests.benchmarks.prefix_reuse                # some minutes on one core
    python -m tests.benchmarks.prefix_reuse --help         # sizes
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from prm.generation.base import GenerationRequest, SamplingParams
from prm.generation.hf import HFGenerator
from prm.step_format import PromptFormat

TARGETS = {"long": 3.0, "short": 1.0}


@dataclass(frozen=True)
class Workload:
    """Requests, and the generator that answers them in batches of `rows`."""

    generator: HFGenerator
    requests: list[GenerationRequest]
    sampling: SamplingParams
    rows: int


@dataclass(frozen=True)
class Timing:
    """One pass over the requests: processor seconds, and the tokens sampled."""

    seconds: float
    tokens: int

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


def random_model(vocab_size: int = 2048) -> Any:
    """A Qwen2 with about six million parameters that has learned nothing: all tokens are about equally likely."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).eval()


def long_workload(
    *, prompt_tokens: int, problems: int, rollouts: int, steps: int, step_tokens: int, n: int, rows: int, length: int
) -> Workload:
    """n samples of every prefix of random rollouts. One token in `length` ends a text, which is cut at 3 * length."""
    from prm.worlds.pretrain import build_tokenizer

    model = random_model()
    vocab_size: int = model.config.vocab_size
    generator = HFGenerator(model, build_tokenizer(), PromptFormat(), max_batch_rows=rows)
    generator.eos_ids = tuple(range(vocab_size // length))
    rng = random.Random(0)

    def text(tokens: int) -> tuple[int, ...]:
        return tuple(rng.randrange(len(generator.eos_ids), vocab_size) for _ in range(tokens))

    requests = []
    for _ in range(problems):
        problem = text(prompt_tokens)
        for _ in range(rollouts):
            solution = text(step_tokens * (steps - 1))
            for step in range(steps):
                prompt = problem + solution[: step * step_tokens]
                requests += [GenerationRequest(prompt, rng.getrandbits(63)) for _ in range(n)]
    return Workload(generator, requests, SamplingParams(max_new_tokens=3 * length), rows)


def short_workload(*, problems: int, n: int) -> Workload:
    """n samples of every prefix of one rollout for each problem of the arithmetic world."""
    from prm.worlds.arithmetic import make_problems

    generator = HFGenerator.from_pretrained("embedded:generator", PromptFormat("{problem}\n"), device="cpu")
    sampling = SamplingParams(max_new_tokens=96)
    texts = [problem.problem for problem in make_problems(problems, seed=0, split="train")]
    asked = [GenerationRequest(tuple(generator.prompt_ids(text)), seed) for seed, text in enumerate(texts)]
    requests = []
    for text, rollout in zip(texts, generator.generate(asked, sampling), strict=True):
        lines = rollout.text.splitlines(keepends=True)
        for step in range(max(1, len(lines))):
            prompt = tuple(generator.prompt_ids(text, "".join(lines[:step])))
            requests += [GenerationRequest(prompt, len(requests) + seed) for seed in range(n)]
    return Workload(generator, requests, sampling, generator.max_batch_rows)


def with_ours(work: Workload) -> Timing:
    start = time.process_time()
    completions = work.generator.generate(work.requests, work.sampling)
    return Timing(time.process_time() - start, sum(len(c.token_ids) for c in completions))


def with_model_generate(work: Workload) -> Timing:
    """The list cut into batches in its order, as it lies: prefixes of one rollout are of similar length."""
    start = time.process_time()
    tokens = 0
    for at in range(0, len(work.requests), work.rows):
        tokens += _generate([request.prompt_ids for request in work.requests[at : at + work.rows]], work)
    return Timing(time.process_time() - start, tokens)


def _generate(prompts: Sequence[tuple[int, ...]], work: Workload) -> int:
    """Number of tokens sampled before each row's end."""
    width = max(map(len, prompts))
    ids = work.generator.model.generate(
        torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts]),
        attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=work.sampling.max_new_tokens,
        eos_token_id=list(work.generator.eos_ids),
        pad_token_id=0,
        use_cache=True,
    )[:, width:]
    ended = torch.isin(ids, torch.tensor(work.generator.eos_ids)).int()
    lengths = torch.where(ended.any(-1), ended.argmax(-1) + 1, ids.shape[1])
    return int(lengths.sum())


def compare(work: Workload, repeats: int) -> dict[str, float]:
    """Both sides in turn, `repeats` times; medians."""
    sides: list[Callable[[Workload], Timing]] = [with_ours, with_model_generate]
    timings: list[list[Timing]] = [[], []]
    for _ in range(repeats):
        for side, found in zip(sides, timings, strict=True):
            found.append(side(work))
    ours, theirs = (statistics.median(t.rate for t in found) for found in timings)
    per_pass = [statistics.median(t.seconds for t in found) for found in timings]
    completions = work.generator.generate(work.requests, SamplingParams(max_new_tokens=1))
    lengths = [len(request.prompt_ids) for request in work.requests]
    return {
        "requests": len(work.requests),
        "rows": work.rows,
        "mean_prompt_tokens": statistics.mean(lengths),
        "mean_sampled_tokens": timings[0][0].tokens / len(work.requests),
        "tokens_per_second": ours,
        "tokens_per_second_generate": theirs,
        "seconds": per_pass[0],
        "seconds_generate": per_pass[1],
        "prefilled_tokens": sum(c.cost.prefilled_tokens for c in completions),
        "prefilled_tokens_generate": sum(lengths),
        "speedup": ours / theirs,
        "speedup_of_seconds": per_pass[1] / per_pass[0],
    }


def measure(
    *,
    repeats: int = 3,
    n: int = 8,
    prompt_tokens: int = 600,
    problems: int = 1,
    rollouts: int = 2,
    steps: int = 5,
    step_tokens: int = 40,
    rows: int = 40,
    length: int = 64,
    short_problems: int = 60,
) -> dict[str, dict[str, float]]:
    """Both workloads; figures by name, each with its `target` for `speedup`."""
    long = long_workload(
        prompt_tokens=prompt_tokens,
        problems=problems,
        rollouts=rollouts,
        steps=steps,
        step_tokens=step_tokens,
        n=n,
        rows=rows,
        length=length,
    )
    short = short_workload(problems=short_problems, n=n)
    figures = {"long": compare(long, repeats), "short": compare(short, repeats)}
    return {name: {**found, "target": TARGETS[name]} for name, found in figures.items()}


def machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures side by side, one workload a column."""
    names = list(figures)
    lines = [" " * 28 + "".join(f"{name:>12}" for name in names)]
    for key in figures[names[0]]:
        lines.append(f"{key.replace('_', ' '):28}" + "".join(f"{figures[name][key]:12,.5g}" for name in names))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = measure.__kwdefaults__ or {}
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"by default {value}")
    figures = measure(**vars(parser.parse_args(argv)))
    print(table(figures))
    print(json.dumps({"benchmark": "prefix_reuse", **figures, "machine": machine()}))


if __name__ == "__main__":
    main()
