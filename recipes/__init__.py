"""Recipes: one folder each, a YAML file per stage and the expected numbers."""
