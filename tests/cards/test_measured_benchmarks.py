"""A card's rows of benchmarks are those that `prm bench` wrote: a tiny verifier, real data, and every number found
again in the records of the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prm.data_gen.rollout import main as rollout
from prm.eval.bench import BenchConfig, run_bench

from prm.cards.benchmarks import BenchResults, read_bench
from prm.cards.card import card_for
from prm.cards.facts import read_facts
from prm.cards.snippet import Snippet
from prm.fingerprint import fingerprint
from prm.jsonl import read_jsonl, write_jsonl

KINDS = ("redundency", "circular", "confidence", "multi_solutions")


def halves(data_dir: Path) -> list[dict[str, Any]]:
    """Six right and six wrong solutions of ProcessBench's GSM8K subset."""
    rows = json.loads((data_dir / "processbench" / "gsm8k.json").read_text())
    return [row for kind in (True, False) for row in [row for row in rows if (row["label"] < 0) is kind][:6]]


def planted(data_dir: Path, path: Path) -> None:
    """Solutions of ProcessBench in PRMBench's columns, whose own rows are not at hand."""
    write_jsonl(
        path,
        (
            {"idx": row["id"], "modified_question": row["problem"], "modified_process": row["steps"]}
            | {"error_steps": [] if row["label"] < 0 else [row["label"] + 1]}
            | {"classification": KINDS[-1] if row["label"] < 0 else KINDS[index % 3]}
            for index, row in enumerate(halves(data_dir))
        ),
    )


def measured(benchmark: str, directory: Path, data_dir: Path, folder: Path) -> BenchResults:
    files, options = folder / "rows.jsonl", {}
    if benchmark == "prmbench":
        planted(data_dir, files)
    elif benchmark == "best_of_n":
        source = ["--dataset_name", str(data_dir / "gsm8k_model_solutions.jsonl"), "--num_problems", "10"]
        rollout(["--backend", "recorded", *source, "--splitter", "line", "--output_dir", str(folder / "rollouts")])
        files, options = folder / "rollouts" / "rollouts.jsonl", {"panel": True}
    else:
        write_jsonl(files, halves(data_dir))
    given: dict[str, Any] = {"benchmark": benchmark, "device": "cpu", **options}
    run_bench(BenchConfig(str(folder / "out"), str(directory), [str(files)], **given))
    (found,) = read_bench(folder / "out", [fingerprint(directory)])
    return found


def headline(benchmark: str, records: Sequence[Mapping[str, Any]]) -> float:
    """The number of a subset, from its records alone."""
    if benchmark == "best_of_n":
        return float(np.mean([record["best_of_n"]["n=4"] for record in records]))
    if benchmark == "processbench":
        hit: dict[bool, list[bool]] = {True: [], False: []}  # by whether the solution is right
        for record in records:
            hit[record["label"] < 0].append(record["predicted"] == record["label"])
        right, wrong = (float(np.mean(hit[kind])) for kind in (True, False))
        return 2 * right * wrong / (right + wrong) if right + wrong else 0.0
    right_accepted, right_rejected, wrong_accepted, wrong_rejected = np.sum([r["counts"] for r in records], axis=0)
    of_right = 2 * right_accepted / (2 * right_accepted + right_rejected + wrong_accepted)
    if records[0]["subset"] == "multi_solutions":
        return float(of_right)
    of_wrong = 2 * wrong_rejected / (2 * wrong_rejected + right_rejected + wrong_accepted)
    return float((of_right + of_wrong) / 2)


@pytest.mark.parametrize("benchmark", ["processbench", "prmbench", "best_of_n"])
def test_the_cards_rows_are_those_of_the_run(
    tiny_verifier_dir: Callable[..., Path], data_dir: Path, tmp_path: Path, benchmark: str
) -> None:
    directory = tiny_verifier_dir()
    run = measured(benchmark, directory, data_dir, tmp_path)
    records = [record for _, record in read_jsonl(tmp_path / "out" / f"{benchmark}.jsonl")]
    card = card_for(read_facts(directory), "user/my-prm", [Snippet("x", "print(1)", "1")], bench=[run])
    parts = {row.subset: row for row in run.rows()}
    for subset, row in parts.items():
        own = records if benchmark == "best_of_n" else [r for r in records if r["subset"] == subset]
        assert row.solutions == len(own) > 0
        assert row.headline == pytest.approx(headline(benchmark, own))
        low, high = row.interval or (0.0, 0.0)
        assert low <= (row.headline or 0.0) <= high
        shown = f"| {row.headline:.3f} [{low:.3f}, {high:.3f}] |"
        assert any(line.startswith(f"| {subset} | {len(own)} |") and shown in line for line in card.splitlines()), (
            shown
        )
        if benchmark == "processbench":
            for name, share in (
                ("first_error_accuracy", row.wrong_found),
                ("all_correct_accuracy", row.right_accepted),
            ):
                low, high = run.content["subsets"][subset]["intervals"][name]
                assert low <= share <= high and f"| {share:.3f} [{low:.3f}, {high:.3f}] |" in card
    overall, bar = run.overall()
    if benchmark == "prmbench":
        assert set(parts) == set(KINDS) and overall is not None and bar is not None
        assert f"| overall |  | {overall:.3f} [{bar[0]:.3f}, {bar[1]:.3f}] |" in card
    if benchmark == "best_of_n":
        gain, vote = (run.content["subsets"]["n=4"][name] for name in ("gain_over_majority", "majority"))
        assert gain[0] == pytest.approx(parts["n=4"].headline - vote[0])
        assert f"| {vote[0]:.3f} [{vote[1]:.3f}, {vote[2]:.3f}] | {gain[0]:.3f} [" in card
    (index,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    entries = [entry for result in index["results"] for entry in result["metrics"]]
    written = [entry["value"] for entry in entries]
    for row in parts.values():
        assert any(value == pytest.approx(row.headline, abs=1e-4) for value in written), row
