"""The pages in a real browser: nothing is blank, nothing runs out of the page, on wide and narrow screens, light and
dark, and in print. A browser that has no Chromium skips them."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.report.page import Section, Table, render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium to look at pages with")

MEASURE = """
<pre id="measured"></pre><script>
addEventListener("load", () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement;
  const boxes = [...page.querySelectorAll("figure.plot svg, svg.tree")].filter(s => s.checkVisibility()).map(s => {
    const box = s.getBoundingClientRect();
    const texts = [...s.querySelectorAll("text")].map(t => t.getBoundingClientRect());
    return {width: box.width, height: box.height, shapes: s.querySelectorAll("path, circle, rect").length,
            outside: texts.filter(t => t.right > box.right + 2 || t.left < box.left - 2).length};
  });
  const scrolling = [...page.querySelectorAll("main *")].filter(e => {
    const over = e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0;
    return over && !["auto", "scroll"].includes(page.defaultView.getComputedStyle(e).overflowX)
      && !e.closest("svg") && page.defaultView.getComputedStyle(e).display != "inline";
  }).map(e => e.tagName + "." + e.className);
  document.getElementById("measured").textContent = JSON.stringify(
    {width: frame.clientWidth, page: root.scrollWidth, boxes, scrolling});
});
</script>
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> SimpleNamespace:
    """A report and the page of one problem."""
    world = request.getfixturevalue("module_world")
    folder = tmp_path_factory.mktemp("layout")
    config = EvalConfig(
        output_dir=str(folder), model_name_or_path="in memory", num_problems=6, n=4, max_new_tokens=100,
        approach=["greedy", "best_of_n", "beam_search"], problem=["worst:1"],
    )  # fmt: skip
    verifier = world.Verifier(lambda p, s: [0.2 + 0.7 * right for right in world.truth(p, s)], name="prm")
    run_eval(config, verifiers={"prm": verifier}, generator=world.Generator(world.careless))
    (problem,) = (folder / "problems").glob("*.html")
    return SimpleNamespace(report=folder / "report.html", problem=problem, folder=folder)


def chromium(*arguments: str) -> str:
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def measured(page: Path, width: int, folder: Path) -> dict[str, Any]:
    """The layout of a page in a frame of the given width, as the browser computes it."""
    source = page.read_text().replace("&", "&amp;").replace('"', "&quot;")
    frame = folder / f"{page.stem}-{width}.frame.html"
    style = f"width:{width}px;height:9000px;border:0"
    frame.write_text(f'<!DOCTYPE html><body><iframe style="{style}" srcdoc="{source}"></iframe>{MEASURE}')
    dom = chromium("--window-size=1400,1000", "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="measured">(.*?)</pre>', dom, flags=re.DOTALL)
    assert found and found[1]
    measures: dict[str, Any] = json.loads(found[1].replace("&gt;", ">").replace("&amp;", "&"))
    return measures


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report", "problem"])
def test_no_page_runs_out_of_its_screen_and_no_picture_is_empty(pages: SimpleNamespace, name: str, width: int) -> None:
    found = measured(getattr(pages, name), width, pages.folder)
    assert found["width"] == width and found["page"] <= width
    assert found["scrolling"] == []
    assert len(found["boxes"]) >= (5 if name == "report" else 1)
    for box in found["boxes"]:
        assert box["width"] > 100 and box["height"] > 30 and box["shapes"] >= 5
        assert box["outside"] == 0


def colours(png: Path) -> Counter[bytes]:
    """How often each colour occurs in a screenshot (8-bit RGB or RGBA, as Chromium writes them)."""
    data, at, pixels = png.read_bytes(), 8, b""
    width = height = channels = 0
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            pixels += body
        at += length + 12
    rows, found = zlib.decompress(pixels), Counter[bytes]()
    before = bytearray(width * channels)
    for number in range(height):
        start = number * (width * channels + 1)
        before = _unfiltered(rows[start], bytearray(rows[start + 1 : start + 1 + width * channels]), before, channels)
        if number % 8 == 0:  # a sample of the rows is enough
            found.update(bytes(before[i : i + 3]) for i in range(0, len(before), channels))
    return found


def _unfiltered(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    """One row of a PNG without its filter (RFC 2083, section 6)."""
    for i in range(len(row)):
        left, up, corner = (row[i - step] if i >= step else 0), above[i], (above[i - step] if i >= step else 0)
        if kind == 1:
            row[i] = (row[i] + left) & 255
        elif kind == 2:
            row[i] = (row[i] + up) & 255
        elif kind == 3:
            row[i] = (row[i] + (left + up) // 2) & 255
        elif kind == 4:
            guess = left + up - corner
            row[i] = (row[i] + min((left, up, corner), key=lambda one: abs(guess - one))) & 255
    return row


@pytest.mark.parametrize(("scheme", "paper"), [("light", b"\xff\xff\xff"), ("dark", b"\x14\x17\x1c")])
def test_a_page_is_painted_in_the_readers_theme(pages: SimpleNamespace, scheme: str, paper: bytes) -> None:
    shot = pages.folder / f"{scheme}.png"
    setting = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    chromium("--window-size=600,300", setting, f"--screenshot={shot}", pages.report.as_uri())
    found = colours(shot)
    assert found.most_common(1)[0][0] == paper
    assert len(found) > 50


def test_print_holds_every_figure_of_a_choice_and_every_folded_table(pages: SimpleNamespace) -> None:
    pdf = pages.folder / "report.pdf"
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", pages.report.as_uri())
    unfolded = pages.folder / "unfolded.html"
    text = pages.report.read_text().replace("<details", "<details open")
    unfolded.write_text(text.replace(".choice > figure { display: none;", ".choice > figure { display: block;"))
    chromium("--no-pdf-header-footer", f"--print-to-pdf={unfolded.with_suffix('.pdf')}", unfolded.as_uri())
    counts = [len(re.findall(rb"/Type\s*/Page\b", path.read_bytes())) for path in (pdf, unfolded.with_suffix(".pdf"))]
    assert counts[0] == counts[1] > 5


def test_a_table_in_print_begins_on_the_page_that_has_room_and_goes_on_over_the_next(tmp_path: Path) -> None:
    rows = [[f"row {number}", number] for number in range(20)]  # two thirds of a page
    tables = [Table(["name", "value"], rows, "A table.", f"{place}.csv") for place in range(5)]
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(render_report("t", "", "", [Section("Tables", tables=tables)], {}))
    chromium("--no-pdf-header-footer", f"--print-to-pdf={pdf}", page.as_uri())
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) < len(tables)
