"""Tables for the terminal, plots as SVG, and the self-contained HTML report. Knows formats, not what was measured."""
