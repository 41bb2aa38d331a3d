"""From a matplotlib figure to an SVG that can stand in a page beside others, in light and dark alike.

matplotlib draws with placeholder colours, which become CSS variables with the light theme's colour as fallback: one
picture follows the page's theme, and a program that knows no variables still shows it. Bytes depend on the content
alone (no date, no random ids), and ids are made unique to the picture.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, darkened where its colours are too faint to write with on white, plainer in the dark.
SERIES_LIGHT = ("#0072b2", "#c34e00", "#00805c", "#a8508a", "#a06a00", "#2f86b8", "#5c5c66", "#7a6a00")
SERIES_DARK = ("#56b4e9", "#f08a3c", "#2fc79b", "#e39ac4", "#e6b020", "#9ad0f2", "#b4b4be", "#f0e442")
INK, MUTED, GRID, PAPER = "#111101", "#222202", "#333303", "#fefefd"
_NEUTRAL = {  # placeholder: variable, light, dark
    INK: ("ink", "#1c2024", "#e8eaed"),
    MUTED: ("muted", "#5f6670", "#a0a7b2"),
    GRID: ("grid", "#e1e4e8", "#333a44"),
    PAPER: ("paper", "#ffffff", "#14171c"),
}
NEUTRAL = -1  # in the place of an index into the palette: a series that is a reference
MARGIN = 14  # points around a picture that stands on its own
FONT_STACK = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

RC_PARAMS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prm",
    "font.family": "DejaVu Sans",  # ships with matplotlib; the page's own font takes its place below
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.unicode_minus": True,
    "path.simplify": False,
}


def series_color(index: int) -> str:
    """The placeholder of a series colour; they repeat after the eighth. `NEUTRAL` is no colour of the palette."""
    return MUTED if index == NEUTRAL else f"#4444{index % len(SERIES_LIGHT):02x}"


def theme_css(selector: str = ":root") -> str:
    """The variables of both themes as CSS; paper is always light."""
    light = {name: colour for name, colour, _ in _NEUTRAL.values()}
    dark = {name: colour for name, _, colour in _NEUTRAL.values()}
    light |= {f"series-{i}": colour for i, colour in enumerate(SERIES_LIGHT)}
    dark |= {f"series-{i}": colour for i, colour in enumerate(SERIES_DARK)}
    screen_dark = "@media screen and (prefers-color-scheme: dark)"
    return f"{selector} {{ {_declarations(light)} }}\n{screen_dark} {{ {selector} {{ {_declarations(dark)} }} }}"


def figure_to_svg(figure: Figure, *, description: str, tooltips: Mapping[str, Sequence[str]] | None = None) -> str:
    """Render a figure.

    Args:
        figure: drawn with `RC_PARAMS` and the placeholder colours of this module.
        description: what a screen reader says.
        tooltips: for the artist of each gid, one text per marker.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # A style element would reach out of the picture into the page; its one rule is set on the picture instead.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]+", f"font-family: {FONT_STACK}", text)
    text = text.replace("font-weight: 700", "font-weight: 600")
    for gid, notes in (tooltips or {}).items():
        text = _with_tooltips(text, gid, notes)
    text = _with_variables(text)
    label = html.escape(description, quote=True)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{label}" style="stroke-linejoin: round" ', 1)
    return _with_own_ids(text)


def standalone_svg(svg: str) -> str:
    """A picture of this module as a file of its own, which follows the reader's theme (a README's picture, say)."""
    head = svg.index(">") + 1
    start = re.sub(r' (width|height)="[^"]*"', "", svg[:head])
    start = re.sub(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', _with_margin, start)
    style = f"<style>{theme_css('svg')} svg {{ background: var(--paper) }}</style>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{start}{style}{svg[head:]}\n'


def _with_margin(match: re.Match[str]) -> str:
    """A page has margins of its own; a picture on its own needs them inside."""
    width, height = float(match[1]) + 2 * MARGIN, float(match[2]) + 2 * MARGIN
    return f'width="{width:g}pt" height="{height:g}pt" viewBox="{-MARGIN} {-MARGIN} {width:g} {height:g}"'


def _declarations(colours: Mapping[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def _with_variables(text: str) -> str:
    for placeholder, (name, light, _) in _NEUTRAL.items():
        text = text.replace(placeholder, f"var(--{name}, {light})")
    for index, light in enumerate(SERIES_LIGHT):
        text = text.replace(series_color(index), f"var(--series-{index}, {light})")
    return text


def _with_tooltips(text: str, gid: str, notes: Sequence[str]) -> str:
    """Give the n-th marker of a group the n-th note as its native tooltip."""
    start = text.index(f'<g id="{gid}">')
    following = text.find('<g id="', start + 1)
    end = following if following >= 0 else len(text)
    waiting = iter(notes)

    def titled(match: re.Match[str]) -> str:
        note = next(waiting, None)
        return match[0] if note is None else f"{match[1]}><title>{html.escape(note)}</title></use>"

    return text[:start] + re.sub(r"(<use [^>]*?)/>", titled, text[start:end]) + text[end:]


def _with_own_ids(text: str) -> str:
    key = "p" + hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", text)
    return re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', text)
