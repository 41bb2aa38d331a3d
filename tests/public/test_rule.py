"""The rule that `prm formats` prints is the one that is read by: a worked example is written from the printed lines
alone, and is the text whose ids are scored, at the place that is printed."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest

from prm.public import PUBLIC_FORMATS, PublicFormat
from prm.public.formats import describe
from prm.public.rule import turns
from tests.public.conftest import CHATML, LLAMA3

EXAMPLE = {"problem": "What is 7+5-3?", "step 1": "7+5=12", "step 2": "12-3=9"}
BY_NAME = {entry.name: entry for entry in PUBLIC_FORMATS}


def printed(entry: PublicFormat) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """The turns of the example, and the other lines by their names."""
    lines = [line.strip().partition(": ")[::2] for line in describe(entry).splitlines() if ": " in line]
    texts = [(role, ast.literal_eval(text)) for role, text in lines if role in ("text", "system", "user", "assistant")]
    filled = [(role, re.sub(r"{([a-z 0-9]+)}", lambda found: EXAMPLE[found[1]], text)) for role, text in texts]
    return filled, dict(lines)


@pytest.fixture
def tokenizer_of(
    tokenizer: Any, chat_tokenizer: Callable[[str], Any], sentencepiece_tokenizer: Any
) -> Callable[[PublicFormat], Any]:
    def choose(entry: PublicFormat) -> Any:
        if entry.step_format.whole_text:
            return sentencepiece_tokenizer
        if not entry.step_format.prompt.chat:
            return tokenizer
        return chat_tokenizer(LLAMA3 if entry.step_format.turn_answer else CHATML)

    return choose


@pytest.mark.parametrize("name", BY_NAME)
def test_the_printed_text_is_the_one_that_is_read_and_scored_where_it_says(
    name: str, tokenizer_of: Callable[[PublicFormat], Any]
) -> None:
    entry = BY_NAME[name]
    tokenizer, (texts, lines) = tokenizer_of(entry), printed(entry)
    found = entry.step_format.encode(EXAMPLE["problem"], [EXAMPLE["step 1"], EXAMPLE["step 2"]], tokenizer)
    if texts[0][0] == "text":
        written = texts[0][1]
    else:
        chat = [{"role": role, "content": text} for role, text in texts]
        written = tokenizer.apply_chat_template(chat, tokenize=False)

    def text(ids: list[int]) -> str:
        kept = ids[1:] if ids[0] == tokenizer.bos_token_id and not written.startswith(tokenizer.bos_token) else ids
        # The sentencepiece fixture decodes a byte by its name.
        return str(tokenizer.decode(kept, clean_up_tokenization_spaces=False)).replace("<0x0A>", "\n")

    read = text(found.input_ids)
    assert written.startswith(read)
    left = written[len(read) :]  # what a template writes to close the assistant's turn
    assert left == "" or (entry.step_format.prompt.chat and not re.search("step|[0-9]", left)), left
    (place,) = re.findall(r"'(?:[^']|\\')*'", lines["score at"])
    literal = ast.literal_eval(place)
    ends = [text(found.input_ids[: position + 1]) for position in found.score_positions]
    scored = ends[-1:] if entry.kind == "orm" else ends
    assert len(scored) == (1 if entry.kind == "orm" else 2)
    for end, step in zip(scored, ["step 2"] if entry.kind == "orm" else ["step 1", "step 2"], strict=True):
        if "before" in lines["score at"]:
            assert written[len(end) :].startswith(literal) and EXAMPLE[step] in end
        else:
            assert end.endswith(EXAMPLE[step] + literal)


def test_ids_that_a_source_gives_are_printed_with_the_tokens_they_are_of() -> None:
    _, lines = printed(BY_NAME["math-shepherd"])
    assert "' ки' (id 12902)" in lines["score at"]
    assert "'▁-' (id 387) and '▁+' (id 648), the share of '▁+' (id 648)" in lines["score"]
    _, lines = printed(BY_NAME["versa-prm"])
    assert "'-' (id 12) and '+' (id 10), the share of '+' (id 10)" in lines["score"]
    for entry in PUBLIC_FORMATS:  # an id of nothing that is read would be shown nowhere
        shown = describe(entry)
        assert all(f"(id {number})" in shown for number in entry.token_ids.values())


def test_what_the_reviewer_of_a_rule_asks_for_is_printed() -> None:
    """A newline between the steps, a blank line after the problem, a system prompt, the last token."""
    assert turns(BY_NAME["math-shepherd"].step_format) == [("text", "{problem} {step 1} ки\n{step 2} ки")]
    assert turns(BY_NAME["scan-prm"].step_format)[0][1].startswith("{problem}\n\n{step 1}")
    assert turns(BY_NAME["versa-prm"].step_format)[0][1].startswith("{problem} \n\n{step 1}")
    _, lines = printed(BY_NAME["acemath-rm"])
    assert "check your final answer within" in lines["system"] and "<|im_end|>\\n" in lines["score at"]
