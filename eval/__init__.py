"""Measure what a verifier is worth: search strategies, the sample store, verifier benchmarks."""
