"""The judgement of the search benchmark, on figures that are given: nothing is measured here."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.benchmarks import search_speed

FLAT = ("seconds", "seconds_plain", "verifier_tokens", "verifier_tokens_plain")


def figures(speedup: float = 4.0, tokens: float = 3.0, power: float = 1.2) -> dict[str, Any]:
    """What `measure` finds, both approaches alike."""
    found = {
        "problems": 8,
        **dict.fromkeys(FLAT, 10),
        "speedup": speedup,
        "speedup_of_turns": [speedup, speedup],
        "verifier_tokens_ratio": tokens,
        "accuracy": 0.5,
        "accuracy_plain": 0.5,
        "accuracy_difference": [0.0, -0.1, 0.1],
    }
    rows = [{"n": 16, "steps": 4, **dict.fromkeys(FLAT, 10)}]
    powers = {f"exponent_{what}": 1.0 for what in FLAT}
    steps = {"rows": rows, **powers, "exponent_verifier_tokens": power}
    return {"beam_search": found, "dvts": dict(found), "steps": steps, "n": {"rows": rows}}


def test_figures_on_their_targets_miss_none() -> None:
    assert search_speed.missed(figures()) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (figures(speedup=3.99), ["beam_search is 3.99 times faster; the target is 4", "dvts is 3.99 times faster"]),
        (figures(tokens=2.5), ["beam_search is 2.50 times fewer verifier tokens; the target is 3", "dvts is 2.50"]),
        (figures(power=1.25), ["verifier tokens grow with steps to the power 1.25; the target is below 1.25"]),
        (figures(power=float("nan")), ["verifier tokens grow with steps to the power nan"]),
    ],
)
def test_a_target_that_is_missed_is_said_with_both_numbers(found: dict[str, Any], said: list[str]) -> None:
    missed = search_speed.missed(found)
    assert len(missed) == len(said)
    assert all(one.startswith(start) for one, start in zip(missed, said, strict=True))


@pytest.mark.parametrize(
    ("arguments", "speedup", "status"),
    [([], 9.0, 0), ([], 2.0, 1), (["--small"], 2.0, 0)],
    ids=["met", "missed", "small"],
)
def test_a_missed_target_is_the_exit_status_and_the_figures_stay_the_last_line(
    arguments: list[str],
    speedup: float,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(search_speed, "measure", lambda _: figures(speedup))
    if status:
        with pytest.raises(SystemExit) as stop:
            search_speed.main(arguments)
        assert str(stop.value.code).startswith("missed: beam_search is 2.00 times faster")  # text, so the status is 1
    else:
        search_speed.main(arguments)
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["benchmark"] == "search_speed" and last["dvts"]["speedup"] == speedup
