"""The judge: marks that become labels, votes that decide nothing kept apart, and no vote asked twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.judge import JudgeLabeler, JudgeOptions, build_judge, judge_settings, vote_record
from prm.data_gen.verdicts import VERDICT_SCHEMA, JudgeTemplate, VerdictStatus

from prm.errors import ConfigError, EndpointError
from prm.generation.http_client import HttpClient
from prm.generation.http_policy import EndpointSettings, FailedAttempt
from prm.labels import LabelledRollout
from prm.ledger import Ledger
from prm.problems import Problem
from prm.rollouts import Cost, Rollout, StopReason
from prm.worlds.arithmetic import careless_solution, step_truth

# A timeout that a loaded machine keeps: what a server answers too late, it answers twice.
QUICK = {"backoff": 0.002, "max_backoff": 0.02, "request_timeout": 1.0, "max_retries": 30, "max_concurrency": 8}
Judge = Callable[..., JudgeLabeler]


def solution(seed: int) -> Rollout:
    problem, steps = careless_solution(4, 0.25, random.Random(seed))
    texts = tuple(step.written for step in steps)
    gaps = ("", *["\n"] * (len(texts) - 1), "")
    return Rollout(Problem(problem, "999", f"p{seed}"), texts, gaps, 0, StopReason.EOS, "test")


ROLLOUTS = [solution(seed) for seed in range(24)]


@pytest.fixture
def judge() -> Judge:
    def make(server: Any, **changes: Any) -> JudgeLabeler:
        quick = {name: changes.pop(name, value) for name, value in QUICK.items()}
        options: dict[str, Any] = {"model": "scripted", "template": JudgeTemplate.load()}
        return JudgeLabeler(HttpClient(EndpointSettings((server.url,), **quick)), **(options | changes))

    return make


def marks(labelled: list[LabelledRollout]) -> list[list[float | None]]:
    return [[label.value for label in row.labels] for row in labelled]


def test_marks_become_labels(scripted_server: Callable[..., Any], judge: Judge) -> None:
    server = scripted_server()
    labeler = judge(server)
    labelled = labeler.label(ROLLOUTS)
    assert [row.rollout for row in labelled] == ROLLOUTS
    truth = [step_truth(rollout.problem.problem, rollout.steps) for rollout in ROLLOUTS]
    assert marks(labelled) == [[float(right) for right in row] for row in truth]
    assert {label.hard for row in labelled for label in row.labels} == {0, 1}
    assert all(label.source == "judge" and label.n_total == 0 for row in labelled for label in row.labels)
    prompt = server.log.judged[0][0]
    assert sum(row.cost.prefilled_tokens for row in labelled) == sum(len(text) // 4 for text, _ in server.log.judged)
    assert all(row.cost.generated_tokens > 0 and row.cost.flops == 0 for row in labelled)
    assert "reference" not in prompt and "999" not in prompt
    body = server.log.bodies[0]
    assert body["response_format"]["json_schema"]["schema"] == VERDICT_SCHEMA
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("scripted", 4096, 0.0)
    assert labeler.summary()["votes"] == {
        **{"decided": 24, "refused": 0, "truncated": 0, "unparsable": 0, "contradictory": 0}
    }


def test_the_majority_of_votes_errs_less_than_one(scripted_server: Callable[..., Any], judge: Judge) -> None:
    server = scripted_server(judge_slip=0.25)
    truth = [right for rollout in ROLLOUTS for right in step_truth(rollout.problem.problem, rollout.steps)]

    def errors(n_votes: int) -> int:
        labeler = judge(server, n_votes=n_votes, temperature=0.7)
        labelled = labeler.label(ROLLOUTS)
        assert all(len(verdicts) == n_votes for verdicts in labeler.verdicts)
        assert {value * n_votes % 1 for row in marks(labelled) for value in row if value is not None} == {0.0}
        hard = [label.hard for row in labelled for label in row.labels]
        return sum(mark != right for mark, right in zip(hard, truth, strict=True))

    assert errors(5) < 0.7 * errors(1)
    assert len({seed for _, seed in server.log.judged}) == 24 * 5  # a vote more repeats none


def test_votes_that_decide_nothing_are_kept_apart_with_their_text(
    scripted_server: Callable[..., Any], judge: Judge, tmp_path: Path
) -> None:
    says = [
        *(None, {"refusal": "I would rather not."}, {"content": '{"steps": [', "finish_reason": "length"}),
        *({"content": "All fine!"}, {"content": '{"steps": [], "first_error": 2}'}),
        {"content": json.dumps({"steps": [{"index": 0, "reason": "", "correct": False}], "first_error": 3})},
    ]
    server = scripted_server(judge_says=says)
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        labeler = judge(server, ledger=ledger, max_concurrency=1)
        labelled = labeler.label(ROLLOUTS[:12])
    assert labeler.summary() == {
        **{"model": "scripted", "n_votes": 1, "unanimous_share": 2 / 12},
        "votes": {"decided": 2, "refused": 2, "truncated": 2, "unparsable": 4, "contradictory": 2},
    }
    for row, (verdict,) in zip(labelled, labeler.verdicts, strict=True):
        decided = verdict.status is VerdictStatus.DECIDED
        assert all((label.value is not None) == decided for label in row.labels)
        assert all((label.hard is not None) == decided for label in row.labels)
        assert all(label.n_undecided == (not decided) for label in row.labels)
    kept = (tmp_path / "ledger.jsonl").read_text()
    assert kept.count("I would rather not.") == kept.count("All fine!") == 2
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        again = judge(server, ledger=ledger)
        assert again.label(ROLLOUTS[:12]) == labelled
    assert len(server.log.judged) == 12  # they are answers, and not asked again


def test_a_vote_that_decides_nothing_leaves_the_others_theirs(
    scripted_server: Callable[..., Any], judge: Judge
) -> None:
    server = scripted_server(judge_says=[None, {"refusal": "no"}, None])
    labeler = judge(server, n_votes=3, temperature=0.5, max_concurrency=1)
    [labelled] = labeler.label(ROLLOUTS[:1])
    assert marks([labelled]) == [
        [float(right) for right in step_truth(ROLLOUTS[0].problem.problem, ROLLOUTS[0].steps)]
    ]
    assert {label.n_undecided for label in labelled.labels} == {1}
    assert labeler.summary()["unanimous_share"] == 0


def test_faults_lose_no_vote_and_a_second_run_asks_none(
    scripted_server: Callable[..., Any], judge: Judge, tmp_path: Path
) -> None:
    calm, wild = scripted_server(judge_slip=0.2), scripted_server(judge_slip=0.2, fault_share=0.3)
    expected = judge(calm, n_votes=3, temperature=1.0).label(ROLLOUTS)
    seen: list[int] = []
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        got = judge(wild, n_votes=3, temperature=1.0, ledger=ledger, progress=seen.append).label(ROLLOUTS)
        assert len(ledger) == 72
    assert got == expected
    assert sum(seen) == 72
    assert len(wild.log.judged) == len(set(wild.log.judged)) == 72
    assert sum(wild.log.faults.values()) > 15
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert judge(wild, n_votes=3, temperature=1.0, ledger=ledger).label(ROLLOUTS) == expected
        assert len(wild.log.judged) == 72
        judge(wild, n_votes=4, temperature=1.0, ledger=ledger).label(ROLLOUTS)
    assert len(set(wild.log.judged)) == len(wild.log.judged) == 96  # a vote more on each, and none anew


def test_votes_from_before_an_error_are_kept(
    scripted_server: Callable[..., Any], judge: Judge, tmp_path: Path
) -> None:
    server = scripted_server()

    class FailsSoon(list[tuple[str, int]]):
        """The server's log, by which it fails itself: whoever watched it from outside might come too late."""

        def append(self, vote: tuple[str, int]) -> None:
            super().append(vote)
            if len(self) == 9:
                server.script.fault_share, server.script.faults = 1.0, ["status_500"]

    server.log.judged = FailsSoon()
    patient = {"request_timeout": 60.0, "max_concurrency": 1, "max_retries": 2}
    with Ledger(tmp_path / "ledger.jsonl") as ledger, pytest.raises(EndpointError, match="What was finished is kept"):
        judge(server, ledger=ledger, **patient).label(ROLLOUTS)
    assert len(server.log.judged) == 9
    server.script.fault_share = 0.0
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        assert len(ledger) == 9
        judge(server, ledger=ledger, request_timeout=60.0).label(ROLLOUTS)
    assert len(set(server.log.judged)) == len(server.log.judged) == 24


