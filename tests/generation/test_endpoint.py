"""The endpoint generator: samples that depend on prompt and seed alone, each asked once, through the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, EndpointError, ModelError
from prm.generation.base import Completion, GenerationRequest, SamplingParams, request_seed
from prm.generation.endpoint import UNKNOWN_CONTEXT, EndpointGenerator, served_identity
from prm.generation.http_policy import EndpointSettings
from prm.ledger import Ledger, StreamsAnswers, generate_once
from prm.rollouts import StopReason
from prm.step_format import PromptFormat
from prm.worlds.arithmetic import make_problems, parse_chain

SAMPLING = SamplingParams(max_new_tokens=80)
PROBLEMS = [problem.problem for problem in make_problems(12, seed=0, split="train")]
# A timeout that a loaded machine keeps: what a server answers too late, it answers twice.
QUICK = {"backoff": 0.002, "max_backoff": 0.02, "request_timeout": 1.0, "max_retries": 30, "max_concurrency": 8}
Connect = Callable[..., EndpointGenerator]


@pytest.fixture
def connect(tokenizer_dir: Path) -> Connect:
    def make(*servers: Any, **changes: Any) -> EndpointGenerator:
        quick = {name: changes.pop(name, value) for name, value in QUICK.items()}
        settings = EndpointSettings(tuple(server.url for server in servers), **quick)
        options = {"served_model_name": "scripted", "tokenizer_name_or_path": str(tokenizer_dir)}
        return EndpointGenerator.connect(settings, "", PromptFormat(), **(options | changes))

    return make


def requests_of(generator: EndpointGenerator, n: int = 4) -> list[GenerationRequest]:
    return [
        GenerationRequest(tuple(generator.prompt_ids(problem)), request_seed(problem, "", index))
        for problem in PROBLEMS
        for index in range(n)
    ]


def contents(completions: list[Completion]) -> list[tuple[Any, ...]]:
    """All but the cost, which tells how the requests were grouped."""
    return [(c.token_ids, c.text, c.stop_reason) for c in completions]


def test_samples_are_the_servers_and_their_ids_decode_to_them(
    scripted_server: Callable[..., Any], connect: Connect, tokenizer: Any
) -> None:
    server = scripted_server()
    generator = connect(server, num_parameters=10)
    assert isinstance(generator, StreamsAnswers)
    assert (generator.name, generator.revision, generator.context_length) == ("scripted", "served", 512)
    requests = requests_of(generator)
    completions = generator.generate(requests, SAMPLING)
    for request, completion in zip(requests, completions, strict=True):
        prompt = tokenizer.decode(list(request.prompt_ids))
        assert completion.text == server.continuation(prompt, request.seed % 2**31)
        assert tokenizer.decode(list(completion.token_ids), skip_special_tokens=True) == completion.text
        assert completion.stop_reason is StopReason.EOS
        cost = completion.cost
        assert (cost.generated_tokens, cost.prefilled_tokens) == (len(completion.token_ids), len(request.prompt_ids))
        assert cost.flops == 20 * (cost.generated_tokens + cost.prefilled_tokens)
    assert len({completion.text for completion in completions}) > 20
    assert len(server.log.asked) == len(requests)


def test_a_stop_text_and_the_token_limit_end_samples(scripted_server: Callable[..., Any], connect: Connect) -> None:
    generator = connect(scripted_server())
    requests = requests_of(generator, n=1)
    for completion in generator.generate(requests, SamplingParams(max_new_tokens=80, stop=("\n",))):
        assert completion.stop_reason is StopReason.STOP
        assert completion.text.endswith("\n") and completion.text.count("\n") == 1
    for completion in generator.generate(requests, SamplingParams(max_new_tokens=3)):
        assert (completion.stop_reason, len(completion.token_ids)) == (StopReason.LENGTH, 3)


@pytest.mark.parametrize("lacking", [{"stop_kept": False}, {"ids": False}, {"stop_told": False}])
def test_servers_that_tell_less_give_the_same_samples(
    scripted_server: Callable[..., Any], connect: Connect, lacking: dict[str, bool]
) -> None:
    sampling = SamplingParams(max_new_tokens=80, stop=("\n",))
    whole, less = connect(scripted_server()), connect(scripted_server(**lacking))
    requests = requests_of(whole, n=2)
    for problem in PROBLEMS:  # what lacks the answer line alone ends by itself
        prefix = "\n".join([*parse_chain(problem).solution()[:-1], ""])
        requests.append(GenerationRequest(tuple(whole.prompt_ids(problem, prefix)), request_seed(problem, prefix, 0)))
    expected, got = whole.generate(requests, sampling), less.generate(requests, sampling)
    assert {c.stop_reason for c in expected} == {StopReason.STOP, StopReason.EOS}
    assert got == expected


def test_a_server_that_tells_neither_ids_nor_what_stopped_it_is_refused_with_stop_texts(
    scripted_server: Callable[..., Any], connect: Connect
) -> None:
    server = scripted_server(ids=False, stop_told=False, stop_kept=False)
    generator = connect(server)
    with pytest.raises(ConfigError, match="leave stop empty"):
        generator.generate(requests_of(generator), SamplingParams(max_new_tokens=80, stop=("\n",)))
    assert len(generator.generate(requests_of(generator), SAMPLING)) == 48


def test_choices_of_one_request_are_the_samples_of_separate_ones(
    scripted_server: Callable[..., Any], connect: Connect
) -> None:
    one, several = scripted_server(), scripted_server(fault_share=0.3)
    apart, grouped = connect(one), connect(several, choices_per_request=4)
    requests = requests_of(apart, n=8)
    assert contents(grouped.generate(requests, SAMPLING)) == contents(apart.generate(requests, SAMPLING))
    assert len(one.log.bodies) == 96
    assert {body["n"] for body in several.log.bodies} >= {4, 2}
    assert several.log.faults["fewer_choices"] and several.log.faults["empty_choices"]
    assert len(several.log.answered) == len(set(several.log.answered)) == 96


def test_with_faults_of_every_kind_nothing_is_lost_or_double(
    scripted_server: Callable[..., Any], connect: Connect, tmp_path: Path
) -> None:
    calm, wild = scripted_server(), [scripted_server(fault_share=0.3), scripted_server(fault_share=0.3)]
    generator = connect(*wild)
    requests = requests_of(generator, n=10)
    with Ledger(tmp_path / "wild.jsonl") as ledger:
        completions = generate_once(generator, requests, SAMPLING, ledger)
        assert len(ledger) == 120
    assert completions == connect(calm).generate(requests, SAMPLING)
    answered = wild[0].log.answered + wild[1].log.answered
    assert len(answered) == len(set(answered)) == 120
    assert wild[0].log.faults.keys() | wild[1].log.faults.keys() == set(wild[0].script.faults)
    assert sum(sum(server.log.faults.values()) for server in wild) > 30
    lines = (tmp_path / "wild.jsonl").read_bytes().split(b"\n")
    assert sum(line.startswith(b'{"key"') for line in lines) == 120


def test_an_answer_is_in_the_ledger_as_soon_as_it_is_there(
    scripted_server: Callable[..., Any], connect: Connect, tmp_path: Path
) -> None:
    server = scripted_server(delay_s=0.005)
    generator = connect(server, max_concurrency=2, max_retries=1)
    requests = requests_of(generator)
    seen: list[int] = []

    def watch(count: int) -> None:
        seen.append(count)
        assert sum(seen) == len(ledger)
        if sum(seen) > 20:
            server.script.fault_share, server.script.faults = 1.0, ["status_500"]

    with Ledger(tmp_path / "ledger.jsonl") as ledger, pytest.raises(EndpointError, match="What was finished is kept"):
        generate_once(generator, requests, SAMPLING, ledger, watch)
    finished = list(server.log.answered)
    assert len(seen) > 5 and 20 < len(finished) < 30
    server.script.fault_share = 0.0
    server.log.asked.clear()
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert len(ledger) == len(finished)
        again = generate_once(generator, [*requests, requests[0]], SAMPLING, ledger)
    assert not set(server.log.asked) & set(finished)
    assert len(server.log.asked) == 48 - len(finished)
    assert again[-1] == again[0]
    assert again[:-1] == connect(scripted_server()).generate(requests, SAMPLING)


def test_exact_counts_outlive_the_ledger_where_ids_are_encoded_here(
    scripted_server: Callable[..., Any], connect: Connect, tmp_path: Path
) -> None:
    generator = connect(scripted_server(ids=False, cached=True))
    requests = requests_of(generator, n=1)
    asked: list[Completion] = []
    for _ in range(2):
        with Ledger(tmp_path / "ledger.jsonl") as ledger:
            asked += generate_once(generator, requests, SAMPLING, ledger)
    assert asked[:12] == asked[12:] == generator.generate(requests, SAMPLING)
    cached = len(requests[0].prompt_ids) // 16 * 16
    assert asked[0].cost.cached_tokens == cached
    assert asked[0].cost.prefilled_tokens == len(requests[0].prompt_ids) - cached


def test_several_workers_are_refused(scripted_server: Callable[..., Any], connect: Connect, tmp_path: Path) -> None:
    generator = connect(scripted_server())
    with Ledger(tmp_path / "ledger.jsonl") as ledger, pytest.raises(ConfigError, match="--num_workers 1"):
        generate_once(generator, requests_of(generator), SAMPLING, ledger, workers=2)


def test_the_context_is_the_servers_and_a_prompt_that_fills_it_is_not_asked(
    scripted_server: Callable[..., Any], connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    server = scripted_server(max_model_len=12)
    generator = connect(server)
    requests = [GenerationRequest(ids, 0) for ids in [(), tuple(generator.prompt_ids("7a+5")), (24,) * 12]]
    completions = generator.generate(requests, SAMPLING)
    assert [c.stop_reason for c in completions] == [StopReason.LENGTH] * 3
    assert [len(c.token_ids) for c in completions] == [0, 7, 0]
    assert server.log.bodies[0]["max_tokens"] == 7
    with caplog.at_level(logging.WARNING):
        assert connect(scripted_server(paths=["/v1/completions"])).context_length == UNKNOWN_CONTEXT
    assert "set context_length" in caplog.text
    assert connect(scripted_server(), context_length=77).context_length == 77


def test_a_chat_endpoint_is_refused_with_the_reason(scripted_server: Callable[..., Any], connect: Connect) -> None:
    generator = connect(scripted_server(paths=["/v1/models", "/v1/chat/completions"]))
    with pytest.raises(ConfigError, match=r"serves 'scripted' through the chat API alone.*can serve the judge"):
        generator.generate(requests_of(generator), SAMPLING)


def test_an_unknown_model_is_told_in_the_servers_words(scripted_server: Callable[..., Any], connect: Connect) -> None:
    generator = connect(scripted_server(), served_model_name="other")
    with pytest.raises(EndpointError, match=r"The model `other` does not exist.*--served_model_name"):
        generator.generate(requests_of(generator), SAMPLING)


def test_prefixes_of_one_problem_meet_on_one_server(scripted_server: Callable[..., Any], connect: Connect) -> None:
    servers = [scripted_server(delay_s=0.002) for _ in range(2)]
    generator = connect(*servers, max_concurrency=2)
    requests = [
        GenerationRequest(tuple(generator.prompt_ids(problem, prefix)), request_seed(problem, prefix, 0))
        for problem in [f"{i}a+1b+2c+3d+4e+5f+6g+7h+8i-1j-1k-1" for i in range(10, 50)]
        for prefix in ("", "a1+1=2\n", "a1+1=2\nb2+2=4\n")
    ]
    generator.generate(requests, SAMPLING)
    homes: dict[str, set[str]] = {}
    for server in servers:
        for ids, _ in server.log.asked:
            homes.setdefault(generator.tokenizer.decode(list(ids)).partition("\n")[0], set()).add(server.url)
    assert len(homes) == 40
    assert sum(len(home) == 1 for home in homes.values()) >= 25  # chance: 10; some are taken over at the end


def test_what_all_prompts_begin_with_does_not_decide_on_the_server(connect: Connect, scripted_server: Any) -> None:
    plain = connect(scripted_server())
    shared = EndpointGenerator(
        plain.client, plain.tokenizer, PromptFormat("Solve this step by step: {problem}\n"), served_name="scripted"
    )
    assert shared._affine_tokens - plain._affine_tokens == len("Solve this step by step: ")


def test_what_identifies_a_served_model(tokenizer_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    name, revision = served_identity(str(tmp_path))
    assert (name, len(revision)) == (tmp_path.name, 12)
    assert served_identity(str(tmp_path), str(tokenizer_dir)) == (name, revision)
    hosted = "accounts/them/models/theirs"
    assert served_identity(hosted, str(tokenizer_dir)) == (hosted, "served")


def test_a_missing_tokenizer_is_named(scripted_server: Callable[..., Any], connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer can be loaded from it"):
        connect(scripted_server(), tokenizer_name_or_path=str(tmp_path))
