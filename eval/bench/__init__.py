"""`prm bench`: what a verifier is worth on the known benchmarks, next to the published ones.

One file a benchmark (`processbench`, `prmbench`, `best_of_n`), all from one cache of scores (`scores`); what a run
found is its directory, which `compare` puts beside others and beside published numbers (`published`).
"""

from .config import BenchConfig
from .run import run_bench

__all__ = ["BenchConfig", "run_bench"]
