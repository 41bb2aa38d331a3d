"""Which requests are answered together. The plan depends on the requests alone, so that an interrupted run, planned
again, meets the same batches and produces the same bytes.

Two orders. By length: a batch of equal lengths needs neither padding nor an attention mask. By prefix tree, where the
prompts share so much that reading it once pays (`prm.generation.prefix_tree.sharing_pays`): prompts that begin one
another, or share a stem, stand side by side. A batch of one plan, planned by itself, is one batch again or is put into
the other order, by its own requests alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prm.generation.base import GenerationRequest
from prm.generation.prefix_tree import Ids, common_length, sharing_pays


def slots_that_fit(row_tokens: int, batch_tokens: int, max_batch_rows: int) -> int:
    """Rows that a cache has room for at a time: at most `max_batch_rows`, and at most `batch_tokens` tokens when every
    row runs to its `row_tokens`; one always fits."""
    return min(max_batch_rows, max(1, batch_tokens // row_tokens))


def plan_batches(
    requests: Sequence[GenerationRequest],
    max_new_tokens: int,
    *,
    batch_tokens: int,
    max_batch_rows: int,
    rows_per_slot: int = 1,
    share: bool = True,
) -> list[list[int]]:
    """Indices of `requests` in batches, identical prompts side by side.

    A batch holds at most `rows_per_slot` times the rows that `slots_that_fit` says; one row always fits.

    Args:
        share: whether the model's cache can share prefixes.
    """
    prompts = [request.prompt_ids for request in requests]

    def rows_that_fit(length: int) -> int:
        return rows_per_slot * slots_that_fit(length + max_new_tokens, batch_tokens, max_batch_rows)

    if share and sharing_pays(prompts):
        order = sorted(range(len(prompts)), key=lambda i: (prompts[i], i))
        return _by_prefix(order, prompts, rows_that_fit)
    order = sorted(range(len(prompts)), key=lambda i: (len(prompts[i]), prompts[i], i))
    return _by_length(order, prompts, rows_that_fit)


def _by_length(order: Sequence[int], prompts: Sequence[Ids], rows_that_fit: Callable[[int], int]) -> list[list[int]]:
    """A batch ends where the prompts get longer once it is half full."""
    batches: list[list[int]] = []
    width = 0
    for index in order:
        length = len(prompts[index])
        rows = rows_that_fit(length)
        if not batches or len(batches[-1]) >= rows or (length > width and 2 * len(batches[-1]) >= rows):
            batches.append([])
        batches[-1].append(index)
        width = length
    return batches


def _by_prefix(order: Sequence[int], prompts: Sequence[Ids], rows_that_fit: Callable[[int], int]) -> list[list[int]]:
    """A full batch ends where neighbours in its second half share the least: between problems rather than amid one."""
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        end, longest = start, 0
        while end < len(order):
            longest = max(longest, len(prompts[order[end]]))
            if end - start >= rows_that_fit(longest):
                break
            end += 1
        if end < len(order):
            cuts = range(start + max(1, (end - start) // 2), end + 1)
            end = min(cuts, key=lambda at: (common_length(prompts[order[at - 1]], prompts[order[at]]), -at))
        batches.append(list(order[start:end]))
        start = end
    return batches
