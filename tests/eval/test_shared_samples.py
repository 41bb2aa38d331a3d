"""What scoring the shared samples costs: each token of the trie of their encodings once, and billed so at every n."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.verifier import Verifier

N = 4
Nodes = set[tuple[int, ...]]


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"num_problems": 5, "n": N, "max_new_tokens": 100, "report": False, "approach": ["best_of_n"]}
    return EvalConfig(output_dir=str(folder), model_name_or_path="in memory", **{**defaults, **options})


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def trie(reader: Verifier, problem: str, texts: Sequence[str]) -> Nodes:
    encoded = [reader.encode(problem, text.strip().split("\n")).input_ids for text in texts]
    return {tuple(ids[:end]) for ids in encoded for end in range(1, len(ids) + 1)}


def expected(reader: Verifier, rows: Sequence[dict[str, Any]], n: int) -> tuple[float, float]:
    """Tokens and FLOPs of scoring n samples of a problem, over all subsets and problems."""
    tries = [trie(reader, row["problem"], subset) for row in rows for subset in combinations(row["completions"], n)]
    tokens = sum(map(len, tries)) / len(tries)
    attended = sum(len(ids) for nodes in tries for ids in nodes) / len(tries)
    return tokens, 2 * reader.num_parameters * tokens + reader.attention_flops_per_pair * attended


@pytest.fixture
def verifier(tiny_verifier_dir: Callable[..., Path]) -> Verifier:
    """Said to be large, so that the attention of a row with several solutions is a small part of what it costs."""
    found = Verifier.from_pretrained(tiny_verifier_dir(), device="cpu")
    found.num_parameters = 10**6
    return found


@pytest.fixture
def scored(world: SimpleNamespace, verifier: Verifier, tmp_path: Path) -> SimpleNamespace:
    result = run_eval(config(tmp_path), verifiers={"prm": verifier}, generator=world.Generator(world.careless))
    return SimpleNamespace(result=result, folder=tmp_path, rows=rows_of(tmp_path))


def test_n_of_the_samples_are_billed_the_tokens_of_their_trie(scored: SimpleNamespace, verifier: Verifier) -> None:
    whole = sum(len(trie(verifier, row["problem"], [text])) for row in scored.rows for text in row["completions"])
    for n in (1, 2, N):
        bill = scored.result.find("best_of_n", n, "prm").bill
        assert (bill.verifier_tokens, bill.verifier_flops) == pytest.approx(expected(verifier, scored.rows, n))
    assert bill.verifier_tokens < 0.8 * whole / len(scored.rows)


def test_samples_that_are_added_later_are_billed_as_if_all_were_scored_at_once(
    scored: SimpleNamespace, world: SimpleNamespace, verifier: Verifier, tmp_path: Path
) -> None:
    generator = world.Generator(world.careless)
    more = run_eval(config(scored.folder, n=2 * N, overwrite=True), verifiers={"prm": verifier}, generator=generator)
    fresh = run_eval(config(tmp_path / "fresh", n=2 * N), verifiers={"prm": verifier}, generator=generator)
    assert len(rows_of(scored.folder)[0]["completions"]) == 2 * N
    for n in (1, N, 2 * N):
        one, other = (result.find("best_of_n", n, "prm") for result in (more, fresh))
        assert one.per_problem == other.per_problem
        assert one.bill.verifier_tokens == pytest.approx(other.bill.verifier_tokens)
        assert one.bill.verifier_flops == pytest.approx(other.bill.verifier_flops)


def test_a_verifier_that_shares_nothing_is_billed_whole_solutions(
    world: SimpleNamespace, verifier: Verifier, tmp_path: Path
) -> None:
    """As a server, which is asked for one solution at a time; and so is its part in an ensemble."""
    remote = SimpleNamespace(
        name="remote",
        spec=verifier.spec,
        num_parameters=verifier.num_parameters,
        score_solutions=lambda items, progress=None: [verifier.score_solutions([item])[0] for item in items],
    )
    chosen = config(tmp_path, prm_path=["both=mean(prm,remote)"])
    generator = world.Generator(world.careless)
    result = run_eval(chosen, verifiers={"prm": verifier, "remote": remote}, generator=generator)
    rows = rows_of(tmp_path)
    whole = sum(
        len(trie(verifier, row["problem"], [text])) for row in rows for text in dict.fromkeys(row["completions"])
    )
    tokens = {name: result.find("best_of_n", N, name).bill.verifier_tokens for name in ("prm", "remote", "both")}
    assert tokens["remote"] == pytest.approx(whole / len(rows))
    assert tokens["prm"] == pytest.approx(expected(verifier, rows, N)[0])
    assert tokens["both"] == pytest.approx(tokens["prm"] + tokens["remote"])
    one = {name: result.find("best_of_n", 1, name).bill for name in ("prm", "remote", "both")}
    assert one["both"].verifier_flops == pytest.approx(one["prm"].verifier_flops + one["remote"].verifier_flops)
