"""The cache written in place holds what transformers' own cache holds."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from prm.generation.kv_cache import InPlaceLayer, Spans, can_gather, gather, in_place_cache


def test_logits_equal_those_with_transformers_cache(generator: Any) -> None:
    ids = torch.randint(2, 200, (3, 40), generator=torch.Generator().manual_seed(0))
    ours, theirs = in_place_cache(generator.model.config), DynamicCache(config=generator.model.config)
    rows = torch.tensor([2, 0, 0])
    with torch.inference_mode():
        for start, stop in ((0, 7), *((at, at + 1) for at in range(7, 40))):  # 40 tokens outgrow the spare room
            logits = [
                generator.model(input_ids=ids[:, start:stop], past_key_values=c, use_cache=True).logits
                for c in (ours, theirs)
            ]
            torch.testing.assert_close(logits[0], logits[1])
            if stop in (9, 30):
                ours.batch_select_indices(rows)
                theirs.batch_select_indices(rows)
    assert ours.get_seq_length() == 40
    torch.testing.assert_close(ours.layers[0].keys, theirs.layers[0].keys)


def test_repeated_rows_are_independent() -> None:
    layer = InPlaceLayer()
    layer.update(torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4))
    layer.batch_repeat_interleave(2)
    new = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 1, 4)
    keys, _ = layer.update(new, new)
    assert keys[:, 0, :, 0].tolist() == [[0, 0, 1], [0, 0, 2]]


def test_sliding_windows_keep_transformers_layer(generator: Any) -> None:
    from transformers import MistralConfig

    config = MistralConfig(num_hidden_layers=2, sliding_window=8)
    assert all(isinstance(layer, DynamicSlidingWindowLayer) for layer in in_place_cache(config).layers)
    assert all(isinstance(layer, InPlaceLayer) for layer in in_place_cache(generator.model.config).layers)
    assert not can_gather(in_place_cache(config))
    assert can_gather(in_place_cache(generator.model.config))


def test_gathered_rows_end_at_one_column(generator: Any) -> None:
    ids = torch.randint(2, 200, (2, 9), generator=torch.Generator().manual_seed(0))
    caches = []
    with torch.inference_mode():
        for row in range(2):
            caches.append(in_place_cache(generator.model.config))
            generator.model(input_ids=ids[row : row + 1], past_key_values=caches[row], use_cache=True)
    parts = [Spans(caches[0], [0, 0, 0], [9, 9, 4], [6, 6, 4]), Spans(caches[1], [0, 0], [0, 5], [0, 5])]
    joined = gather(parts, generator.model.config)
    assert joined.get_seq_length() == 6
    for layer, *sources in zip(joined.layers, *(cache.layers for cache in caches), strict=True):
        for name in ("keys", "values"):
            rows, (first, second) = getattr(layer, name), (getattr(source, name)[0] for source in sources)
            expected = [first[:, 3:9], first[:, 3:9], first[:, :4], first[:, :0], second[:, :5]]
            for row, states in zip(rows, expected, strict=True):
                blank = 6 - states.shape[1]
                assert torch.equal(row[:, blank:], states)
                assert not row[:, :blank].any()
