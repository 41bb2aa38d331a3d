"""The card says what was measured, and says so where nothing was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prm.eval.cost import Bill
from prm.eval.results import against_controls, best_prm_method, method_result
from prm.eval.search.base import ProblemResult

from prm.cards.card import card_for
from prm.cards.facts import count_parameters, read_facts, without_local_paths
from prm.cards.results import read_results, verdict
from prm.cards.snippet import Snippet
from prm.cards.tables import tables_of
from prm.errors import DataError, HubError, MissingFileError

SNIPPETS = [Snippet("With plain transformers", "print(1)", "1")]


def write_run(directory: Path, fingerprints: dict[str, str]) -> Path:
    """A `results.json` of 40 problems: majority solves 20, `prm` 32 by beam search, the control `shuffled` 20."""

    def line(
        method: str, right: int, verifier: str = "", *, gain: bool = True, tokens: int = 100, flops: float = 2e6
    ) -> Any:
        bill = Bill(generated_tokens=tokens, generator_flops=flops)
        results = [ProblemResult(float(i < right), bill) for i in range(40)]
        names = {"verifier": verifier, "kind": "prm" if verifier else "", "control": verifier == "shuffled"}
        baseline = [float(i < 20) for i in range(40)]
        return method_result(results, method=method, n=16, baseline=baseline if gain else None, **names)

    lines = [
        line("majority", 20, gain=False),
        line("beam_search", 32, "prm", tokens=12_345),
        line("best_of_n", 24, "prm", flops=math.nan),
        line("beam_search", 20, "shuffled"),
        line("best_of_n", 40, "other"),
    ]
    best: Any = best_prm_method([item for item in lines if item.verifier != "other"], lines[0].per_problem, 16)
    content = {
        "version": 1,
        "dataset": "arithmetic/test",
        "num_problems": 40,
        "n": 16,
        "baseline": "majority",
        "generator": {"name": "tiny", "num_parameters": 10},
        "verifiers": {
            name: {"kind": "prm", "control": name == "shuffled", "fingerprint": found, "quality": {}}
            for name, found in fingerprints.items()
        },
        "methods": [item.to_dict() for item in lines],
        "best": {"key": best.key, "gain": vars(best.gain), "held_out_gain": vars(best.held_out_gain)},
        "controls": against_controls(lines, 16),
        "notes": ["prm could not read 3 samples"],
    }
    directory.mkdir()
    (directory / "results.json").write_text(json.dumps(content))
    return directory


def test_the_card_shows_gains_with_intervals_costs_and_controls(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    facts = read_facts(tiny_verifier_dir(label_source="monte_carlo", label_view="hard"))
    run = write_run(tmp_path / "eval", {"prm": "aa", "shuffled": "bb"})
    card = card_for(facts, "user/my-prm", SNIPPETS, results=read_results(run, "aa"))
    majority, beam = (next(line for line in card.splitlines() if line.startswith(f"| {m} |")) for m in METHODS)
    assert "| none | 16 | 0.500 [" in majority
    assert "| this one | 16 | 0.800 [" in beam and "| +0.300 [" in beam and "| 12,345 |" in beam
    assert beam.endswith("| 2.00e+06 |")
    best_of_n = next(line for line in card.splitlines() if line.startswith("| best of n | this one |"))
    assert best_of_n.endswith("| unknown |")
    assert "| beam search | control: shuffled | 16 | 0.500 [" in card
    assert "1.000" not in card  # the accuracy of another verifier
    assert "Best of its methods: beam search, +0.300 [" in card and "(clear of zero)" in card
    assert "chosen on the other half of the problems: +0.300" in card
    assert "| beam search/prm@16 | beam search/shuffled@16 | +0.300 [" in card
    assert "- prm could not read 3 samples" in card and "40 problems of `arithmetic/test`" in card


METHODS = ("majority", "beam search")


def test_a_gain_that_is_not_clear_is_called_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "eval", {"prm": "aa"})
    content = json.loads((run / "results.json").read_text())
    for line in content["methods"]:
        if line["gain"]:
            line["gain"] = {"mean": 0.01, "low": -0.02, "high": 0.04, "n": 40}
    (run / "results.json").write_text(json.dumps({**content, "best": None}))
    assert verdict(read_results(run, "aa")) == (
        "Best of its methods: beam search, +0.010 [-0.020, +0.040] (not clear of zero) over majority."
    )


def test_a_run_of_other_weights_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {"prm": "aa"})
    with pytest.raises(
        HubError, match=r"its verifiers \(prm\) are not .* measured other weights; run `prm eval` again"
    ):
        read_results(run, "bb")
    with pytest.raises(HubError, match=r"its verifier 'prm' is not .* measured other weights"):
        read_results(run, "bb", "prm")
    with pytest.raises(HubError, match="no verifier is called 'x' in it; it has prm"):
        read_results(run, "aa", "x")
    twins = write_run(tmp_path / "two", {"prm": "aa", "twin": "aa", "other": "bb"})
    with pytest.raises(HubError, match="measured this verifier as prm and as twin; say which with verifier_name"):
        read_results(twins, "aa")
    assert read_results(twins, "aa", "twin").verifier == "twin"
    assert read_results(twins, "bb").verifier == "other"


def test_broken_eval_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"results\.json: no such file\. Give the output_dir"):
        read_results(tmp_path, "aa")
    for text in ("[]", "{", "{}", '{"version": 99, "methods": [], "verifiers": {}, "n": 1}'):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(DataError, match=r"results\.json"):
            read_results(tmp_path, "aa")


def test_what_was_not_measured_is_said_to_be_unknown(tiny_verifier_dir: Callable[..., Path]) -> None:
    card = card_for(read_facts(tiny_verifier_dir("orm", "sequence_classification")), "user/my-orm", SNIPPETS)
    assert "nothing is known here of how it was trained" in card
    assert "its gain over majority voting is not known" in card
    assert "**outcome reward model**" in card and "sigmoid of the one logit" in card
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["pipeline_tag"] == "text-classification"
    assert not {"license", "base_model", "datasets"} & set(metadata)


def test_the_front_matter_names_base_and_licence_when_they_are_known(tiny_verifier_dir: Callable[..., Path]) -> None:
    facts = read_facts(tiny_verifier_dir())
    card = card_for(facts, "user/my-prm", SNIPPETS, base_model="Qwen/Qwen2.5-Math-1.5B", license="apache-2.0")
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["base_model"] == "Qwen/Qwen2.5-Math-1.5B" and metadata["base_model_relation"] == "finetune"
    assert metadata["license"] == "apache-2.0"
    assert "process-reward-model" in metadata["tags"]


def test_training_metrics_are_shown_with_their_intervals_and_without_local_paths(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    labels = tmp_path / "labels.jsonl"
    labels.touch()
    metrics = {
        "data": {"dataset_name": str(labels), "shuffled_labels": True, "train": {"rows": 12_000}},
        "hyperparameters": {"learning_rate": 1e-05, "prompt_template": "/think {problem}"},
        "training": {"steps": 7, "loss_history": [{"step": 1, "loss": 0.7}], "final_loss": None},
        "eval": {"auroc": {"value": 0.81234, "low": 0.78, "high": 0.84, "n": 50}},
    }
    (directory / "train_metrics.json").write_text(json.dumps(metrics))
    card = card_for(read_facts(directory), "user/my-prm", SNIPPETS)
    assert "| dataset name | labels.jsonl |" in card and str(tmp_path) not in card
    assert "| rows | 12,000 |" in card and "| learning rate | 1e-05 |" in card
    assert "| auroc | 0.8123 [0.78, 0.84] |" in card
    assert "/think {problem}" in card and "loss history" not in card and "final loss" not in card
    assert "labels were shuffled" in card


def test_local_paths_are_cut_only_where_they_are_paths(tmp_path: Path) -> None:
    value = {"a": [f"prm={tmp_path}", str(tmp_path)], "b": "/nowhere/at/all", "c": 3}
    name = tmp_path.name
    assert without_local_paths(value) == {"a": [f"prm={name}", name], "b": "/nowhere/at/all", "c": 3}


def test_a_cell_cannot_break_its_table() -> None:
    (table,) = tables_of({"template": "a|b", "separator": " \n"})
    assert table.markdown.splitlines()[-2:] == ["| template | a\\|b |", "| separator | `' \\n'` |"]


def test_parameters_are_counted_from_the_file(tiny_verifier_dir: Callable[..., Path]) -> None:
    from safetensors.torch import load_file

    path = tiny_verifier_dir() / "model.safetensors"
    assert count_parameters(path) == sum(tensor.numel() for tensor in load_file(path).values())
