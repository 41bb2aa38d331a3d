"""Train process and outcome reward models, and measure what they are worth under test-time search."""

__version__ = "0.1.0"
