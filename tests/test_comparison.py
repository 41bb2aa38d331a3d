"""`docs/comparison.md`: each statement about another project says where it can be read, and each source is a place."""

from __future__ import annotations

import re

from tests.guides import Page

PAGE = Page("docs/comparison.md")
# A pull request, or one file at one commit or release.
LOCATED = r"https://github\.com/[\w.-]+/[\w.-]+/(pull/\d+|blob/([0-9a-f]{40}|v[\d.]+)/[\w./-]+)"


def sources() -> dict[str, str]:
    text = PAGE.text.split("Sources, each as it was read")[1]
    return dict(re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |\Z)", text, re.MULTILINE | re.DOTALL))


def test_each_statement_about_another_project_has_its_source() -> None:
    tools = [row for row in PAGE.rows("tool") if row[0] != "this toolkit"]
    assert len(tools) >= 6
    stated = [cell for row in tools for cell in row[1:] if cell != "–"]
    stated += [row[0] for row in PAGE.rows("elsewhere")]
    for statement in stated:
        assert re.search(r"\[\d+\]", statement), statement


def test_each_source_is_used_and_is_one_place() -> None:
    known = sources()
    used = set(re.findall(r"\[(\d+)\]", PAGE.text))
    assert set(known) == used and len(known) >= 15
    for number, body in known.items():
        links = re.findall(r"<(.*?)>", body)
        assert links and all(re.fullmatch(LOCATED, link) for link in links), (number, body)