def test_equal_solutions_are_judged_once_at_the_cost_of_the_first(
    scripted_server: Callable[..., Any], judge: Judge
) -> None:
    server = scripted_server()
    first, second, other = judge(server).label([ROLLOUTS[0], ROLLOUTS[0], ROLLOUTS[1]])
    assert first.labels == second.labels
    assert first.cost.generated_tokens and other.cost.generated_tokens
    assert second.cost == Cost()
    assert len(server.log.judged) == 2


def test_another_question_is_another_vote(scripted_server: Callable[..., Any], judge: Judge, tmp_path: Path) -> None:
    server = scripted_server()
    path = tmp_path / "prompt.j2"
    path.write_text(
        '{{ problem }}{% for step in steps %}<step index="{{ loop.index0 }}">{{ step }}</step>{% endfor %}'
    )
    changes: list[dict[str, Any]] = [
        *({}, {"seed": 1}, {"temperature": 0.5}, {"max_tokens": 99}, {"sees_answer": True}),
        {"template": JudgeTemplate.load(path)},
    ]
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        for count, change in enumerate([*changes, {}], start=1):
            judge(server, ledger=ledger, **change).label(ROLLOUTS[:1])
            assert len(ledger) == min(count, len(changes))
    assert sum("<reference_answer>\n999\n" in prompt for prompt, _ in server.log.judged) == 1


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"choices": []}, "not an answer"),
        ({"choices": [{"finish_reason": "stop"}]}, "not an answer"),
        ([], "not an answer"),
        ({"choices": [{"message": {"content": "a"}}]}, "unfinished choice"),
        ({"choices": [{"message": {"content": ["a"]}, "finish_reason": "stop"}]}, "malformed choice"),
    ],
)
def test_what_is_no_chat_completion_is_a_failed_attempt(answer: Any, complaint: str) -> None:
    with pytest.raises(FailedAttempt, match=complaint):
        vote_record(answer)


