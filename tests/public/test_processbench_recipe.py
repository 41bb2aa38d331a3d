"""`recipes/processbench`: both of its files run as its README says, on tiny verifiers and the real subsets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ModelError
from prm.jsonl import read_jsonl
from tests.guides import ROOT, Page, run, run_all
from tests.public.conftest import CHATML
from tests.public.test_entries import linear, two_layers

README = Page("recipes/processbench/README.md")


@pytest.fixture
def folder(
    tmp_path: Path,
    tiny_verifier_dir: Callable[..., Path],
    chat_tokenizer: Callable[[str], Any],
    checkpoint: Callable[..., Path],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Where the recipe is run: a verifier of one's own, a tiny copy of the published one, and four files, of which the
    two that are not at hand are parts of the others."""
    shutil.copytree(tiny_verifier_dir(), tmp_path / "runs" / "prm")
    theirs = "Qwen2.5-Math-PRM-7B"
    checkpoint(chat_tokenizer(CHATML), "Qwen2", "Qwen2ForProcessRewardModel", two_layers(2), name=theirs)
    (tmp_path / "processbench").mkdir()
    for name, source in {"gsm8k": "gsm8k", "math": "math", "olympiadbench": "math", "omnimath": "gsm8k"}.items():
        rows = json.loads((data_dir / "processbench" / f"{source}.json").read_text())
        skip = 0 if name == source else 3
        kinds = [[row for row in rows if (row["label"] < 0) is kind] for kind in (True, False)]
        chosen = [row for kind in kinds for row in kind[skip : skip + 3]]
        (tmp_path / "processbench" / f"{name}.json").write_text(json.dumps(chosen))
    shutil.copytree(ROOT / "recipes" / "processbench", tmp_path / "recipes" / "processbench")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_recipe_runs_as_its_readme_says(folder: Path) -> None:
    commands = README.commands()
    tiny = "public.yaml --device cpu --dtype float32 --prm_path Qwen2.5-Math-PRM-7B"
    run_all(commands, {"processbench/bench.yaml": "processbench/bench.yaml --device cpu", "public.yaml": tiny})
    board = json.loads((folder / "runs" / "processbench" / "board" / "leaderboard.json").read_text())
    by_name = {one["name"]: one for one in board["runs"]}
    ours, theirs = by_name["prm"], by_name["qwen2.5-math-prm-7b"]
    assert ours["solutions"] == theirs["solutions"] == 24
    assert list(ours["subsets"]) == ["gsm8k", "math", "olympiadbench", "omnimath"]
    assert "5" in ours["threshold"] and theirs["threshold"] == "fixed at 0.500"
    assert len(list((folder / "runs" / "processbench" / "scores").glob("scores-*.jsonl"))) == 2
    said = next(one for one in board["published"] if one["name"] == "Qwen/Qwen2.5-Math-PRM-7B")
    assert f"{said['mean']}" in README.text and " / ".join(map(str, said["subsets"])) in README.text


def test_a_copy_that_several_formats_fit_is_read_by_the_one_that_is_named(
    folder: Path, tokenizer: Any, checkpoint: Callable[..., Path]
) -> None:
    """Each way of reading has scores of its own, though the weights are the same."""
    checkpoint(tokenizer, "Qwen2", "Qwen2ForTokenClassification", linear(2, "score"), name="mine")
    command = ["prm", "bench", "--prm_path", "mine", "--files", "processbench/gsm8k.json", "--device", "cpu"]
    command += ["--score_cache", "scores", "--output_dir"]
    with pytest.raises(ModelError, match="may be read as trl-prm, h4-prm, pure-prm; say which with format="):
        run([*command, "none"])
    found = {}
    for name in ("trl-prm", "pure-prm"):
        run([*command, name, "--prm_format", name])
        found[name] = [row["scores"] for _, row in read_jsonl(folder / name / "processbench.jsonl")]
    assert len(list((folder / "scores").glob("scores-*.jsonl"))) == 2
    assert found["trl-prm"] != found["pure-prm"]  # the newlines within steps
