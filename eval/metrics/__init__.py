"""Metric modules for the `evaluate` library, one folder each, loaded by path and offline."""
