"""What of rows, tokenizer and model does not fit together, found before a step is trained.

What is wrong with labels is `prm.rows.mixture_checks`', with a single row `prm.rows.readers`' and `prm.encoding`'s.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.errors import ConfigError, FormatError
from prm.rows.step_rows import StepRow
from prm.step_format import StepFormat, encode_plain

if TYPE_CHECKING:
    from prm.encoding import EncodedDataset

logger = logging.getLogger(__name__)

LOOKED_AT = 64  # rows of each data set whose text is also encoded as a whole


def check_context(dataset: EncodedDataset, model: Any, max_length: int) -> None:
    """Refuse rows beyond the positions that a base was made for; warn where only `max_length` is.

    Raises:
        ConfigError: the longest row and the model's limit, in tokens.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is None or max_length <= limit:
        return
    longest = int(np.max(dataset.lengths, initial=0))
    beyond = int((dataset.lengths > limit).sum())
    if beyond:
        raise ConfigError(
            f"{beyond} rows are longer than the {limit} positions of {type(model).__name__}, the longest has "
            f"{longest} tokens: set max_length to {limit} or less, which drops and counts their last steps, "
            "or take a base with a longer context"
        )
    logger.warning(
        "max_length is %d and the model has %d positions; no row is that long, but the verifier will take such ones: "
        "set max_length to %d",
        *(max_length, limit, limit),
    )


def warn_of_merges(rows: Sequence[StepRow], step_format: StepFormat, tokenizer: Any) -> None:
    """Say so where a row's text as a whole has other token ids than its steps one by one, such as `.\\n\\n` in one
    token: training and `prm.verifier` agree, and a program that encodes the whole text does not."""
    looked_at = list(_first_of_each(rows))
    merged = [row for row in looked_at if is_merged(row, step_format, tokenizer)]
    if merged:
        logger.warning(
            "the tokenizer merges steps and the separator %r with their neighbours in %d of %d rows looked at: here "
            "each step is encoded alone, in training and scoring alike, but plain pipelines on whole texts will see "
            "other ids; for those choose a step_separator that stays a token of its own",
            *(step_format.step_separator, len(merged), len(looked_at)),
        )


def _first_of_each(rows: Sequence[StepRow]) -> Iterator[StepRow]:
    """The first rows of each file: another data set may have other texts."""
    taken: Counter[str] = Counter()
    for row in rows:
        taken[row.path] += 1
        if taken[row.path] <= LOOKED_AT:
            yield row


def is_merged(row: StepRow, step_format: StepFormat, tokenizer: Any) -> bool:
    """Whether the text of a row as a whole has other token ids than its prompt and steps one by one."""
    try:
        ids = step_format.encode(row.prompt, row.completions, tokenizer).input_ids
    except FormatError:
        return False  # encoding the row says why
    steps = "".join(step + step_format.step_separator for step in row.completions)
    whole = encode_plain(tokenizer, step_format.prompt.text(row.prompt, tokenizer) + steps)
    return whole not in (ids, ids[1:])  # a BOS token in front is no text's
