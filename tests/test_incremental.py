"""Scores of a growing tree: equal to those of whole solutions, while every token is read once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2ForTokenClassification

from prm import Verifier
from prm.heads import unwrapped
from prm.incremental import CACHE_TOKENS, IncrementalSession, RereadingSession

Item = tuple[str, tuple[str, ...]]
HEADS = [
    ("prm", "token_classification"),
    ("orm", "sequence_classification"),
    ("prm", "reward_tokens"),
    ("prm", "implicit"),
]


def search(seed: int = 0, problems: int = 3, width: int = 6, iterations: int = 5) -> Iterator[tuple[list[Item], Any]]:
    """What a beam search asks: the items of each iteration, equal ones among them, and those it may go on from."""
    rng = random.Random(seed)
    live: list[Item] = [("+".join(str(rng.randrange(90)) for _ in range(2 + i)), ()) for i in range(problems)]
    for _ in range(iterations):
        asked: list[Item] = []
        kept: list[Item] = []
        for problem in dict.fromkeys(item[0] for item in live):
            parents = [item for item in live if item[0] == problem]
            children = [
                (problem, (*rng.choice(parents)[1], rng.choice(["7", "a7+5=12", "12-3=9, and so on", "b 12"])))
                for _ in range(width)
            ]
            asked += children
            kept += rng.sample(list(dict.fromkeys(children)), 2)
        yield asked, kept
        live = kept


def tree_tokens(verifier: Verifier, items: Sequence[Item]) -> int:
    """Tokens of the tree of these items: its prompts, and each step with its separator."""
    encode = verifier.spec.step_format
    nodes = {(problem, steps[:end]) for problem, steps in items for end in range(len(steps) + 1)}
    prompts = [len(encode.prompt.ids(problem, verifier.tokenizer)) for problem, steps in nodes if not steps]
    return sum(prompts) + sum(len(encode.step_ids(steps[-1], verifier.tokenizer)) for _, steps in nodes if steps)


@contextmanager
def counted(model: Any, pad_id: int) -> Iterator[list[int]]:
    """The number of tokens, without padding, of every pass through a model's backbone."""
    seen: list[int] = []

    def count(module: Any, args: Any, given: dict[str, Any]) -> None:
        seen.append(int((given["input_ids"] != pad_id).sum()))

    base = unwrapped(model)
    hook = getattr(base, base.base_model_prefix).register_forward_pre_hook(count, with_kwargs=True)
    yield seen
    hook.remove()


def assert_equal_to_whole(verifier: Verifier, asked: Sequence[Item], found: Sequence[Any]) -> None:
    expected = [scored.scores for scored in verifier.score_solutions(asked)]
    for item, scored, whole in zip(asked, found, expected, strict=True):
        assert scored.scores == pytest.approx(whole, abs=1e-4), item
        assert len(scored.scores) == (1 if verifier.spec.kind == "orm" else len(item[1]))
    assert len({score for scores in expected for score in scores}) > len(asked) / 4


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_scores_equal_those_of_whole_solutions_and_each_token_is_read_once(
    tiny_verifier_dir: Callable[..., Path], kind: Any, head: Any
) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(kind, head, temperature=3.0))
    session = verifier.session()
    assert session.keeps_state
    everything: list[Item] = []
    billed = attended = 0
    for asked, kept in search():
        with counted(verifier.model, verifier.tokenizer.pad_token_id) as seen:
            found = session.score(asked)
        assert_equal_to_whole(verifier, asked, found)
        everything += asked
        read = sum(scored.tokens for scored in found if scored)
        assert read == sum(seen)
        billed += read
        attended += sum(scored.attended for scored in found if scored)
        session.retain(kept)
    assert billed == tree_tokens(verifier, everything)
    whole = sum(tree_tokens(verifier, [item]) for item in everything)
    assert billed < whole / 3
    assert billed < attended < whole**2
    assert session.peak_cache_bytes > 0


