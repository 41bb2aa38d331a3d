"""A search tree as a picture and as a list: every step once, parents before children, what was chosen to be seen."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from prm.report.outline import SearchOutline, TreeStep, preorder
from prm.report.page import Section, render_report
from prm.report.tree import NO_PARENT, TreeNode, tree_svg

NODES = [
    TreeNode(NO_PARENT, 0, 0.9, "kept", right=True, chosen=True, label="7+5=12"),
    TreeNode(NO_PARENT, 0, 0.2, "pruned", right=False, label="7+5=13"),
    TreeNode(0, 1, 0.1, "pruned", right=True, mistaken=True, label="12-3=9"),
    TreeNode(0, 1, 0.95, "finished", right=False, mistaken=True, chosen=True, note="<A: 8>", label="A: 8"),
    TreeNode(0, 1, None, "unfinished", label="a step that goes on for longer than there is any room for in a column"),
]


def marks(svg: str) -> list[ElementTree.Element]:
    return [node for node in ElementTree.fromstring(svg).iter() if "mark" in node.get("class", "").split()]


def test_every_step_has_a_mark_in_the_colour_of_its_score_and_the_shape_of_its_fate() -> None:
    found = marks(tree_svg(NODES, description="a tree"))
    assert [mark.tag for mark in found] == ["circle", "circle", "circle", "rect", "rect"]
    assert [re.findall(r"tone-(\d+)", mark.get("class", "")) for mark in found] == [["9"], ["2"], ["1"], ["10"], []]
    assert [("mistaken" in mark.get("class", ""), "chosen" in mark.get("class", "")) for mark in found] == [
        (False, True), (False, False), (True, False), (True, True), (False, False),
    ]  # fmt: skip


def test_steps_stand_in_columns_and_never_on_each_other() -> None:
    svg = tree_svg(NODES, description="a tree")
    circles = [(float(m.get("cx", 0)), float(m.get("cy", 0))) for m in marks(svg) if m.tag == "circle"]
    assert circles[0][0] == circles[1][0] < circles[2][0]
    assert abs(circles[0][1] - circles[1][1]) >= 22  # two radii
    assert len(ElementTree.fromstring(svg).findall("path")) == len(NODES)


def test_labels_say_what_is_wrong_and_are_cut_to_their_room() -> None:
    texts = ["".join(node.itertext()) for node in ElementTree.fromstring(tree_svg(NODES, description="")).iter("text")]
    assert "7+5=13 ✗" in texts and "A: 8 ✗" in texts and "12-3=9" in texts
    assert any(text.startswith("a step that") and text.endswith("…") for text in texts)


def test_a_crowded_tree_has_small_marks_without_text() -> None:
    crowd = [TreeNode(NO_PARENT, 0, 0.5, "kept", label="x") for _ in range(64)]
    root = ElementTree.fromstring(tree_svg(crowd, description="many"))
    assert not list(root.iter("text")) and float(root.get("height", 0)) < 64 * 15


def test_the_list_has_each_branch_in_one_piece_the_better_one_first() -> None:
    assert preorder(NODES) == [0, 3, 2, 4, 1]
    assert preorder([]) == []


def test_marks_link_to_the_rows_of_their_list() -> None:
    steps = [TreeStep(node, node.label, rank=0.5, tokens=3) for node in NODES]
    page = render_report("t", "", "", [Section("s", trees=[SearchOutline("beam <search>", steps, "a note")])], {})
    links = re.findall(r'href="#(tree-1-1-\d)"', page)
    assert len(links) == len(NODES) and all(f'id="{link}"' in page for link in links)
    assert "beam &lt;search&gt;" in page and "&lt;A: 8&gt;" in page and "a note" in page
    assert page.count('title="score and truth disagree"') == 2


def test_an_empty_tree_is_an_empty_picture() -> None:
    assert not marks(tree_svg([], description="nothing"))
