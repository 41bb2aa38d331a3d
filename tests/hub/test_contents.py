"""What a push puts into the repository: merged and sharded weights, reports, benchmarks, labels, and never a secret;
over HTTP to the Hub on loopback, with snippets that are not run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prm.eval.bench import BenchConfig, run_bench
from safetensors import safe_open
from safetensors.torch import load_file

from prm import Verifier
from prm.errors import ConfigError, DataError, HubError, MissingFileError
from prm.fingerprint import fingerprint
from prm.hub import PushConfig, run_push
from prm.hub_secrets import refuse_secrets
from prm.jsonl import write_json, write_jsonl
from prm.report.page import Link, Section, render_report

PROBLEM, STEPS = "7a+5b-3c*2", ["a7+5=12", "b12-3=8"]
TOKEN = "hf_" + "aB3" * 12  # the form of one, and nobody's


def push(directory: Path, **changes: Any) -> Any:
    return run_push(PushConfig(**{"model": str(directory), "repo_id": "user/my-prm", **changes}))


def download(hub: Any, repo_id: str, folder: Path) -> Path:
    """The repository's files as a directory."""
    folder.mkdir()
    for name, content in hub.repos[repo_id].files.items():
        (folder / name).write_bytes(content)
    return folder


def lora_prm(base: Path, folder: Path) -> Path:
    """A random LoRA PRM on a base, saved with its head."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    from prm.scoring_spec import ScoringSpec

    torch.manual_seed(3)
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    lora = LoraConfig(task_type=TaskType.TOKEN_CLS, r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted: Any = get_peft_model(model, lora)
    adapted.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    ScoringSpec(kind="prm", head="token_classification").save(folder)
    return folder


def test_an_adapter_is_published_merged_and_scores_the_same(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = lora_prm(tiny_verifier_dir("prm", "reward_tokens"), tmp_path / "lora")
    write_json(adapter / "train_metrics.json", {"data": {"dataset_name": "x"}})
    (adapter / "train_report.html").write_text("<p>training</p>")
    with pytest.raises(HubError, match=r"which nobody else can load.*--merge_adapter true"):
        push(adapter)
    before = sorted(path.name for path in adapter.iterdir())
    result = push(adapter, merge_adapter=True)
    assert sorted(path.name for path in adapter.iterdir()) == before
    assert {"config.json", "model.safetensors", "train_metrics.json", "train_report.html"} <= set(result.files)
    assert not any("adapter" in name for name in result.files)
    loaded = Verifier.from_pretrained(download(logged_in, "user/my-prm", tmp_path / "back"), device="cpu")
    whole = Verifier.from_pretrained(adapter, device="cpu")
    assert loaded.score(PROBLEM, STEPS) == pytest.approx(whole.score(PROBLEM, STEPS), abs=1e-5)
    front = yaml.safe_load(logged_in.repos["user/my-prm"].files["README.md"].decode().split("---\n")[1])
    assert front["library_name"] == "transformers"


def test_the_merged_checkpoint_of_the_training_run_is_taken_where_it_is_of_that_run(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    adapter = lora_prm(tiny_verifier_dir("prm", "reward_tokens"), tmp_path / "lora")
    ready = tiny_verifier_dir()
    shutil.copytree(ready, adapter / "merged")
    for folder in (adapter, adapter / "merged"):
        write_json(folder / "train_metrics.json", {"data": {"dataset_name": "x"}})
    (adapter / "train_report.html").write_text("<p>training</p>")
    push(adapter, merge_adapter=True)
    weights = (ready / "model.safetensors").read_bytes()
    assert logged_in.repos["user/my-prm"].files["model.safetensors"] == weights
    sharded = push(adapter, merge_adapter=True, max_shard_size=f"{len(weights) // 2}B").files
    assert {"model.safetensors.index.json", "train_metrics.json", "train_report.html"} <= set(sharded)
    write_json(adapter / "train_metrics.json", {"data": {"dataset_name": "trained again"}})
    push(adapter, merge_adapter=True)
    assert logged_in.repos["user/my-prm"].files["model.safetensors"] != weights


def test_an_adapter_whose_base_is_gone_cannot_be_merged(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_verifier_dir("prm", "reward_tokens"), tmp_path / "base")
    adapter = lora_prm(base, tmp_path / "lora")
    shutil.rmtree(base)
    with pytest.raises(HubError, match=r"the adapter's base .* cannot be loaded .* merging needs it\. Restore it"):
        push(adapter, merge_adapter=True)


def test_a_full_model_has_nothing_to_merge(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    with pytest.raises(HubError, match="is no adapter, so there is nothing to merge"):
        push(tiny_verifier_dir(), merge_adapter=True)


def test_weights_are_sharded_tensor_by_tensor_and_load_as_they_were(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    limit = (directory / "model.safetensors").stat().st_size // 3
    first = push(directory, max_shard_size=f"{limit}B")
    shards = [name for name in first.files if name.endswith(".safetensors")]
    assert len(shards) > 2 and "model.safetensors" not in first.files
    back = download(logged_in, "user/my-prm", tmp_path / "back")
    whole, seen = load_file(directory / "model.safetensors"), set()
    index = json.loads((back / "model.safetensors.index.json").read_text())["weight_map"]
    for name in shards:
        with safe_open(back / name, framework="pt") as shard:
            sizes = 0
            for key in shard.keys():  # noqa: SIM118 (it is no mapping)
                tensor = shard.get_tensor(key)
                assert tensor.equal(whole[key]) and index[key] == name
                sizes += tensor.numel() * tensor.element_size()
                seen.add(key)
            assert sizes <= limit or len(shard.keys()) == 1
    assert seen == set(whole)
    ours, theirs = (Verifier.from_pretrained(path, device="cpu").score(PROBLEM, STEPS) for path in (directory, back))
    assert ours == theirs
    assert push(directory, max_shard_size=f"{limit}B").commit == first.commit  # cut the same way again
    push(directory)  # in one file again: a loader must not find both
    assert not [name for name in logged_in.repos["user/my-prm"].files if name in shards]


@pytest.mark.parametrize("size", ["", "5", "GB", "-1GB", "0MB", "5 gibibytes"])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(ConfigError, match="is not a size; give one such as 5GB"):
        push(tmp_path, max_shard_size=size)


def test_reports_go_along_without_the_paths_of_this_machine(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    (directory / "train_report.html").write_text(f"<td>{tmp_path}</td> <a href='https://host/etc/hosts'>1/2</a>")
    run = eval_run(tmp_path, directory)
    push(directory, eval_results=str(run))
    files = logged_in.repos["user/my-prm"].files
    assert files["train_report.html"].decode() == f"<td>{tmp_path.name}</td> <a href='https://host/etc/hosts'>1/2</a>"
    assert files["eval_report.html"] == b"<p>what it is worth</p>"
    card = files["README.md"].decode()
    assert "(train_report.html)" not in card  # it has no metrics to go with
    assert "(eval_report.html)" in card
    (run / "report.html").unlink()
    push(directory, eval_results=str(run))
    assert "eval_report.html" not in logged_in.repos["user/my-prm"].files


def test_links_to_pages_that_stay_behind_are_left_out(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    run = eval_run(tmp_path, directory)
    sections = [Section("Problem by problem", "How", links=[Link("a", "problems/a.html")]), Section("Last")]
    (run / "report.html").write_text(render_report("Title", "", "", sections, {}))
    push(directory, eval_results=str(run))
    page = logged_in.repos["user/my-prm"].files["eval_report.html"].decode()
    assert "problems/a.html" not in page and "<h2>Problem by problem</h2>" in page and "<h2>Last</h2>" in page


def eval_run(folder: Path, directory: Path) -> Path:
    """What is read of a run without any method."""
    facts = {"kind": "prm", "control": False, "fingerprint": fingerprint(directory), "quality": {}}
    run = {"version": 2, "dataset": "x", "num_problems": 1, "baseline": "majority", "methods": [], "n": 4}
    write_json(folder / "results.json", {**run, "verifiers": {"prm": facts}})
    (folder / "report.html").write_text("<p>what it is worth</p>")
    return folder


def bench_run(folder: Path, directory: Path) -> Path:
    """`prm bench` on four solutions, two of them with a mistake."""
    steps = ["a7+5=12", "b12-3=8", "A: 8"]
    rows = [
        {"id": str(index), "problem": f"{index}a+5b-3c*2", "steps": steps, "label": label}
        | {"final_answer_correct": label < 0}
        for index, label in enumerate((1, -1, 0, -1))
    ]
    write_jsonl(folder / "chains.jsonl", rows)
    files = [str(folder / "chains.jsonl")]
    config = BenchConfig(str(folder / "bench"), str(directory), files, device="cpu")
    run_bench(config)
    return folder / "bench"


def test_benchmark_rows_are_in_the_card_and_of_these_weights(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    run = bench_run(tmp_path, directory)
    measured = json.loads((run / "processbench.json").read_text())["subsets"]["chains"]
    push(directory, bench_results=[str(run)])
    files = logged_in.repos["user/my-prm"].files
    card = files["README.md"].decode()
    low, high = measured["intervals"]["first_error_accuracy"]
    assert f"| chains | 4 | {measured['first_error_accuracy']:.3f} [{low:.3f}, {high:.3f}] |" in card
    front = yaml.safe_load(card.split("---\n")[1])
    (entry,) = front["model-index"][0]["results"]
    assert entry["dataset"] == {"name": "ProcessBench, chains", "type": "Qwen/ProcessBench", "config": "chains"}
    assert entry["metrics"][0]["value"] == pytest.approx(measured["first_error_f1"], abs=1e-4)
    assert entry["metrics"][0]["args"]["low"] == pytest.approx(measured["interval"][0], abs=1e-4)
    assert str(tmp_path) not in files["processbench.json"].decode()
    with pytest.raises(HubError, match="it measured other weights; run `prm bench` again"):
        push(tiny_verifier_dir(seed=1), bench_results=[str(run)])


def test_several_benchmarks_stand_in_one_card(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    first, second = bench_run(tmp_path, directory), tmp_path / "second"
    subsets = {"simplicity": {"solutions": 12_345, "headline": 0.655, "interval": [0.6, 0.7]}, "soundness": {}}
    overall = {"prm_score": 0.5, "mean_interval": [0.4, 0.6]}
    write_json(second / "prmbench.json", {"fingerprint": fingerprint(directory), "subsets": subsets, **overall})
    chosen = {"solutions": 50, "headline": 0.8, "interval": [0.7, 0.9]}
    chosen |= {"majority": [0.7, 0.6, 0.8], "gain_over_majority": [0.1, -0.05, 0.2]}
    write_json(second / "best_of_n.json", {"fingerprint": fingerprint(directory), "subsets": {"n=8": chosen}})
    result = push(directory, bench_results=[str(first), str(second)])
    beside = "0.800 [0.700, 0.900] | 0.700 [0.600, 0.800] | 0.100 [-0.050, 0.200]"
    assert f"| n=8 | 50 | {beside} |" in result.card
    assert {"processbench.json", "processbench_report.html", "prmbench.json"} <= set(result.files)
    assert "| simplicity | 12,345 | 0.655 [0.600, 0.700] |" in result.card and "| soundness |  |  |" in result.card
    entries = yaml.safe_load(result.card.split("---\n")[1])["model-index"][0]["results"]
    assert [(entry["task"]["name"], entry["metrics"][0]["type"]) for entry in entries] == [
        ("ProcessBench", "f1"),
        ("PRMBench", "prm_score"),
        ("PRMBench", "prm_score"),
        ("Best-of-n of recorded samples", "accuracy"),
    ]
    assert "| overall |  | 0.500 [0.400, 0.600] |" in result.card and entries[1]["metrics"][0]["value"] == 0.5
    push(directory)
    assert not [name for name in logged_in.repos["user/my-prm"].files if "bench" in name]


def test_a_benchmark_that_cannot_be_told_from_others_is_refused(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    directory = tiny_verifier_dir()
    run = bench_run(tmp_path, directory)
    content = json.loads((run / "processbench.json").read_text())
    without = {name: value for name, value in content.items() if name != "fingerprint"}
    write_json(run / "processbench.json", without)  # as older versions wrote it
    assert "processbench.json" in push(directory, bench_results=[str(run)], dry_run=True).files
    write_json(run / "processbench.json", {**content, "fingerprint": None})  # of a verifier in memory
    with pytest.raises(HubError, match="a verifier that cannot be told"):
        push(directory, bench_results=[str(run)], dry_run=True)
    write_json(run / "processbench.json", {"subsets": []})
    with pytest.raises(DataError, match="not the results of this version's `prm bench`"):
        push(directory, bench_results=[str(run)], dry_run=True)
    with pytest.raises(MissingFileError, match=r"none of processbench\.json, .* in it"):
        push(directory, bench_results=[str(tmp_path)], dry_run=True)


def test_the_licence_of_the_labels_is_in_their_card(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], labels_path: Path
) -> None:
    push(tiny_verifier_dir(), dataset=str(labels_path), dataset_license="cc-by-4.0", license="mit")
    cards = {name: repo.files["README.md"].decode() for name, repo in logged_in.repos.items()}
    licences = {name: yaml.safe_load(card.split("---\n")[1])["license"] for name, card in cards.items()}
    assert licences == {"user/my-prm": "mit", "datasets/user/my-prm-labels": "cc-by-4.0"}


SECRETS = {
    "hub": TOKEN,
    "openai": "sk-" + "a1B2" * 12,
    "aws": "AKIA" + "ABCD1234" * 2,
    "github": "ghp_" + "a1" * 18,
    "key": "-----BEGIN RSA PRIVATE KEY-----",
    "named": '"wandb_api_key": "0123456789abcdef"',
    "url": "https://user:hunter22@host/repo",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_refused_by_file_and_line_and_never_repeated(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tiny_verifier_dir()
    monkeypatch.setattr("prm.cards.snippet.execute", lambda *_, **__: pytest.fail("a snippet ran first"))
    (directory / "train_report.html").write_text(f"<p>fine</p>\n<p>{SECRETS[kind]}</p>")
    for dry_run in (True, False):
        with pytest.raises(HubError, match=r"train_report\.html, line 2: what looks like .*revoke it") as refusal:
            push(directory, dry_run=dry_run)
        assert SECRETS[kind] not in str(refusal.value)
    assert not logged_in.seen("/commit/") and logged_in.repos == {}


def test_the_users_own_token_and_metadata_of_weights_are_looked_for(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    with pytest.raises(HubError, match=r"a\.json, line 1: what looks like your own token"):
        refuse_secrets({"a.json": b'{"note": "my-plain-token"}'}, "my-plain-token")
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"by": TOKEN})
    with pytest.raises(HubError, match=r"model\.safetensors, line 1: .* a Hugging Face token"):
        refuse_secrets({"model.safetensors": tmp_path / "model.safetensors"})


@pytest.mark.parametrize("kind", SECRETS)
def test_texts_of_parquet_files_are_looked_through(tmp_path: Path, kind: str) -> None:
    """Texts, lists of them and structures, in later row groups too, from a file and from memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, innocent = tmp_path / "train.parquet", ["7+5=12", None, "sk-learn"]
    for column, value in {
        "prompt": f"note {SECRETS[kind]} here",
        "completions": ["7+5=12", SECRETS[kind]],
        "settings": {"note": {"deep": SECRETS[kind]}} if kind != "named" else {"wandb_api_key": "0123456789abcdef"},
    }.items():
        empty = None if column != "completions" else ["fine"]
        rows = {"prompt": [*innocent, "x"], "n": [1, 2, 3, 4]} | {column: [None, None, value, empty]}
        pq.write_table(pa.table(rows), path, row_group_size=2)
        for content in (path, path.read_bytes()):
            with pytest.raises(HubError, match=rf"data\.parquet, row 3, column {column}: what looks like") as refusal:
                refuse_secrets({"data.parquet": content})
            assert SECRETS[kind] not in str(refusal.value)
    pq.write_table(pa.table({"prompt": innocent, "n": [1, 2, 3]}), path)
    refuse_secrets({"data.parquet": path})
    pq.write_table(pa.table({"n": [1]}).replace_schema_metadata({"by": SECRETS[kind]}), path)
    with pytest.raises(HubError, match=r"data\.parquet, its metadata: what looks like"):
        refuse_secrets({"data.parquet": path})
    with pytest.raises(HubError, match="no Parquet file, so that no secret could be looked for in it"):
        refuse_secrets({"data.parquet": b"PAR0"})


def test_what_only_resembles_a_secret_is_published(tmp_path: Path) -> None:
    innocent = (
        '{"hub_token": "<HUB_TOKEN>", "bos_token": "<|endoftext|>", "token": "hf_transfer", "password": ""}\n'
        "risk-averse sk-learn hf_hub_download https://host:8000/a@b data:text/csv;base64,AKIAabcd\n"
    )
    path = tmp_path / "tokenizer.json"
    path.write_text(innocent)
    refuse_secrets({"README.md": innocent.encode(), "tokenizer.json": path}, None, "")


def test_a_dry_run_shows_the_tree_with_sizes(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    result = push(directory, dry_run=True)
    *_, last = lines = str(result).splitlines()
    assert lines[0] == f"dry run: would push {len(result.files)} files to user/my-prm"
    assert [line.split()[1] for line in lines[1:]] == list(result.files)
    assert last.startswith("└── ") and last.endswith(" B")
    assert result.sizes["model.safetensors"] == (directory / "model.safetensors").stat().st_size
    assert logged_in.requests == []
