"""What a published verifier's repository holds beside its weights: its card, its spec, and the reports of its
training, its evaluation and its benchmarks; and which files of a repository an earlier push has put there.

Files go as they are, but for what names this machine: an adapter's local base, and absolute paths in our own records.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prm.hub_upload import CARD_FILE, json_bytes
from prm.scoring_spec import SPEC_FILE

if TYPE_CHECKING:
    from prm.cards.benchmarks import BenchResults
    from prm.cards.facts import VerifierFacts
    from prm.cards.results import Results
    from prm.hub import PushConfig

EVAL_RESULTS, EVAL_PAGE = "eval_results.json", "eval_report.html"


def is_published(name: str) -> bool:
    """Whether a file of this name is put into a repository by a push (its card apart)."""
    from prm.cards.benchmarks import BENCHMARKS
    from prm.cards.facts import REPORT_FILE, is_uploaded

    benches = [file for bench in BENCHMARKS for file in _bench_files(bench)]
    return is_uploaded(name) or name in (REPORT_FILE, EVAL_RESULTS, EVAL_PAGE, *benches)


def _bench_files(benchmark: str) -> tuple[str, str]:
    """Under which names a run's results and its page are published."""
    return f"{benchmark}.json", f"{benchmark}_report.html"


def read_runs(config: PushConfig, facts: VerifierFacts) -> tuple[Results | None, list[BenchResults]]:
    """What `prm eval` and `prm bench` measured, where their directories are given.

    Raises:
        DataError, HubError: they cannot be read, or measured other weights.
    """
    from prm.cards.benchmarks import read_bench
    from prm.cards.results import read_results
    from prm.fingerprint import fingerprint
    from prm.hub_weights import MERGED

    if config.eval_results is None and not config.bench_results:
        return None, []
    known = [facts.directory]
    if config.merge_adapter and (facts.directory / MERGED).is_dir():
        known.append(facts.directory / MERGED)  # the same verifier, measured as the checkpoint that it makes
    prints = tuple(fingerprint(directory) for directory in known)
    found = None
    if config.eval_results is not None:
        found = read_results(config.eval_results, prints, config.verifier_name)
    return found, [run for directory in config.bench_results for run in read_bench(directory, prints)]


def payload_of(
    facts: VerifierFacts, card: str, base_model: str, results: Results | None, bench: Sequence[BenchResults]
) -> dict[str, bytes | Path]:
    """The files of the repository: names, and their bytes or where they lie."""
    from prm.cards.facts import ADAPTER_CONFIG, METRICS_FILE, REPORT_FILE, read_json

    payload: dict[str, bytes | Path] = {name: facts.directory / name for name in facts.files}
    if facts.is_adapter and facts.adapter_base != base_model:
        adapter = {**read_json(facts.directory / ADAPTER_CONFIG), "base_model_name_or_path": base_model}
        payload[ADAPTER_CONFIG] = json_bytes(adapter)
    if facts.metrics:
        payload[METRICS_FILE] = json_bytes(facts.metrics)
    payload[SPEC_FILE] = json_bytes(facts.spec.to_dict())
    if facts.report is not None:
        payload[REPORT_FILE] = _page(facts.report)
    if results is not None:
        payload[EVAL_RESULTS] = json_bytes(results.content)
        if results.page is not None:
            payload[EVAL_PAGE] = _page(results.page)
    for run in bench:
        data, page = _bench_files(run.name)
        payload[data] = json_bytes(run.content)
        if run.page is not None:
            payload[page] = _page(run.page)
    payload[CARD_FILE] = card.encode()
    return payload


def _page(path: Path) -> bytes:
    """A page of ours, without the paths of this machine, and without links to pages that are not published."""
    from prm.cards.facts import text_without_local_paths

    text = re.sub(r'<ul class="links">.*?</ul>\n', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return text_without_local_paths(text).encode()
