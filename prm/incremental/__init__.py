"""Scoring a search tree as it grows, each token once."""

from prm.incremental.session import CACHE_TOKENS, IncrementalSession, RereadingSession, session_of

__all__ = ["CACHE_TOKENS", "IncrementalSession", "RereadingSession", "session_of"]