def test_the_reference_of_an_implicit_verifier_reads_each_token_once_too(tiny_verifier_dir: Any) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir("prm", "implicit"))
    session = verifier.session()
    everything: list[Item] = []
    with counted(verifier.reference, verifier.tokenizer.pad_token_id) as seen:
        for asked, kept in search():
            session.score(asked)
            everything += asked
            session.retain(kept)
    assert sum(seen) == tree_tokens(verifier, everything)


def test_an_adapter_reads_in_pieces_what_it_reads_at_once(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    plain = Verifier.from_pretrained(directory)
    torch.manual_seed(1)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["score"], init_lora_weights=False)
    wrapped = get_peft_model(Qwen2ForTokenClassification.from_pretrained(directory), lora)
    wrapped.save_pretrained(tmp_path)
    plain.tokenizer.save_pretrained(tmp_path)
    plain.spec.save(tmp_path)
    adapted = Verifier.from_pretrained(tmp_path)
    session = adapted.session()
    assert isinstance(session, IncrementalSession)
    for asked, kept in search():
        found = session.score(asked)
        assert_equal_to_whole(adapted, asked, found)
        session.retain(kept)
    assert found[0] is not None
    assert found[0].scores != pytest.approx(plain.score(*asked[0]), abs=1e-3)


