"""A generator and verifiers small enough to read, and arithmetic problems: search is tested against known answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.problems import Problem
from prm.rollouts import Cost, StopReason
from prm.scoring_spec import ScoringSpec
from prm.verifier import StepScores
from prm.worlds.arithmetic import ANSWER_PREFIX, apply, make_problems, parse_chain, step_truth

EOS = 0
Solve = Callable[[str, str, random.Random], str]


@dataclass
class ScriptedGenerator:
    """Tokens are characters. `solve(problem, text so far, rng)` writes the rest of the solution, which ends with the
    end-of-text token; stop texts and the token limit cut it short, as with a model."""

    solve: Solve
    name: str = "scripted"
    revision: str = "1"
    num_parameters: int = 10
    context_length: int = 10_000
    requests: list[GenerationRequest] = field(default_factory=list)
    calls: int = 0
    generated: int = 0

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        return [ord(character) for character in f"{problem}\n{prefix}"]

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        self.calls += 1
        self.requests += requests
        if progress:
            progress(len(requests))
        return [self._complete(request, sampling) for request in requests]

    def _complete(self, request: GenerationRequest, sampling: SamplingParams) -> Completion:
        problem, _, text = "".join(map(chr, request.prompt_ids)).partition("\n")
        rng = random.Random(request.seed if sampling.temperature else 0)
        ids = [*map(ord, self.solve(problem, text, rng)), EOS]
        reason = StopReason.EOS
        for stop in sampling.stop:
            at = "".join(map(chr, ids[:-1])).find(stop)
            if at >= 0:
                ids, reason = ids[: at + len(stop)], StopReason.STOP
        if len(ids) > sampling.max_new_tokens:
            ids, reason = ids[: sampling.max_new_tokens], StopReason.LENGTH
        self.generated += len(ids)
        written = ids[:-1] if reason is StopReason.EOS else ids
        cost = Cost(generated_tokens=len(ids), prefilled_tokens=len(request.prompt_ids))
        return Completion(tuple(ids), "".join(map(chr, written)), reason, cost)


@dataclass
class ScriptedVerifier:
    """`judge(problem, steps)` gives one score per step; an ORM keeps the last. One token for each step."""

    judge: Callable[[str, Sequence[str]], Sequence[float]]
    name: str = "scripted"
    spec: ScoringSpec = field(default_factory=lambda: ScoringSpec(kind="prm", head="token_classification"))
    num_parameters: int = 100
    read: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    calls: int = 0

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        self.calls += 1
        self.read += [(problem, tuple(steps)) for problem, steps in items]
        if progress:
            progress(len(items))
        last = 1 if self.spec.kind == "orm" else 0
        return [StepScores(tuple(self.judge(problem, steps)[-last:]), len(steps)) for problem, steps in items]


def careless(problem: str, text: str, rng: random.Random) -> str:
    """Go on with a chain; one step in four has a wrong result, carried on consistently."""
    chain = parse_chain(problem)
    done = [line for line in text.split("\n") if line]
    value = int(done[-1].split("=")[1]) if done else chain.start
    lines = []
    right = list(zip(chain.solution(), chain.operations, chain.values(), chain.values()[1:], strict=False))
    for line, (op, operand), before, after in right[len(done) :]:
        result = apply(value, op, operand) + rng.choice((0, 0, 0, 1))
        lines.append(line.replace(f"{before}{op}{operand}={after}", f"{value}{op}{operand}={result}"))
        value = result
    return "\n".join([*lines, f"{ANSWER_PREFIX}{value}"])


def truth(problem: str, steps: Sequence[str]) -> list[float]:
    """A perfect PRM of the arithmetic world."""
    return [float(right) for right in step_truth(problem, steps)]


@pytest.fixture
def world() -> SimpleNamespace:
    """Everything the tests of search are made of; test files cannot import each other."""
    return SimpleNamespace(
        Generator=ScriptedGenerator,
        Verifier=ScriptedVerifier,
        careless=careless,
        truth=truth,
        problem=lambda text="p", answer="1": Problem(text, answer, text),
        problems=lambda count: make_problems(count, seed=1, split="test", min_operations=2, max_operations=4),
        orm=ScoringSpec(kind="orm", head="sequence_classification"),
    )


@pytest.fixture(scope="module")
def module_world() -> SimpleNamespace:
    """The world for fixtures that outlive a test."""
    return SimpleNamespace(
        Generator=ScriptedGenerator,
        Verifier=ScriptedVerifier,
        careless=careless,
        truth=truth,
        orm=ScoringSpec(kind="orm", head="sequence_classification"),
    )


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Directories of a random generator and a random PRM."""
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2ForTokenClassification

    from prm.worlds.pretrain import build_tokenizer

    tokenizer = build_tokenizer()
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
    }
    folder = tmp_path_factory.mktemp("models")
    head = {"num_labels": 2, "classifier_dropout": 0.0}
    models = {
        "generator": Qwen2ForCausalLM(Qwen2Config(**shape)),
        "verifier": Qwen2ForTokenClassification(Qwen2Config(**{**shape, **head})),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    ScoringSpec(kind="prm", head="token_classification").save(folder / "verifier")
    return SimpleNamespace(**{name: str(folder / name) for name in models})
