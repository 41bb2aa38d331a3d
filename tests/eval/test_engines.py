"""The same search with the generator and the verifier on different engines, and models that share no tokenizer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.errors import ConfigError
from prm.verifier import Verifier


@pytest.fixture
def served(scripted_server: Callable[..., Any], tiny_verifier_dir: Callable[..., Path]) -> tuple[Any, Path]:
    """A server with a generator that solves chains, and with a random verifier."""
    import torch

    directory = tiny_verifier_dir()
    model = Verifier.from_pretrained(directory, device="cpu").model

    def pool(task: str, ids: list[int]) -> Any:
        with torch.inference_mode():
            return model(input_ids=torch.tensor([ids])).logits[0].float().softmax(-1).tolist()

    return scripted_server(pooling=pool), directory


def config(folder: Path, server: Any, tokenizer_dir: Path, **options: Any) -> EvalConfig:
    return EvalConfig(
        output_dir=str(folder),
        model_name_or_path="scripted",
        backend="endpoint",
        endpoint_urls=[server.url],
        tokenizer_name_or_path=str(tokenizer_dir),
        num_parameters=1000,
        **{"num_problems": 6, "n": 4, "max_new_tokens": 80, "report": False, "approach": ["best_of_n", "beam_search"]},
        **options,
    )


def test_a_search_is_the_same_wherever_its_models_run(
    served: tuple[Any, Path], tokenizer_dir: Path, tmp_path: Path
) -> None:
    server, directory = served
    here = config(tmp_path / "here", server, tokenizer_dir, prm_path=[f"prm={directory}"])
    there = replace(here, output_dir=str(tmp_path / "there"), prm_path=[f"prm={server.url}#{directory}"])
    local, remote = run_eval(here), run_eval(there)
    assert [line.key for line in local.methods] == [line.key for line in remote.methods]
    for one, other in zip(local.methods, remote.methods, strict=True):
        assert one.per_problem == pytest.approx(other.per_problem)
    bills = [result.find("beam_search", 4, "prm").bill for result in (local, remote)]
    assert bills[0].generated_tokens == bills[1].generated_tokens > 0
    assert bills[1].verifier_tokens > 1.3 * bills[0].verifier_tokens  # whole prefixes at every step
    said = [[note for note in result.notes if "keeps no state" in note] for result in (local, remote)]
    assert [len(notes) for notes in said] == [1, 2] and said[1][0].startswith("prm keeps no state")
    assert remote.verifiers["prm"]["fingerprint"] == f"{local.verifiers['prm']['fingerprint']} served"


def test_a_finished_run_needs_no_server(served: tuple[Any, Path], tokenizer_dir: Path, tmp_path: Path) -> None:
    server, directory = served
    chosen = config(tmp_path, server, tokenizer_dir, prm_path=[f"prm={server.url}#{directory}"])
    first = run_eval(chosen)
    server.stop()
    again = run_eval(replace(chosen, agg_strategy=["own", "min"], from_run=str(tmp_path)))
    assert again.find("best_of_n", 4, "prm") == first.find("best_of_n", 4, "prm")
    assert again.find("best_of_n", 4, "prm:min").n == 4


def test_a_verifier_with_another_tokenizer_reads_text(
    served: tuple[Any, Path], tokenizer_dir: Path, tmp_path: Path
) -> None:
    """Its own ids are what it is billed for."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForTokenClassification

    from prm.scoring_spec import ScoringSpec

    letters = [*"0123456789+-*=abcdefgABCDEFGAnswer: \n", "<unk>"]
    plain = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(dict.fromkeys(letters))}, "<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", pad_token="<unk>")
    shape: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 1024, "num_hidden_layers": 1, "vocab_size": 64}
    shape |= {"num_attention_heads": 2, "num_key_value_heads": 2, "num_labels": 2, "classifier_dropout": 0.0}
    other = tmp_path / "other"
    Qwen2ForTokenClassification(Qwen2Config(**shape)).save_pretrained(other)
    tokenizer.save_pretrained(other)
    ScoringSpec(kind="prm", head="token_classification").save(other)
    server, directory = served
    chosen = config(tmp_path / "run", server, tokenizer_dir, prm_path=[f"same={directory}", f"other={other}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        result = run_eval(chosen)
    said = [note for note in result.notes if "tokenizer" in note]
    assert len(said) == 1 and said[0].startswith("other has another tokenizer than the generator: it reads the text")
    reader = Verifier.from_pretrained(other, device="cpu")
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    texts = {(row["problem"], text) for row in rows for text in row["completions"]}
    encoded = [(problem, reader.encode(problem, text.split("\n")).input_ids) for problem, text in texts]
    read = len({(problem, tuple(ids[:end])) for problem, ids in encoded for end in range(1, len(ids) + 1)})
    assert 6 * result.find("best_of_n", 4, "other").bill.verifier_tokens == pytest.approx(read)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "vlm"}, "unknown backend 'vlm'; choose from transformers, vllm, endpoint"),
        ({"num_workers": 2}, "num_workers=2 is for the transformers backend"),
        ({"endpoint_urls": []}, "missing endpoint_urls"),
    ],
)
def test_an_engine_that_cannot_work_is_refused(
    served: tuple[Any, Path], tokenizer_dir: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(config(tmp_path, served[0], tokenizer_dir), **options)