def test_tokens_are_counted_from_the_usage_and_texts_are_writable() -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 32}}
    choice = {"message": {"content": "half a \ud83d character"}, "finish_reason": "stop"}
    record = vote_record({"choices": [choice], "usage": usage})
    assert (record["generated"], record["prefilled"], record["cached"]) == (7, 18, 32)
    assert record["text"] == "half a ? character"


@dataclass(kw_only=True)
class Config(JudgeOptions):
    seed: int = 0


def test_the_options_make_a_judge(scripted_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = scripted_server(api_key="sk-judge")
    monkeypatch.setenv("JUDGE_KEY", "sk-judge")
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    config = Config(judge_model="scripted", endpoint_urls=["http://127.0.0.1:9"], api_key_env="OTHER_KEY")
    config.judge_urls, config.judge_api_key_env = [server.url], "JUDGE_KEY"
    labelled = build_judge(config).label(ROLLOUTS[:1])
    assert labelled[0].labels[0].value is not None
    config.judge_api_key_env = ""
    assert build_judge(config).client.settings.api_key is None  # a key goes nowhere but where it belongs
    config.judge_urls = []
    assert build_judge(config).client.settings.api_key == "sk-other"
    settings = judge_settings(config)
    assert settings["judge_prompt"] == JudgeTemplate.load().hash
    assert not any("url" in name or "key" in name for name in settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judge_model": ""}, "missing judge_model"),
        ({"endpoint_urls": []}, "missing judge_urls"),
        ({"n_votes": 0}, "n_votes and judge_max_tokens must be positive"),
        ({"n_votes": 3}, "gives the same vote n_votes=3 times"),
        ({"judge_api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_options_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    options = {"judge_model": "scripted", "endpoint_urls": ["http://127.0.0.1:9"]} | changes
    with pytest.raises(ConfigError, match=message):
        build_judge(Config(**options))


def test_an_answer_cannot_be_shown_where_the_prompt_has_no_place_for_it(tmp_path: Path) -> None:
    path = tmp_path / "prompt.j2"
    path.write_text("{{ problem }} {{ steps }}")
    options = {"judge_model": "m", "endpoint_urls": ["http://127.0.0.1:9"], "judge_sees_answer": True}
    with pytest.raises(ConfigError, match="has no place for the answer"):
        build_judge(Config(**options, judge_prompt=str(path)))
