"""The ledger: what is on disk stays, what is torn is dropped, and two processes never share one."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from prm.errors import ConfigError, DataError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.checkpoint import model_name, model_revision
from prm.generation.hf import HFGenerator
from prm.ledger import Ledger, generate_once, locked_output, request_keys
from prm.rollouts import Cost, StopReason
from prm.step_format import PromptFormat

SAMPLING = SamplingParams(max_new_tokens=4)
REQUESTS = [GenerationRequest((1, 2, index), seed=index) for index in range(10)]


class CountingGenerator:
    """Answers with its seed, in planned batches of four, and remembers what it was asked."""

    name, revision, num_parameters, context_length = "counting", "r1", 10, 100

    def __init__(self, fail_after: int = 10**9) -> None:
        self.asked: list[int] = []
        self.fail_after = fail_after

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        return [1]

    def plan_batches(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[list[int]]:
        backwards = list(range(len(requests)))[::-1]
        return [backwards[at : at + 4] for at in range(0, len(backwards), 4)]

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        if len(self.asked) + len(requests) > self.fail_after:
            raise KeyboardInterrupt
        self.asked += [request.seed for request in requests]
        cost = Cost(generated_tokens=1, prefilled_tokens=3, flops=2.0 * 10 * 4)
        return [Completion((r.seed,), f"é{r.seed}", StopReason.EOS, cost) for r in requests]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_second_run_asks_nothing(path: Path) -> None:
    first, second = CountingGenerator(), CountingGenerator()
    with Ledger(path) as ledger:
        fresh = generate_once(first, REQUESTS, SAMPLING, ledger)
    before = path.read_bytes()
    with Ledger(path) as ledger:
        assert len(ledger) == 10
        assert generate_once(second, REQUESTS, SAMPLING, ledger) == fresh
    assert fresh == CountingGenerator().generate(REQUESTS, SAMPLING)
    assert sorted(first.asked) == list(range(10))
    assert second.asked == []
    assert path.read_bytes() == before


def test_an_interrupted_run_continues_with_the_same_batches(path: Path, tmp_path: Path) -> None:
    interrupted, resumed = CountingGenerator(fail_after=4), CountingGenerator()
    with pytest.raises(KeyboardInterrupt), Ledger(path) as ledger:
        generate_once(interrupted, REQUESTS, SAMPLING, ledger)
    seen: list[int] = []
    with Ledger(path) as ledger:
        generate_once(resumed, REQUESTS, SAMPLING, ledger, seen.append)
    assert interrupted.asked == [9, 8, 7, 6]
    assert resumed.asked == [5, 4, 3, 2, 1, 0]
    assert seen == [4, 4, 2]


def test_more_samples_ask_only_what_is_new(path: Path) -> None:
    more = CountingGenerator()
    with Ledger(path) as ledger:
        generate_once(CountingGenerator(), REQUESTS[:6], SAMPLING, ledger)
        generate_once(more, REQUESTS, SAMPLING, ledger)
    assert sorted(more.asked) == [6, 7, 8, 9]


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_requests_are_asked_once(path: Path, workers: int) -> None:
    requests = [REQUESTS[seed] for seed in (0, 1, 1, 2, 0, 3, 4, 1, 0, 5)]  # within a batch of four, and across
    seen: list[int] = []
    with Ledger(path) as ledger:
        completions = generate_once(CountingGenerator(), requests, SAMPLING, ledger, seen.append, workers)
        assert len(ledger) == 6
    assert [c.token_ids[0] for c in completions] == [request.seed for request in requests]
    assert sum(seen) == len(requests)
    lines = path.read_bytes().split(b"\n")
    assert sum(line.startswith(b'{"key"') for line in lines) == 6


def test_keys_tell_every_ingredient_apart() -> None:
    generator = CountingGenerator()
    other = CountingGenerator()
    other.revision = "r2"
    request = GenerationRequest((1, 2), 3)
    keys = {
        request_keys(g, s, [r])[0]
        for g, s, r in [
            (generator, SAMPLING, request),
            (other, SAMPLING, request),
            (generator, SamplingParams(temperature=0.9, max_new_tokens=4), request),
            (generator, SamplingParams(max_new_tokens=5), request),
            (generator, SamplingParams(max_new_tokens=4, stop=("\n",)), request),
            (generator, SAMPLING, GenerationRequest((1, 2), 4)),
            (generator, SAMPLING, GenerationRequest((2,), 3)),
            (generator, SAMPLING, GenerationRequest((1, 2, 3), 3)),
        ]
    }
    assert len(keys) == 8
    assert request_keys(generator, SAMPLING, [request]) == request_keys(CountingGenerator(), SAMPLING, [request])


def test_keys_tell_dtypes_apart_and_those_of_float32_stay(generator_dir: Path) -> None:
    def key(dtype: str | None) -> str:
        generator = HFGenerator.from_pretrained(str(generator_dir), PromptFormat(), device="cpu", dtype=dtype)
        return request_keys(generator, SAMPLING, REQUESTS[:1])[0]

    plain = CountingGenerator()
    plain.name, plain.revision = model_name(str(generator_dir)), model_revision(str(generator_dir))
    assert key(None) == key("float32") == request_keys(plain, SAMPLING, REQUESTS[:1])[0]
    assert len({key("float32"), key("bfloat16"), key("float16")}) == 3


def test_whatever_a_kill_leaves_of_the_last_batch_is_dropped(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Ledger(path) as ledger:
        generate_once(CountingGenerator(), REQUESTS, SAMPLING, ledger)
    whole = path.read_bytes()
    ends = [0]  # where each batch's closing line ends
    for line in whole.splitlines(keepends=True):
        if b'"batch"' in line:
            ends.append(whole.index(line, ends[-1]) + len(line))
    for cut in sorted({*range(0, len(whole), 97), *ends, *(end - 1 for end in ends[1:])}):
        path.write_bytes(whole[:cut])
        kept = max(end for end in ends if end <= cut)
        with caplog.at_level(logging.WARNING), Ledger(path) as ledger:
            assert path.stat().st_size == kept
            generator = CountingGenerator()
            generate_once(generator, REQUESTS, SAMPLING, ledger)
            assert len(generator.asked) == 10 - min(10, 4 * ends.index(kept))
    assert "dropped the unfinished batch" in caplog.text


def test_damage_before_the_end_is_named(path: Path) -> None:
    with Ledger(path) as ledger:
        generate_once(CountingGenerator(), REQUESTS, SAMPLING, ledger)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\x00\x00garbage\n", *lines[3:]]))
    with pytest.raises(DataError, match=r"ledger.jsonl, line 3: damaged.*Delete that line"):
        Ledger(path)
    path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    again = CountingGenerator()
    with Ledger(path) as ledger:
        generate_once(again, REQUESTS, SAMPLING, ledger)
    assert again.asked == [7]


def test_a_generator_without_a_plan_is_asked_in_order(path: Path) -> None:
    class Plain:
        name, revision, num_parameters, context_length = "plain", "r1", 10, 100
        generate = CountingGenerator.generate
        prompt_ids = CountingGenerator.prompt_ids
        fail_after = 10**9

    generator = Plain()
    generator.asked = []  # type: ignore[attr-defined]
    with Ledger(path) as ledger:
        completions = generate_once(generator, REQUESTS, SAMPLING, ledger)  # type: ignore[arg-type]
    assert [c.token_ids[0] for c in completions] == generator.asked == list(range(10))  # type: ignore[attr-defined]


def test_a_second_process_is_refused_and_a_killed_one_is_not_in_the_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prm.ledger._LOCK_PATIENCE_S", 0.1)
    hold = f"import sys; from prm.ledger import Ledger; ledger = Ledger({str(path)!r})"
    hold += "; print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError, match="another process is writing here"):
            Ledger(path)
        with pytest.raises(ConfigError, match="another process is writing here"), locked_output(path):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with Ledger(path) as ledger:
        assert len(ledger) == 0
