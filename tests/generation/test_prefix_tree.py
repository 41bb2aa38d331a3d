"""Every token that prompts share is in one segment, and is paid for once."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from prm.generation.prefix_tree import Ids, TokenClaims, common_length, prefix_tree, sharing_pays

STEM = tuple(range(50))


def random_contexts(seed: int) -> list[Ids]:
    """Contexts over two tokens, so that they meet often; empty ones and equal ones are among them."""
    rng = random.Random(seed)
    return [tuple(rng.randrange(2) for _ in range(rng.randrange(9))) for _ in range(rng.randrange(1, 12))]


def covering(contexts: list[Ids]) -> int:
    """Number of distinct tokens, with what stands before them: the nodes of the full tree."""
    ordered = sorted(set(contexts))
    return sum(len(b) - common_length(a, b) for a, b in pairwise([(), *ordered]))


@pytest.mark.parametrize("stem_tokens", [1, 3, 1000])
def test_a_path_spells_its_context(stem_tokens: int) -> None:
    for seed in range(300):
        contexts = random_contexts(seed)
        tree = prefix_tree(contexts, stem_tokens)
        for context in contexts:
            path = tree.path(tree.segment_of[context])[::-1]
            assert sum((tree.segments[i].ids for i in path), ())[: len(context)] == context
            assert [tree.segments[i].level for i in path] == list(range(len(path)))
            assert all(tree.segments[b].start == tree.segments[a].end and a < b for a, b in pairwise(path))


def test_with_no_price_on_a_pass_every_token_is_read_once() -> None:
    for seed in range(300):
        contexts = random_contexts(seed)
        read = sum(len(segment.ids) for segment in prefix_tree(contexts, 1).segments)
        assert read == covering(contexts)


@pytest.mark.parametrize("stem_tokens", [1, 3, 1000])
def test_claims_sum_to_what_is_read(stem_tokens: int) -> None:
    for seed in range(300):
        contexts = random_contexts(seed)
        tree = prefix_tree(contexts, stem_tokens)
        claims = TokenClaims(tree)
        claimed = [claims.claim(context) for context in contexts]
        assert sum(claimed) == sum(len(segment.ids) for segment in tree.segments)
        assert all(0 <= new <= len(context) for new, context in zip(claimed, contexts, strict=True))


def test_prefixes_of_one_rollout_are_one_segment() -> None:
    tree = prefix_tree([STEM[:20], STEM, STEM[:35], STEM[:20]], 1)
    assert [segment.ids for segment in tree.segments] == [STEM]
    claims = TokenClaims(tree)
    assert [claims.claim(c) for c in (STEM[:20], STEM[:20], STEM[:35], STEM)] == [20, 0, 15, 15]


def test_a_stem_is_read_apart_where_it_saves_enough() -> None:
    contexts = [(*STEM, branch, 1, 2) for branch in (60, 61, 62)]
    assert [len(s.ids) for s in prefix_tree(contexts, 100).segments] == [50, 3, 3, 3]
    assert [len(s.ids) for s in prefix_tree(contexts, 101).segments] == [53, 53, 53]


@pytest.mark.parametrize(
    ("a", "b", "expected"), [((), (), 0), ((1,), (2,), 0), ((1, 2), (1, 2), 2), ((1, 2, 3), (1, 2), 2)]
)
def test_common_length(a: Ids, b: Ids, expected: int) -> None:
    assert common_length(a, b) == common_length(b, a) == expected
    tail = tuple(range(9, 40))
    assert common_length((*STEM, 7, *tail), (*STEM, 8, *tail)) == 50


def test_sharing_pays_by_what_it_saves_a_request() -> None:
    nested = [STEM[:30], STEM[:40], STEM]
    assert not sharing_pays(nested)  # 30 and 40 tokens for three requests
    assert sharing_pays([STEM, (*STEM, 1), (*STEM, 1, 2)])  # 50 and 51
    assert not sharing_pays([STEM] * 100)  # equal prompts are read once in any case
    assert not sharing_pays([])
