"""Embedded worlds: problems whose every step can be recomputed, so that labels and verifiers meet the truth."""
