"""How problems and steps become ids: stable prefixes, exact positions, and clear refusals."""

from __future__ import annotations

from typing import Any

import pytest

from prm.errors import ConfigError, FormatError
from prm.step_format import PromptFormat, StepFormat

STEPS = ["7+5=12", "12-3=9", "A: 9"]


def test_score_positions_are_the_separators_after_each_step(tokenizer: Any) -> None:
    encoded = StepFormat(PromptFormat("check {problem}\n"), "\n\n").encode("7+5-3", STEPS, tokenizer)
    assert tokenizer.decode(encoded.input_ids) == "check 7+5-3\n7+5=12\n\n12-3=9\n\nA: 9\n\n"
    for position, step in zip(encoded.score_positions, STEPS, strict=True):
        assert tokenizer.decode(encoded.input_ids[: position + 1]).endswith(step + "\n\n")


def test_a_prefix_keeps_its_ids_when_a_step_is_added(tokenizer: Any) -> None:
    form = StepFormat()
    shorter, longer = (form.encode("7+5-3", STEPS[:n], tokenizer) for n in (2, 3))
    assert longer.input_ids[: len(shorter.input_ids)] == shorter.input_ids
    assert longer.score_positions[:2] == shorter.score_positions


def test_truncation_drops_whole_steps_and_says_how_many(tokenizer: Any) -> None:
    full = StepFormat().encode("7+5-3", STEPS, tokenizer)
    cut = StepFormat().encode("7+5-3", STEPS, tokenizer, max_length=full.score_positions[1] + 1)
    assert cut.score_positions == full.score_positions[:2] and cut.n_dropped == 1
    shorter = StepFormat().encode("7+5-3", STEPS, tokenizer, max_length=full.score_positions[1])
    assert shorter.score_positions == full.score_positions[:1] and shorter.n_dropped == 2


def test_braces_in_a_template_are_plain_text(tokenizer: Any) -> None:
    prompt = PromptFormat("Put it in \\boxed{}. {problem}\n")
    assert prompt.text("{x}", tokenizer) == "Put it in \\boxed{}. {x}\n"


def test_bad_formats_and_steps_are_refused_with_the_remedy(tokenizer: Any) -> None:
    with pytest.raises(FormatError, match="contains the separator"):
        StepFormat().encode("7+5", ["7+5\n=12"], tokenizer)
    with pytest.raises(FormatError, match="blank"):
        StepFormat().encode("7+5", ["  "], tokenizer)
    with pytest.raises(FormatError, match="raise max_length"):
        StepFormat().encode("7+5" * 10, STEPS, tokenizer, max_length=8)
    with pytest.raises(ConfigError, match="no \\{problem\\}"):
        PromptFormat("solve this")
    with pytest.raises(ConfigError, match="separator is empty"):
        StepFormat(step_separator="")
    with pytest.raises(ConfigError, match="has no chat template"):
        PromptFormat("{problem}", chat=True).ids("7+5", tokenizer)


def test_a_chat_template_is_rendered_with_its_own_special_tokens(tokenizer: Any) -> None:
    import copy

    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    ids = PromptFormat("{problem}", chat=True, system="Be brief.").ids("7+5", chatty)
    assert tokenizer.decode(ids) == "[system]Be brief.[user]7+5[assistant]"


def test_a_chat_template_that_writes_the_date_gives_the_same_prompt_on_every_day(tokenizer: Any) -> None:
    import copy

    chatty = copy.deepcopy(tokenizer)
    date = "\n  {% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% endif %}\n{{ today }}: "
    chatty.chat_template = date + "{{ messages[0].content }}"
    assert PromptFormat("{problem}", chat=True).text("7+5", chatty) == "\n26 Jul 2024: 7+5"


CHAT = (
    "{% for turn in messages %}<{{ turn.role }}>{{ turn.content | trim }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def chatty(tokenizer: Any) -> Any:
    import copy

    found = copy.deepcopy(tokenizer)
    found.chat_template = CHAT
    return found


def test_steps_as_turns_are_answered_by_the_assistant_and_scored_before_the_answer(tokenizer: Any) -> None:
    talker = chatty(tokenizer)
    form = StepFormat(PromptFormat("{problem}", chat=True), "", before_first=" ", turn_answer="+", split_on="\n")
    encoded = form.encode("7+5-3", STEPS[:2], talker)
    turns = [{"role": "user", "content": "7+5-3 7+5=12"}, {"role": "assistant", "content": "+"}]
    turns += [{"role": "user", "content": "12-3=9"}, {"role": "assistant", "content": "+"}]
    whole = talker.apply_chat_template(turns, tokenize=False)
    assert talker.decode(encoded.input_ids) == whole.removesuffix("+<end>")
    assert encoded.input_ids[: encoded.prompt_length] == form.prompt_ids("7+5-3", talker)
    for number, position in enumerate(encoded.score_positions, start=1):
        assert talker.decode(encoded.input_ids[: position + 1]) + "+<end>" == talker.apply_chat_template(
            turns[: 2 * number], tokenize=False
        )
    assert form.text_separator == "\n"


def test_texts_around_steps_are_encoded_with_them(tokenizer: Any) -> None:
    form = StepFormat(PromptFormat("{problem}"), " k", before_first=" ", between="\n")
    encoded = form.encode("7+5-3", STEPS, tokenizer)
    assert tokenizer.decode(encoded.input_ids) == "7+5-3 7+5=12 k\n12-3=9 k\nA: 9 k"
    pieces = [form.step_ids(step, tokenizer, first=not index) for index, step in enumerate(STEPS)]
    assert encoded.input_ids == form.prompt_ids("7+5-3", tokenizer) + [id_ for ids in pieces for id_ in ids]


def test_a_whole_text_has_its_scores_where_its_steps_end(tokenizer: Any) -> None:
    plain = StepFormat(PromptFormat("{problem}"), " k", before_first=" ", between="\n")
    whole = StepFormat(PromptFormat("{problem}"), " k", before_first=" ", between="\n", whole_text=True)
    expected, found = (form.encode("7+5-3", STEPS, tokenizer) for form in (plain, whole))
    assert found == expected  # this tokenizer has one id for each byte, so that pieces and whole are the same
    cut = whole.encode("7+5-3", STEPS, tokenizer, max_length=found.score_positions[1] + 1)
    assert cut.score_positions == found.score_positions[:2] and cut.n_dropped == 1
    assert cut.input_ids == found.input_ids[: found.score_positions[1] + 1]
    with pytest.raises(FormatError, match="a step by itself has no ids"):
        whole.step_ids("7+5=12", tokenizer)


def test_a_prompt_can_ask_for_the_bos_token(tokenizer: Any) -> None:
    import copy

    with_bos = copy.deepcopy(tokenizer)
    with_bos.bos_token = with_bos.eos_token
    plain = PromptFormat("{problem}\n").ids("7+5", with_bos)
    assert PromptFormat("{problem}\n", bos=True).ids("7+5", with_bos) == [with_bos.bos_token_id, *plain]


def test_turns_need_a_chat() -> None:
    with pytest.raises(ConfigError, match="set chat to true"):
        StepFormat(turn_answer="+")
