"""A verifier on a pooling server scores as the same weights do here, and says what is wrong with a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, EndpointError, FormatError, ModelError
from prm.generation.http_policy import EndpointSettings
from prm.remote_verifier import RemoteVerifier, split_url
from prm.verifier import Verifier

ITEMS = [
    ("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9"]),
    ("9a*2", ["a9*2=18"]),
    ("9a*2", ["a9*2=18", "A: 18"]),
    ("7a+5b-3", ["a7+5=12", "b12-3=10", "A: 10"]),
]


def pooling_of(verifier: Verifier) -> Callable[[str, list[int]], Any]:
    """What vLLM computes: softmax or sigmoid of the stock model's logits, of each token or of the last."""
    import torch

    def pool(task: str, ids: list[int]) -> Any:
        with torch.inference_mode():
            logits = verifier.model(input_ids=torch.tensor([ids])).logits[0].float()
        if task == "classify":
            return logits.sigmoid().flatten().tolist()
        return logits.softmax(-1).tolist()

    return pool


@pytest.fixture
def serve(scripted_server: Callable[..., Any]) -> Callable[..., Any]:
    def start(directory: Path, **script: Any) -> tuple[Any, Verifier]:
        local = Verifier.from_pretrained(directory, device="cpu")
        return scripted_server(pooling=pooling_of(local), **script), local

    return start


def connect(server: Any, directory: Path, **settings: Any) -> RemoteVerifier:
    quick = {"backoff": 0.01, "max_backoff": 0.05, "request_timeout": 2.0}
    return RemoteVerifier.connect(EndpointSettings((server.url,), **{**quick, **settings}), str(directory))


@pytest.mark.parametrize(("kind", "head"), [("prm", "token_classification"), ("orm", "sequence_classification")])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_served_scores_equal_those_of_the_same_weights_here(
    serve: Callable[..., Any], tiny_verifier_dir: Callable[..., Path], kind: str, head: str, temperature: float
) -> None:
    directory = tiny_verifier_dir(kind=kind, head=head, temperature=temperature)
    server, local = serve(directory)
    remote = connect(server, directory)
    done: list[int] = []
    found, expected = remote.score_solutions(ITEMS, done.append), local.score_solutions(ITEMS)
    for item, one, other in zip(ITEMS, found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        whole = len(local.encode(*item).input_ids)  # a server reads every solution by itself
        assert (one.tokens, one.attended) == (whole, whole * (whole + 1) // 2)
    assert sum(done) == len(ITEMS) == len(server.log.bodies)
    assert remote.num_parameters == local.num_parameters
    assert {body["task"] for body in server.log.bodies} == {"classify" if kind == "orm" else "token_classify"}


def test_faults_of_a_server_are_asked_again(serve: Callable[..., Any], tiny_verifier_dir: Callable[..., Path]) -> None:
    faults = ("status_500", "status_429", "cut_body", "reset", "not_json", "error_in_200")
    directory = tiny_verifier_dir()
    server, local = serve(directory, fault_share=0.3, faults=faults)
    items = [(f"{number}a+5", [f"a{number}+5={number + 5}"]) for number in range(10, 40)]
    found = connect(server, directory).score_solutions(items)
    assert sum(server.log.faults.values()) > 5
    scores = [one.scores[0] for one in found]
    assert scores == pytest.approx([one.scores[0] for one in local.score_solutions(items)], abs=1e-5)


def test_a_solution_longer_than_the_server_takes_is_not_asked(
    serve: Callable[..., Any], tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir()
    server, _ = serve(directory, max_model_len=20)
    remote = connect(server, directory)
    with pytest.raises(FormatError, match="longer than the 20 that the server takes"):
        remote.score_solutions(ITEMS)
    assert not server.log.bodies
    assert len(remote.score_solutions([("9a*2", ["a9*2=18"])])) == 1


def test_scores_of_a_part_of_the_tokens_are_refused(
    scripted_server: Callable[..., Any], tiny_verifier_dir: Callable[..., Path]
) -> None:
    server = scripted_server(pooling=lambda task, ids: [[0.5, 0.5]] * (len(ids) - 16))
    with pytest.raises(EndpointError, match="--no-enable-prefix-caching"):
        connect(server, tiny_verifier_dir()).score_solutions(ITEMS)


def test_what_is_no_probability_is_not_taken_for_a_score(
    scripted_server: Callable[..., Any], tiny_verifier_dir: Callable[..., Path]
) -> None:
    server = scripted_server(pooling=lambda task, ids: [[-3.2, 4.1]] * len(ids))
    with pytest.raises(EndpointError, match="is no probability"):
        connect(server, tiny_verifier_dir(), max_retries=1).score_solutions(ITEMS)


@pytest.mark.parametrize("head", ["reward_tokens", "implicit"])
def test_heads_that_no_pooling_server_has_are_refused(
    scripted_server: Callable[..., Any], tiny_verifier_dir: Callable[..., Path], head: str
) -> None:
    with pytest.raises(ModelError, match=f"is read with a {head} head; give its directory"):
        connect(scripted_server(), tiny_verifier_dir(head=head))


def test_a_url_names_servers_and_the_place_of_the_spec() -> None:
    assert split_url("runs/prm") is None
    assert split_url("http://a:1#runs/prm") == (("http://a:1",), "runs/prm")
    assert split_url("http://a:1,http://b:2/v1#user/model") == (("http://a:1", "http://b:2/v1"), "user/model")
    with pytest.raises(ConfigError, match="needs its scoring spec and tokenizer: http://a:1#PLACE"):
        split_url("http://a:1")
