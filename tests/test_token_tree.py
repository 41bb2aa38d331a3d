"""Solutions that share a row: scores as if each were read alone, and each token of their trie once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from prm import Verifier
from prm.scoring_spec import ScoringSpec
from prm.token_tree import ReadingCost, attends_to_trees, rows_of

Item = tuple[str, tuple[str, ...]]
HEADS = [
    ("prm", "token_classification"),
    ("orm", "sequence_classification"),
    ("prm", "reward_tokens"),
    ("prm", "implicit"),
]
FREE = ReadingCost(per_token=1.0, per_pair=0.0, tokens=10_000)


def sampled(seed: int = 0, problems: int = 4, samples: int = 9) -> list[Item]:
    """Distinct solutions, some of which begin alike, within a step too."""
    rng = random.Random(seed)
    items = []
    for problem in range(problems):
        text = "+".join(str(rng.randrange(90)) for _ in range(12 + problem))
        for _ in range(samples):
            steps = [f"{rng.choice(['a7+5=', 'b'])}{rng.randrange(3)}" for _ in range(rng.randrange(1, 5))]
            items.append((text, (*steps, f"A: {rng.randrange(20)}")))
    rng.shuffle(items)
    return list(dict.fromkeys(items))


def nodes(verifier: Verifier, items: Sequence[Item]) -> dict[tuple[str, tuple[int, ...]], set[int]]:
    """The trie of every problem's encodings: who goes through each node."""
    found: dict[tuple[str, tuple[int, ...]], set[int]] = {}
    for number, (problem, steps) in enumerate(items):
        ids = verifier.encode(problem, steps).input_ids
        for end in range(1, len(ids) + 1):
            found.setdefault((problem, tuple(ids[:end])), set()).add(number)
    return found


def read_by(model: Any, pad_id: int) -> list[tuple[int, ...]]:
    """Rows and tokens, padding left out, of every pass through a model."""
    seen: list[tuple[int, ...]] = []

    def count(module: Any, args: Any, given: dict[str, Any]) -> None:
        ids = given["input_ids"]
        seen.append((len(ids), int((ids != pad_id).sum())))

    getattr(model, model.base_model_prefix).register_forward_pre_hook(count, with_kwargs=True)
    return seen


def alone(verifier: Verifier, items: Sequence[Item]) -> list[tuple[float, ...]]:
    return [verifier.score_solutions([item])[0].scores for item in items]


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_scores_are_those_of_each_solution_alone_and_each_token_of_the_trie_is_read_once(
    tiny_verifier_dir: Callable[..., Path], kind: Any, head: Any
) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(kind, head, temperature=3.0))
    items = sampled()
    expected = alone(verifier, items)
    seen = read_by(verifier.model, verifier.tokenizer.pad_token_id)
    found = verifier.score_solutions(items)
    for one, scores in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(scores, abs=1e-4)
    assert len(set(expected)) > len(items) / 4
    trie = nodes(verifier, items)
    assert sum(one.tokens for one in found) == sum(tokens for _, tokens in seen) == len(trie)
    assert sum(one.attended for one in found) == sum(len(ids) for _, ids in trie)
    assert len(trie) < sum(len(verifier.encode(*item).input_ids) for item in items) / 2


