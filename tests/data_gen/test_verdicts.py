"""A judge's prompt, and its replies read as verdicts or as what they are instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.verdicts import JudgeTemplate, VerdictStatus, read_verdict

from prm.errors import ConfigError, MissingFileError
from prm.rollouts import Cost


def reply(marks: dict[int, bool], first_error: Any) -> str:
    steps = [{"index": index, "reason": "so", "correct": mark} for index, mark in marks.items()]
    return json.dumps({"steps": steps, "first_error": first_error})


def record(text: str = "", finish_reason: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    counts = {"generated": 7, "prefilled": 5, "cached": 2}
    return {"text": text, "finish_reason": finish_reason, "refusal": refusal, **counts}


RIGHT = reply({0: True, 1: True, 2: True}, -1)
WRONG = reply({0: True, 1: False, 2: False}, 1)


@pytest.mark.parametrize(
    ("text", "correct"),
    [
        (RIGHT, (True, True, True)),
        (WRONG, (True, False, False)),
        (reply({0: True, 1: False}, 1), (True, False, None)),  # what follows the first error may be left out
        (reply({0: True, 1: False, 2: True}, 1), (True, False, True)),  # or be right by itself
        (f"Let me see.\n```json\n{WRONG}\n```", (True, False, False)),
        (f"<think>perhaps {{}} {RIGHT}</think>\n{WRONG}", (True, False, False)),
    ],
)
def test_replies_that_are_verdicts(text: str, correct: tuple[bool | None, ...]) -> None:
    verdict = read_verdict(record(text), 3)
    assert (verdict.status, verdict.correct, verdict.text) == (VerdictStatus.DECIDED, correct, text)
    assert verdict.first_error == (1 if False in correct else -1)
    assert verdict.cost == Cost(7, 5, 2)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (record(reply({0: True, 1: False, 2: False}, 2)), VerdictStatus.CONTRADICTORY),
        (record(reply({0: True, 1: True, 2: True}, 1)), VerdictStatus.CONTRADICTORY),
        (record(reply({0: True, 1: False, 2: False}, -1)), VerdictStatus.CONTRADICTORY),
        (record(WRONG[:-30], "length"), VerdictStatus.TRUNCATED),
        (record("", "length"), VerdictStatus.TRUNCATED),
        (record(WRONG, "length"), VerdictStatus.DECIDED),  # it was complete by then
        (record("I cannot judge this."), VerdictStatus.UNPARSABLE),
        (record(WRONG[:-30]), VerdictStatus.UNPARSABLE),
        (record("", refusal="I must not."), VerdictStatus.REFUSED),
        (record("", "content_filter"), VerdictStatus.REFUSED),
        (record(reply({0: True, 2: True}, -1)), VerdictStatus.UNPARSABLE),  # step 1 is missing
        (record(reply({0: True, 1: True, 2: True, 3: True}, -1)), VerdictStatus.UNPARSABLE),
        (record(reply({0: True, 1: True, 2: True}, None)), VerdictStatus.UNPARSABLE),
        (record(reply({0: True, 1: True, 2: True}, True)), VerdictStatus.UNPARSABLE),
        (record('{"steps": [{"index": 0, "correct": "yes"}], "first_error": -1}'), VerdictStatus.UNPARSABLE),
        (record('{"steps": "none", "first_error": -1}'), VerdictStatus.UNPARSABLE),
        (record('{"steps": [1], "first_error": -1}'), VerdictStatus.UNPARSABLE),
        (record("}{"), VerdictStatus.UNPARSABLE),
    ],
)
def test_replies_that_decide_nothing_stay_what_they_are(given: dict[str, Any], status: VerdictStatus) -> None:
    verdict = read_verdict(given, 3)
    assert verdict.status is status
    assert verdict.text == given["text"]
    if status is not VerdictStatus.DECIDED:
        assert verdict.correct == (None, None, None)
        assert verdict.first_error is None


def test_a_step_marked_twice_is_no_verdict() -> None:
    entry = '{"index": 0, "reason": "", "correct": true}'
    text = f'{{"steps": [{entry}, {entry}], "first_error": -1}}'
    assert read_verdict(record(text), 1).status is VerdictStatus.UNPARSABLE


def test_the_prompt_holds_the_problem_and_the_steps_and_the_answer_only_if_asked() -> None:
    template = JudgeTemplate.load()
    filled = template.fill("7a+5 & more", ["a7+5=12", "A: 12"], None)
    assert "<problem>\n7a+5 & more\n</problem>" in filled
    assert '<step index="0">a7+5=12</step>\n<step index="1">A: 12</step>\n' in filled
    assert "from 0 to 1" in filled
    assert "reference" not in filled
    shown = template.fill("7a+5", ["A: 12"], "the answer 12")
    assert "<reference_answer>\nthe answer 12\n</reference_answer>" in shown
    assert template.shows_answer


def test_another_prompt_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "short.j2"
    path.write_text("{{ problem }}:{% for step in steps %} {{ step }}{% endfor %}")
    template = JudgeTemplate.load(path)
    assert template.fill("1+1", ["{{ problem }}", "2"], None) == "1+1: {{ problem }} 2"  # steps are no templates
    assert not template.shows_answer
    assert template.hash != JudgeTemplate.load().hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{% for %}", "not a Jinja2 template"),
        ("{{ problem }}", "never uses steps"),
        ("{{ steps }}", "never uses problem"),
        ("{{ problem }} {{ steps }} {{ question }}", "uses question; there are problem, steps and answer"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "prompt.j2"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        JudgeTemplate.load(path)


def test_a_template_that_fails_on_a_solution_is_named(tmp_path: Path) -> None:
    path = tmp_path / "prompt.j2"
    path.write_text("{{ problem }} {{ steps[5].text.upper() }}")
    with pytest.raises(ConfigError, match=r"prompt\.j2: "):
        JudgeTemplate.load(path).fill("1+1", ["2"], None)
    with pytest.raises(MissingFileError, match="no such prompt template"):
        JudgeTemplate.load(tmp_path / "missing.j2")
