"""What a push refuses, when, and what it says; over HTTP to the Hub on loopback, in this process.

The snippets are not run here (tests/hub/test_push.py runs them); everything else is the real path.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, DataError, HubError, MissingFileError, PrmError
from prm.fingerprint import fingerprint
from prm.hub import PushConfig, run_push
from prm.hub_upload import with_namespace

READER, ELSEWHERE = "hf_reader", "hf_elsewhere"  # these are of tests/hub/conftest.py
DROPPED, TORN = 0, -1


def push(directory: Path, **changes: Any) -> Any:
    return run_push(PushConfig(**{"model": str(directory), "repo_id": "user/my-prm", **changes}))


def test_without_a_token_it_says_how_to_log_in_before_anything_runs(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("prm.cards.snippet.execute", lambda *_, **__: pytest.fail("a snippet ran"))
    with pytest.raises(HubError, match="log in with `hf auth login`, or set HF_TOKEN"):
        push(tiny_verifier_dir())
    assert logged_in.requests == []


def test_a_dry_run_needs_no_token_and_sends_nothing(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = push(tiny_verifier_dir(), dry_run=True)
    assert "README.md" in result.files and result.url == "" and "# my-prm" in result.card
    assert logged_in.requests == []


def test_a_token_that_is_unknown_is_refused_before_the_snippets(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    monkeypatch.setattr("prm.cards.snippet.execute", lambda *_, **__: pytest.fail("a snippet ran"))
    with pytest.raises(HubError, match=r"does not know the token \(401"):
        push(tiny_verifier_dir())


def test_a_token_that_may_not_write_is_a_403_with_the_remedy(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", ELSEWHERE)
    with pytest.raises(HubError, match=r"may not write to user/my-prm \(403.*write access") as refusal:
        push(tiny_verifier_dir())
    assert "\n" not in str(refusal.value)
    assert logged_in.repos == {}


def test_a_token_for_reading_is_refused_before_the_snippets(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    monkeypatch.setattr("prm.cards.snippet.execute", lambda *_, **__: pytest.fail("a snippet ran"))
    with pytest.raises(HubError, match=r"may not write to user/my-prm: it is for reading alone\. Make one with write"):
        push(tiny_verifier_dir())
    assert logged_in.seen("whoami") and not logged_in.seen("POST")


@pytest.mark.parametrize(
    ("described", "may"),
    [
        ({"role": "write"}, True),
        ({}, True),  # a Hub that says nothing of it
        ({"role": "fineGrained"}, True),
        ({"role": "fineGrained", "fineGrained": {"scoped": [{"permissions": ["repo.content.read"]}]}}, False),
        ({"role": "fineGrained", "fineGrained": {"scoped": [{}, {"permissions": ["repo.write"]}]}}, True),
    ],
)
def test_which_tokens_may_write_somewhere(described: dict[str, Any], may: bool) -> None:
    class Api:
        def whoami(self) -> dict[str, Any]:
            return {"name": "user", "auth": {"accessToken": described}}

    if may:
        assert with_namespace(Api(), "my-prm") == "user/my-prm"  # type: ignore[arg-type]
    else:
        with pytest.raises(HubError, match="for reading alone"):
            with_namespace(Api(), "my-prm")  # type: ignore[arg-type]


def test_a_repository_made_by_someone_else_meanwhile_is_a_409(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    logged_in.faults["POST /api/repos/create"] = [409]
    with pytest.raises(HubError, match=r"by someone else during the push \(409.*again"):
        push(tiny_verifier_dir())


@pytest.mark.parametrize("status", [409, 412])
def test_a_commit_by_someone_else_meanwhile_is_said_and_changes_nothing(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], status: int
) -> None:
    directory = tiny_verifier_dir()
    logged_in.faults["/commit/main"] = [status]
    with pytest.raises(HubError, match=rf"changed by someone else during the push \({status}.*Run the command again"):
        push(directory)
    assert logged_in.repos["user/my-prm"].files == {}
    push(directory)
    assert "model.safetensors" in logged_in.repos["user/my-prm"].files


def test_a_push_that_breaks_in_the_middle_goes_on_with_the_shards_that_are_missing(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir()
    size = (directory / "model.safetensors").stat().st_size // 4
    push(directory, repo_id="user/first", max_shard_size=f"{size}B")
    shards = [request.split("/")[-1] for request in logged_in.seen("^PUT /lfs/")]
    assert len(shards) > 2
    logged_in.blobs.clear()
    logged_in.faults[f"PUT /lfs/{shards[-1]}"] = [0] * 20
    with pytest.raises(HubError, match="run the same command again"):
        push(directory, max_shard_size=f"{size}B")
    assert logged_in.repos["user/my-prm"].files == {}
    arrived = set(logged_in.blobs) & set(shards)
    assert arrived and shards[-1] not in arrived
    logged_in.faults.clear()
    logged_in.requests.clear()
    push(directory, max_shard_size=f"{size}B")
    assert {request.split("/")[-1] for request in logged_in.seen("^PUT /lfs/")} == set(shards) - arrived
    assert len(logged_in.repos["user/my-prm"].commits) == 2


@pytest.mark.parametrize("fault", [DROPPED, TORN, 500], ids=["unanswered", "torn", "500"])
def test_a_large_file_goes_in_parts_and_one_that_is_lost_on_the_way_is_sent_again(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], fault: int
) -> None:
    directory = tiny_verifier_dir()
    weights = (directory / "model.safetensors").read_bytes()
    logged_in.part_size = len(weights) // 4
    logged_in.faults[r"PUT /lfs/\w+/3$"] = [fault, fault]
    push(directory)
    assert logged_in.repos["user/my-prm"].files["model.safetensors"] == weights
    sent = [int(request.rsplit("/")[-1]) for request in logged_in.seen(r"^PUT /lfs/\w+/\d+$")]
    assert sent == [1, 2, 3, 3, 3, 4, 5][: len(sent)] and len(sent) == -(-len(weights) // logged_in.part_size) + 2
    assert len(logged_in.seen("^POST /lfs/.*/complete$")) == 1 and not logged_in.seen(r"^PUT /lfs/\w+$")


def test_shards_in_parts_break_in_the_middle_and_only_the_missing_ones_are_sent_again(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir()
    size = (directory / "model.safetensors").stat().st_size // 4
    logged_in.part_size = size // 3
    push(directory, repo_id="user/first", max_shard_size=f"{size}B")
    objects = {request.split("/")[2] for request in logged_in.seen("^PUT /lfs/")}
    whole = dict(logged_in.repos["user/first"].files)
    (broken,) = {request.split("/")[2] for request in logged_in.seen("^POST /lfs/.*/complete$")[-1:]}
    assert len(objects) > 2
    logged_in.blobs.clear()
    logged_in.parts.clear()
    logged_in.faults[f"PUT /lfs/{broken}/2"] = [TORN] * 20
    with pytest.raises(HubError, match="run the same command again"):
        push(directory, max_shard_size=f"{size}B")
    assert logged_in.repos["user/my-prm"].files == {} and broken not in logged_in.blobs
    arrived = set(logged_in.blobs) & objects
    logged_in.faults.clear()
    logged_in.requests.clear()
    push(directory, max_shard_size=f"{size}B")
    assert arrived and {request.split("/")[2] for request in logged_in.seen("^PUT /lfs/")} == objects - arrived
    published = logged_in.repos["user/my-prm"].files
    assert all(published[name] == content for name, content in whole.items() if name.endswith(".safetensors"))


@pytest.mark.parametrize(("is_private", "asked"), [(True, False), (False, True)])
def test_the_visibility_of_an_existing_repository_is_never_changed(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], is_private: bool, asked: bool
) -> None:
    logged_in.add_repo("user/my-prm", {"notes.txt": b"x"}, private=is_private)
    directory = tiny_verifier_dir()
    with pytest.raises(HubError, match="A push never changes that"):
        push(directory, private=asked)
    assert logged_in.repos["user/my-prm"].files == {"notes.txt": b"x"}
    push(directory)
    push(directory, private=is_private)
    assert logged_in.repos["user/my-prm"].private is is_private


def test_a_second_push_replaces_the_verifier_and_keeps_foreign_files(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    names = ("model-00001-of-00002.safetensors", "adapter_config.json", "scoring_spec.json", "notes.txt")
    old = dict.fromkeys(names, b"old")
    logged_in.add_repo("user/my-prm", old)
    result = push(tiny_verifier_dir())
    repo = logged_in.repos["user/my-prm"]
    assert set(repo.files) == {*result.files, "notes.txt"}
    assert result.commit == repo.sha and result.url == f"{logged_in.url}/user/my-prm"


def test_a_name_that_holds_another_model_is_taken(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    logged_in.add_repo("user/my-prm", {"model.safetensors": b"another", "README.md": b"mine"})
    directory = tiny_verifier_dir()
    with pytest.raises(HubError, match=r"the name user/my-prm is taken: it holds model\.safetensors.*overwrite true"):
        push(directory)
    assert logged_in.repos["user/my-prm"].files["model.safetensors"] == b"another"
    push(directory, overwrite=True)
    assert "scoring_spec.json" in logged_in.repos["user/my-prm"].files


def test_a_new_repository_of_an_organisation_is_as_private_as_it_asks(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    logged_in.private_organisations.add("acme")
    directory = tiny_verifier_dir()
    for repo_id in ("acme/my-prm", "user/my-prm"):
        push(directory, repo_id=repo_id)
    push(directory, repo_id="acme/shown", private=False)
    assert {name: repo.private for name, repo in logged_in.repos.items()} == {
        "acme/my-prm": True,
        "user/my-prm": False,
        "acme/shown": False,
    }


def test_a_slow_hub_is_waited_for(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    logged_in.delays = {"PUT /lfs/": 0.5, "/commit/main": 0.5}
    result = push(tiny_verifier_dir())
    assert set(logged_in.repos["user/my-prm"].files) == set(result.files)
    assert len(logged_in.seen("^PUT /lfs/")) == 1 and len(logged_in.seen("/commit/main")) == 1


@pytest.mark.parametrize("status", [408, 502, 503, 504])
def test_an_upload_that_a_slow_hub_gives_up_is_tried_again(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], status: int
) -> None:
    logged_in.faults["PUT /lfs/"] = [status]
    push(tiny_verifier_dir())
    assert "model.safetensors" in logged_in.repos["user/my-prm"].files


def test_an_unchanged_verifier_is_not_sent_again(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    first, second = push(directory), push(directory)
    assert first.commit == second.commit
    assert len(logged_in.seen("^PUT /lfs/")) == 1 and len(logged_in.seen("/commit/main")) == 1
    assert str(first).startswith("pushed ") and "already: nothing was pushed" in str(second)


def test_an_upload_whose_connection_drops_is_tried_again(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    logged_in.faults["PUT /lfs/"] = [0]
    push(tiny_verifier_dir())
    assert len(logged_in.seen("^PUT /lfs/")) == 2
    assert "model.safetensors" in logged_in.repos["user/my-prm"].files


def test_a_commit_whose_connection_drops_leaves_nothing_and_can_be_repeated(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir()
    logged_in.faults["POST .*/commit/main"] = [0]
    with pytest.raises(HubError, match=r"the exchange .* failed.*run the same command again"):
        push(directory)
    assert logged_in.repos["user/my-prm"].files == {}
    push(directory)
    assert "model.safetensors" in logged_in.repos["user/my-prm"].files
    assert len(logged_in.seen("^PUT /lfs/")) == 1  # the weights had arrived already


def test_a_hub_that_is_down_or_breaks_is_one_message(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged_in.faults["preupload"] = [500] * 6
    with pytest.raises(HubError, match=r"the Hub refused the push to user/my-prm \(500"):
        push(tiny_verifier_dir())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="check the connection"):
        push(tiny_verifier_dir())


@pytest.mark.parametrize("repo_id", ["a/b/c", "user/..", "user/has space", "", "user/-x"])
def test_a_name_the_hub_would_not_take_is_refused(repo_id: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be a repository's name"):
        push(tmp_path, repo_id=repo_id)


def test_what_is_no_verifier_is_refused(tiny_verifier_dir: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such directory"):
        push(tmp_path / "nowhere")
    with pytest.raises(HubError, match=r"not a verifier: it has no scoring_spec\.json"):
        push(tmp_path)
    directory = tiny_verifier_dir()
    (directory / "model.safetensors").rename(directory / "weights.safetensors")
    with pytest.raises(HubError, match="no safetensors weights"):
        push(directory)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "head.pkl", "model.pth"])
def test_pickles_are_refused(tiny_verifier_dir: Callable[..., Path], name: str) -> None:
    directory = tiny_verifier_dir()
    (directory / name).write_bytes(b"x")
    with pytest.raises(HubError, match=f"{name} is a pickle"):
        push(directory)


def test_damaged_weights_are_refused(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    weights = directory / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-5], whole[:100], b"", b"\xff" * 64):
        weights.write_bytes(damaged)
        with pytest.raises(DataError, match=r"model\.safetensors"):
            push(directory)
    weights.rename(directory / "model-00001-of-00002.safetensors")
    (directory / "model-00001-of-00002.safetensors").write_bytes(whole)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(HubError, match=r"lacks the weight file model-00002-of-00002\.safetensors"):
        push(directory)


def test_a_base_is_named_only_if_the_hub_has_it(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    logged_in.add_repo("user/base", {})
    known, unknown = (push(tiny_verifier_dir(base_model=name)).card for name in ("user/base", "runs/base"))
    assert "\nbase_model: user/base\n" in known
    assert "\nbase_model:" not in unknown and "**Trained from:** `base`" in unknown


def test_an_adapter_of_a_local_base_needs_the_bases_name(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir()
    (directory / "model.safetensors").rename(directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(directory)}))
    with pytest.raises(HubError, match=r"is an adapter of .* which nobody else can load"):
        push(directory)
    with pytest.raises(ConfigError, match="is not a repository on the Hub"):
        push(directory, base_model=str(directory))


def test_an_implicit_verifier_needs_a_reference_that_others_can_load(
    tiny_verifier_dir: Callable[..., Path],
) -> None:
    directory = tiny_verifier_dir(head="implicit")
    with pytest.raises(HubError, match=r"scores by its log-ratio to .* which nobody else can load"):
        run_push(PushConfig(model=str(directory), repo_id="user/name", dry_run=True))


def test_numbers_of_other_weights_are_not_published(
    logged_in: Any, tiny_verifier_dir: Callable[..., Path], tmp_path: Path
) -> None:
    measured, other = tiny_verifier_dir(seed=0), tiny_verifier_dir(seed=1)  # with one scoring spec
    facts = {"kind": "prm", "control": False, "fingerprint": fingerprint(measured), "quality": {}}
    run = {"version": 1, "dataset": "x", "num_problems": 1, "baseline": "majority", "methods": [], "n": 4}
    (tmp_path / "results.json").write_text(json.dumps({**run, "verifiers": {"prm": facts}}))
    assert "eval_results.json" in push(measured, eval_results=str(tmp_path), dry_run=True).files
    with pytest.raises(HubError, match="measured other weights; run `prm eval` again"):
        push(other, eval_results=str(tmp_path), dry_run=True)


def test_half_an_example_is_refused(logged_in: Any, tiny_verifier_dir: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="together or not at all"):
        push(tiny_verifier_dir(), example_problem="1+1")


def test_the_command_line_prints_one_message_and_exits_with_2(hub_python: Callable[..., Any], tmp_path: Path) -> None:
    done = hub_python("-m", "prm.cli", "push", "--model", str(tmp_path), "--repo_id", "user/x")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    done = hub_python("-m", "prm.cli", "push", "--model", "x", "--repo_idd", "user/x")
    assert done.returncode == 2 and "did you mean 'repo_id'" in done.stderr


def test_every_refusal_is_an_error_the_user_can_mend() -> None:
    assert issubclass(HubError, PrmError) and issubclass(HubError, RuntimeError)
