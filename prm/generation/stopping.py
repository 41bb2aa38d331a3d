"""Stop texts, found without decoding every row at every token.

Each vocabulary entry is decoded once. A token that contains a stop text ends its row at once; a token that could be
the end of a stop text begun by earlier tokens has the texts of the row's last tokens joined and looked at; all others
cost nothing. Only a tail in which a token is part of a character is decoded while sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_UNDECODABLE = "�"  # a token that is part of a multi-byte character


class StopTexts:
    """Says whether a row has just completed a stop text.

    Args:
        tokenizer: decodes the rows.
        stop: the texts; each non-empty.
        vocab_size: number of logits, which may exceed the tokenizer's own entries.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], vocab_size: int):
        self.tokenizer, self.stop = tokenizer, tuple(stop)
        self.tail_tokens = max((len(text.encode()) for text in stop), default=0) + 4
        self.ends = np.zeros(vocab_size, dtype=bool)
        self.may_end = np.zeros(vocab_size, dtype=bool)
        self.texts = _token_texts(tokenizer, vocab_size) if stop else []
        for token, text in enumerate(self.texts):
            self.ends[token] = any(s in text for s in stop)
            self.may_end[token] = not self.ends[token] and any(_could_finish(text, s) for s in stop)

    def finished(self, last_B: np.ndarray, tail_of: Callable[[int], Sequence[int]]) -> np.ndarray:
        """For each row of sampled ids, whether its last token completed a stop text; shape (B,).

        Args:
            last_B: the rows' last tokens.
            tail_of: the last `tail_tokens` sampled ids of a row, the last token included; fewer where there are fewer.
        """
        done_B = self.ends[last_B]
        for row in np.flatnonzero(self.may_end[last_B]):
            tail = self._text(tail_of(int(row)))
            done_B[row] = any(text in tail for text in self.stop)
        return done_B

    def _text(self, ids: Sequence[int]) -> str:
        # A few tokenizers rewrite blanks across tokens when they decode.
        if not getattr(self.tokenizer, "clean_up_tokenization_spaces", False) and max(ids) < len(self.texts):
            text = "".join(self.texts[token] for token in ids)
            if _UNDECODABLE not in text:
                return text
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def _could_finish(token_text: str, stop: str) -> bool:
    if _UNDECODABLE in token_text:
        return not stop.isascii()
    return bool(token_text) and any(token_text.startswith(stop[at:]) for at in range(1, len(stop)))


def _token_texts(tokenizer: Any, vocab_size: int) -> list[str]:
    """What each token adds to a text. Decoded behind an anchor, because some tokenizers drop a leading space."""
    count = min(vocab_size, len(tokenizer))
    anchor = tokenizer.encode("a", add_special_tokens=False)[-1:]
    start = tokenizer.decode(anchor, skip_special_tokens=True)
    texts = tokenizer.batch_decode([[*anchor, token] for token in range(count)], skip_special_tokens=True)
    return [text.removeprefix(start) for text in texts]
