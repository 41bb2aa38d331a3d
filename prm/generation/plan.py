"""Which requests are answered together. The plan depends on the requests alone, so that an interrupted run, planned
again, meets the same batches and produces the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from prm.generation.base import GenerationRequest


def plan_batches(
    requests: Sequence[GenerationRequest], max_new_tokens: int, *, batch_tokens: int, max_batch_rows: int
) -> list[list[int]]:
    """Indices of `requests` in batches: sorted by prompt length, identical prompts side by side.

    A batch holds at most `max_batch_rows` rows and at most `batch_tokens` tokens when every row runs to its limit (one
    row always fits). It ends where the prompts get longer once it is half full: a batch of equal lengths needs
    neither padding nor an attention mask.
    """
    order = sorted(range(len(requests)), key=lambda i: (len(requests[i].prompt_ids), requests[i].prompt_ids, i))
    batches: list[list[int]] = []
    width = 0
    for index in order:
        length = len(requests[index].prompt_ids)
        rows = min(max_batch_rows, max(1, batch_tokens // (length + max_new_tokens)))
        if not batches or len(batches[-1]) >= rows or (length > width and 2 * len(batches[-1]) >= rows):
            batches.append([])
        batches[-1].append(index)
        width = length
    return batches