def test_readings_say_who_shares_what(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    items = sampled(problems=1)
    problem, solutions = items[0][0], [steps for _, steps in items]
    expected: dict[tuple[int, ...], list[int]] = {}
    for (_, ids), members in nodes(verifier, items).items():
        expected.setdefault(tuple(sorted(members)), []).append(len(ids))
    found: dict[tuple[int, ...], list[int]] = {}
    for part in verifier.readings(problem, solutions):
        members = tuple(sorted(part.members))
        sizes = found.setdefault(members, [0, 0])
        sizes[0] += part.tokens
        sizes[1] += part.attended
    assert found == {members: [len(depths), sum(depths)] for members, depths in expected.items()}
    assert len(found) > len(items)


@pytest.mark.parametrize("seed", range(20))
def test_rows_hold_every_solution_once_and_are_cut_where_they_must(seed: int) -> None:
    rng = random.Random(seed)
    solutions = [[0, *(rng.randrange(3) for _ in range(rng.randrange(1, 8)))] for _ in range(rng.randrange(1, 12))]
    numbers = [10 * at for at in range(len(solutions))]
    for cost, most in ((FREE, len(solutions)), (ReadingCost(1.0, 0.0, 9), None), (ReadingCost(0.0, 1.0, 99), None)):
        rows = rows_of(solutions, numbers, cost)
        assert sorted(member for row in rows for member in row.members) == numbers
        for row in rows:
            own = [solutions[member // 10] for member in row.members]
            trie = {tuple(ids[:end]) for ids in own for end in range(1, len(ids) + 1)}
            assert row.tokens == len(trie)
            assert len(own) == 1 or (row.tokens <= cost.tokens)
            assert len(own) == 1 or cost.of_tree(row.tokens) <= sum(cost.alone(len(ids)) for ids in own)
            flat: dict[int, int] = {}
            for places, ids in zip(row.places(), own, strict=True):
                for place, token in zip(places.tolist(), ids, strict=True):
                    assert flat.setdefault(place, token) == token
            assert sorted(flat) == list(range(row.tokens))
        if most is not None:
            assert len(rows) == 1
    assert len(rows_of(solutions, numbers, None)) == len(solutions)
    assert rows_of([], [], FREE) == []


def test_little_in_common_is_read_alone_where_attention_is_dear() -> None:
    apart = [[0, *range(100 * at, 100 * at + 99)] for at in range(1, 5)]
    alike = [[*range(99), at] for at in range(4)]
    dear = ReadingCost(per_token=1.0, per_pair=1.0, tokens=10_000)
    assert [len(rows_of(ids, range(4), dear)) for ids in (apart, alike)] == [4, 1]
    assert [len(rows_of([*apart, *alike], range(8), dear))] == [5]


def test_memory_that_runs_out_parts_the_solutions_of_a_row(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    items = sampled(problems=1)
    expected = alone(verifier, items)

    def allocate(module: Any, args: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].numel() > 130:
            torch.empty(2**50, dtype=torch.uint8)

    verifier.model.model.register_forward_pre_hook(allocate, with_kwargs=True)
    with pytest.warns(UserWarning, match="memory ran out: batches are halved"):
        found = verifier.score_solutions(items)
    for one, scores in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(scores, abs=1e-5)


FAMILIES = {
    "Llama": {},
    "Qwen2": {},
    "Qwen3": {"head_dim": 8},
    "Gemma": {"head_dim": 8},
    "Phi": {},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 128},
    "GPTNeoX": {},
    "Mistral": {"sliding_window": 8},
    "Gemma2": {"head_dim": 8, "sliding_window": 8},
    "Falcon": {"alibi": True},
    "Bloom": {"n_layer": 2, "n_head": 2},
    "Mpt": {"d_model": 16, "n_heads": 2, "n_layers": 2},
}
SHARES = {"Llama", "Qwen2", "Qwen3", "Gemma", "Phi", "GPT2", "GPTNeoX"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_cannot_share_reads_each_solution_alone(tokenizer: Any, family: str) -> None:
    """Windows, and positions that the model works out by itself, are not those of a row with several solutions."""
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128, "num_labels": 2}
    shape |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "classifier_dropout": 0.0}
    shape |= {"initializer_range": 1.0}
    kind = "TokenClassification" if hasattr(transformers, f"{family}ForTokenClassification") else None
    kind = kind or "SequenceClassification"
    config = getattr(transformers, f"{family}Config")(**{**shape, **FAMILIES[family]})
    model = getattr(transformers, f"{family}For{kind}")(config)
    spec = ScoringSpec("prm", "token_classification") if kind.startswith("Token") else None
    verifier = Verifier(model, tokenizer, spec or ScoringSpec("orm", "sequence_classification"))
    items = sampled(problems=2)
    assert attends_to_trees(model) == (family in SHARES)
    expected = alone(verifier, items)
    found = verifier.score_solutions(items)
    whole = sum(len(verifier.encode(*item).input_ids) for item in items)
    assert (sum(one.tokens for one in found) < whole) == (family in SHARES)
    for one, scores in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(scores, abs=1e-4)