def test_a_whole_solution_is_one_pass_and_asking_again_is_none(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    session = verifier.session()
    item = ("7+5-3", ("7+5=12", "12-3=9", "A: 9"))
    with counted(verifier.model, verifier.tokenizer.pad_token_id) as seen:
        first, again, beginning = session.score([item, item, (item[0], item[1][:2])])
        (later,) = session.score([item])
    assert len(seen) == 1
    assert [s.tokens for s in (first, again, beginning, later) if s] == [seen[0], 0, 0, 0]
    assert first is not None and beginning is not None
    assert first.attended == seen[0] * (seen[0] + 1) // 2
    assert beginning.scores == first.scores[:2]
    assert again is not None and later is not None
    assert again.scores == later.scores == first.scores


def test_what_is_not_retained_is_read_and_billed_again(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    session = verifier.session()
    problem, steps = "7+5-3", ("7+5=12", "12-3=9", "A: 9")
    session.score([(problem, steps[:2])])
    session.retain([(problem, steps[:1]), ("an unknown problem", ("with a step",))])
    (kept,) = session.score([(problem, steps)])
    assert kept is not None
    assert kept.tokens == tree_tokens(verifier, [(problem, steps)]) - tree_tokens(verifier, [(problem, steps[:1])])
    session.retain([])
    assert session.kept.tokens == 0
    (again,) = session.score([(problem, steps)])
    assert again is not None
    assert again.tokens == tree_tokens(verifier, [(problem, steps)])
    assert again.scores == pytest.approx(kept.scores, abs=1e-5)


@pytest.mark.parametrize(("cache_tokens", "batch_tokens"), [(600, 4096), (150, 4096), (1, 1), (100_000, 40)])
def test_the_caches_stay_within_their_budget_and_the_scores_stay_the_same(
    tiny_verifier_dir: Callable[..., Path], cache_tokens: int, batch_tokens: int
) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(), batch_tokens=batch_tokens)
    session = verifier.session(cache_tokens)
    assert isinstance(session, IncrementalSession)
    held: list[int] = []
    plain_add = session.kept.add

    def add(*args: Any) -> Any:
        rows = plain_add(*args)
        held.append(session.kept.tokens)
        return rows

    session.kept.add = add  # type: ignore[method-assign]
    everything: list[Item] = []
    billed = 0
    longest = 0
    for asked, kept in search(width=8):
        with counted(verifier.model, verifier.tokenizer.pad_token_id) as seen:
            found = session.score(asked)
        assert_equal_to_whole(verifier, asked, found)
        billed += sum(seen)
        assert sum(seen) == sum(scored.tokens for scored in found if scored)
        everything += asked
        longest = max(longest, max(tree_tokens(verifier, [item]) for item in asked))
        session.retain(kept)
    once = tree_tokens(verifier, everything)
    assert (billed == once) == (cache_tokens == 100_000)
    # A row that is being read, and the one it continues, have to be there whatever the budget.
    assert max(held) <= max(cache_tokens, 3 * longest)


def test_a_budget_for_batches_bounds_the_caches_of_sessions(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    small = Verifier.from_pretrained(directory, batch_tokens=75)
    large = Verifier.from_pretrained(directory)
    sessions = [small.session(), large.session(), small.session(4000)]
    budgets = [session.cache_tokens for session in sessions if isinstance(session, IncrementalSession)]
    assert budgets == [150, CACHE_TOKENS, 4000]
    tokens = [0, 0, 0]
    for asked, kept in search(width=8):
        answers = [session.score(asked) for session in sessions]
        for own, others in zip(answers[0], zip(*answers[1:], strict=True), strict=True):
            assert own is not None
            for other in others:
                assert other is not None
                assert own.scores == pytest.approx(other.scores, abs=1e-5)
        for at, (session, found) in enumerate(zip(sessions, answers, strict=True)):
            session.retain(kept)
            tokens[at] += sum(scored.tokens for scored in found if scored)
    assert tokens[0] > tokens[1] == tokens[2]  # what did not fit was read again
    assert sessions[0].peak_cache_bytes < sessions[1].peak_cache_bytes


def test_what_cannot_be_read_has_no_score_and_stops_nothing(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(max_length=24))
    good: Item = ("7+5-3", ("7+5=12",))
    long = (good[0], (*good[1], "12-3=9, as everybody knows"))
    bad: list[Item] = [long, (good[0], ()), (good[0], (" ",)), (good[0], ("a\nb",)), ("7" * 40, ("7",))]
    for session in (verifier.session(), RereadingSession(verifier)):
        found = session.score([*bad, good, bad[0]])
        assert found[:5] == [None] * 5
        assert found[6] is None
        assert found[5] is not None
        assert list(found[5].scores) == pytest.approx(verifier.score(*good), abs=1e-5)


def test_a_sliding_window_cannot_be_continued_and_is_read_whole(tokenizer: Any) -> None:
    from transformers import MistralConfig, MistralForTokenClassification

    from prm.scoring_spec import ScoringSpec

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    config.num_key_value_heads, config.head_dim, config.sliding_window, config.num_labels = 1, 8, 4, 2
    model = MistralForTokenClassification(config)
    verifier = Verifier(model, tokenizer, ScoringSpec(kind="prm", head="token_classification"))
    session = verifier.session()
    assert not session.keeps_state
    for asked, kept in search(problems=2, iterations=3):
        assert session.score(asked) == verifier.score_solutions(asked)
        session.retain(kept)


def test_positions_of_padding_stay_in_the_table(tokenizer: Any) -> None:
    """GPT-2 looks its positions up: the padding of a short step beside a long one must not look beyond them."""
    from transformers import GPT2Config, GPT2ForTokenClassification

    from prm.scoring_spec import ScoringSpec

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=40, n_embd=8, n_layer=2, n_head=2, num_labels=2)
    config.initializer_range, config.classifier_dropout = 1.0, 0.0
    model = GPT2ForTokenClassification(config)
    spec = ScoringSpec(kind="prm", head="token_classification", max_length=40)
    verifier = Verifier(model, tokenizer, spec)
    session = verifier.session()
    assert session.keeps_state
    first = ("1+2", ("1+2=3",))
    late = ("1+2", ("1+2=3, which is all there is",))
    session.score([first, late])
    asked = [("1+2", (*first[1], "that is a long step")), ("1+2", (*late[1], "3"))]
    found = session.score(asked)
    for item, scored in zip(asked, found, strict=True):
        assert scored is not None
        assert list(scored.scores) == pytest.approx(verifier.score(*item), abs=1e-5)
