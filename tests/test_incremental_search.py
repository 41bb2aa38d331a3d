"""A live search on a generator and a verifier that both keep state, with tokenizers of their own: steps are text, and
each model reads every token of its own encoding once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.search.base import TreePlan
from prm.eval.search.frontier import Frontier
from prm.eval.search.tree import TreeSearch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForTokenClassification

from prm import Verifier
from prm.generation.base import SamplingParams
from prm.generation.hf import HFGenerator
from prm.problems import Problem
from prm.rollouts import Cost
from prm.scoring_spec import ScoringSpec
from prm.step_format import PromptFormat
from prm.worlds.arithmetic import make_problems


@pytest.fixture(scope="module")
def generator() -> HFGenerator:
    """The arithmetic world's, whose tokens are bytes."""
    return HFGenerator.from_pretrained("embedded:generator", PromptFormat("{problem}\n"))


def merging_tokenizer() -> Any:
    """A byte-pair encoding with merges, so that steps are other and fewer tokens than the generator's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [f"a{i}+{j}={i + j}" for i in range(40) for j in range(40)] + ["A: 12", "b12-3=9"] * 40
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    """An untrained one, whose scores tell every text from every other."""
    torch.manual_seed(0)
    tokenizer = merging_tokenizer()
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    config.num_key_value_heads, config.initializer_range, config.num_labels = 2, 0.5, 2
    config.pad_token_id = tokenizer.pad_token_id
    model = Qwen2ForTokenClassification(config)
    return Verifier(model, tokenizer, ScoringSpec(kind="prm", head="token_classification"))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return make_problems(4, seed=3, split="test", min_operations=3, max_operations=5)


def search(plan: TreePlan, problems: list[Problem], generator: Any, verifier: Any, **options: Any) -> list[TreeSearch]:
    sampling = SamplingParams(max_new_tokens=120)
    return Frontier(plan, generator, verifier, sampling=sampling, aggregation="mean", **options).run(problems)


@contextmanager
def passes(model: Any, pad_id: int) -> Iterator[list[int]]:
    """Tokens of each pass, without padding."""
    seen: list[int] = []
    base = getattr(model, model.base_model_prefix)
    hook = base.register_forward_pre_hook(
        lambda module, args, given: seen.append(int((given["input_ids"] != pad_id).sum())), with_kwargs=True
    )
    yield seen
    hook.remove()


PLANS = [TreePlan("beam_search", (8,), 4, 40), TreePlan("dvts", (4, 4), 4, 40)]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
def test_tokenizers_of_their_own_and_each_token_of_the_tree_once(
    generator: HFGenerator, verifier: Verifier, problems: list[Problem], plan: TreePlan, monkeypatch: Any
) -> None:
    asked: dict[tuple[str, tuple[str, ...]], float] = {}
    session = verifier.session()
    score = session.score

    def noted(items: Any) -> Any:
        found = score(items)
        asked.update(
            {
                (problem, tuple(steps)): one.scores[-1]
                for (problem, steps), one in zip(items, found, strict=True)
                if one
            }
        )
        return found

    monkeypatch.setattr(session, "score", noted)
    monkeypatch.setattr(verifier, "session", lambda: session)
    with passes(verifier.model, verifier.tokenizer.pad_token_id) as seen:
        found = search(plan, problems, generator, verifier)
    bill = sum((one.cost for one in found), Cost())
    step_format = verifier.spec.step_format
    nodes = {(problem, steps[:end]) for problem, steps in asked for end in range(len(steps) + 1)}
    encoded = {node: len(step_format.encode(*node, verifier.tokenizer).input_ids) for node in nodes}
    tree = sum(tokens - (encoded[node[0], node[1][:-1]] if node[1] else 0) for node, tokens in encoded.items())
    assert bill.verifier_tokens == sum(seen) == tree
    whole = verifier.score_solutions(list(asked))
    assert list(asked.values()) == pytest.approx([one.scores[-1] for one in whole], abs=1e-4)
    assert sum(encoded[item] for item in asked) > 2 * tree
    texts = [branch.text for one in found for branch in one.finished]
    assert any(verifier.tokenizer.encode(text) != generator.tokenizer.encode(text) for text in texts)
    assert bill.prefilled_tokens == sum(len(generator.prompt_ids(problem.problem)) for problem in problems)
    assert bill.cache_bytes > 0


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.strategy)
def test_a_search_that_keeps_state_finds_what_one_that_reads_everything_again_finds(
    generator: HFGenerator, verifier: Verifier, problems: list[Problem], plan: TreePlan, monkeypatch: Any
) -> None:
    kept = search(plan, problems, generator, verifier)
    monkeypatch.delattr(HFGenerator, "carry")
    monkeypatch.delattr(Verifier, "session")
    plain = search(plan, problems, generator, verifier)
    for one, other in zip(kept, plain, strict=True):
        assert [branch.text for branch in one.finished] == [branch.text for branch in other.finished]
        scores = [branch.score for branch in one.finished]
        assert scores == pytest.approx([branch.score for branch in other.finished], abs=1e-4)
    costs = [sum((one.cost for one in found), Cost()) for found in (kept, plain)]
    assert costs[0].generated_tokens == costs[1].generated_tokens
    assert 2 * costs[0].verifier_tokens < costs[1].verifier_tokens
    assert 2 * costs[0].prefilled_tokens < costs[1].prefilled_tokens
    assert costs[0].attended_tokens < costs[1].attended_tokens
    assert costs[0].verifier_attended_tokens < costs[1].verifier_attended_tokens


def solutions_in(directory: Path) -> list[list[list[str]]]:
    """The steps of every solution of the beam searches of a run, problem by problem."""
    (file,) = (directory / "store").glob("beam_search-*.jsonl")
    searches = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [[one["steps"] for one in found["rollouts"]] for found in sorted(searches, key=lambda one: str(one["key"]))]


def test_the_token_budget_of_a_run_bounds_the_caches_of_its_verifier(
    generator: HFGenerator, verifier: Verifier, tmp_path: Path, monkeypatch: Any
) -> None:
    verifier.model.save_pretrained(tmp_path / "prm")
    verifier.tokenizer.save_pretrained(tmp_path / "prm")
    verifier.spec.save(tmp_path / "prm")
    budgets: list[int] = []
    plain = Verifier.session

    def session(self: Verifier, cache_tokens: int | None = None) -> Any:
        made = plain(self, cache_tokens)
        budgets.append(made.kept.budget)  # type: ignore[union-attr]
        return made

    monkeypatch.setattr(Verifier, "session", session)
    found = []
    for max_batch_tokens in (0, 40):
        config = EvalConfig(
            output_dir=str(tmp_path / str(max_batch_tokens)),
            model_name_or_path="in memory",
            prm_path=[str(tmp_path / "prm")],
            approach=["beam_search"],
            num_problems=4,
            n=4,
            max_new_tokens=120,
            max_batch_tokens=max_batch_tokens,
            device="cpu",
            report=False,
        )
        found.append(run_eval(config, generator=generator).find("beam_search", 4, "prm"))
    assert list(dict.fromkeys(budgets)) == [262_144, 80]
    assert solutions_in(tmp_path / "0") == solutions_in(tmp_path / "40")
    assert found[0].bill.generated_tokens == found[1].bill.generated_tokens
    assert found[0].bill.verifier_tokens < found[1].bill.verifier_tokens
