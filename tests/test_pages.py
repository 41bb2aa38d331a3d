"""Every option that a Markdown page names is one of its command's, and every recipe that it names is there."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import pytest

from prm.cli import COMMANDS, dispatch
from tests.guides import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "recipes/**/README.md")
    for path in ROOT.glob(pattern)
)
DATA = ("convert", "curate", "merge", "push")
KNOWN = [*(name for name in COMMANDS if name != "data"), *(f"data {name}" for name in DATA)]
# Options that a command takes off its line before its parser sees it.
TAKEN_FIRST = {"eval": {"from"}, "data convert": {"from", "to"}, "data curate": {"from", "to"}}
PLACEHOLDER = "key"  # of `--key value`
LAUNCHED = r"accelerate launch\b(?P<own>.*?) -m prm\.(?P<module>train)\b"
CALLED = rf"{LAUNCHED}|\bprm (?P<command>data \w+|\w+)\b"
OPTION = r"(?<![\w-])--([A-Za-z][\w-]*)"


@cache
def options(command: str) -> frozenset[str]:
    """What `prm COMMAND --help` lists, with `config` and what is taken off the line."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        dispatch([*command.split(), "--help"])
    listed = {
        name for line in re.findall(r"^  (-.*)", shown.getvalue(), re.MULTILINE) for name in re.findall(OPTION, line)
    }
    assert listed, f"prm {command} --help shows no options"
    return frozenset(_spelt(name) for name in listed | TAKEN_FIRST.get(command, set()) | {"config", PLACEHOLDER})


@cache
def launch_options() -> frozenset[str]:
    """What `accelerate launch` takes, and `prm train` hands on to it."""
    from accelerate.commands.launch import launch_command_parser

    names = launch_command_parser()._option_string_actions
    return frozenset({_spelt(name.removeprefix("--")) for name in names} | {"accelerate_config"})


def _spelt(name: str) -> str:
    return name.replace("-", "_")


def of_command(name: str) -> frozenset[str]:
    return options(name) | (launch_options() if name == "train" else frozenset())


def code(text: str) -> list[str]:
    """The pieces of code on a page, each on one line: lines of fenced and of indented blocks, and code in the text."""
    text = text.replace("\\\n", " ")
    pieces: list[str] = []
    for number, part in enumerate(re.split(r"^```\w*$", text, flags=re.MULTILINE)):
        if number % 2:
            pieces += part.splitlines()
            continue
        pieces += re.findall(r"^    .*", part, re.MULTILINE)
        prose = re.sub(r"^    .*", "", part, flags=re.MULTILINE)
        pieces += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [re.sub(r"(^|\s)#\s.*", "", piece) for piece in pieces]


def wrong_options(text: str) -> list[str]:
    """The options on a page that are none: `prm COMMAND --option`. One that stands without a command must be known to
    one of those in the page's `bash` blocks, or where it has none, to any; those of other programs are theirs."""
    pieces = code(text)
    run = {
        name for block in re.findall(r"^```bash$(.*?)^```", text, re.DOTALL | re.MULTILINE) for name, _ in calls(block)
    }
    anywhere = frozenset().union(*(of_command(name) for name in run or KNOWN))
    wrong = []
    for piece in pieces:
        found = calls(piece)
        if (word := re.match(r"prm ([a-z]+)", piece)) and word[1] not in COMMANDS:
            wrong.append(word[0])
        for name, given in found:
            wrong += [
                f"prm {name} --{option}"
                for option in re.findall(OPTION, given)
                if _spelt(option) not in of_command(name)
            ]
        for match in re.finditer(LAUNCHED, piece):
            wrong += [
                f"accelerate launch --{one}"
                for one in re.findall(OPTION, match["own"])
                if _spelt(one) not in launch_options()
            ]
        if benchmark := re.match(r"python -m tests\.benchmarks\.(\w+)(.*)", piece):
            source = (ROOT / "tests" / "benchmarks" / f"{benchmark[1]}.py").read_text(encoding="utf-8")
            wrong += [
                f"{benchmark[1]} --{one}" for one in re.findall(OPTION, benchmark[2]) if f'"--{one}"' not in source
            ]
        elif not found and piece.startswith("--"):
            wrong += [f"--{one}" for one in re.findall(OPTION, piece) if _spelt(one) not in anywhere]
    return wrong


def calls(piece: str) -> list[tuple[str, str]]:
    """The commands of prm in a piece of code, each with what follows it up to the next."""
    starts = [match for match in re.finditer(CALLED, piece) if (match["module"] or match["command"]) in KNOWN]
    ends = [*(match.start() for match in starts), len(piece)][1:]
    return [(m["module"] or m["command"], piece[m.end() : end]) for m, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("page", PAGES)
def test_every_option_is_one_of_its_command(page: str) -> None:
    assert wrong_options((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_named_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
    named = re.findall(
        r"(?<![\w/.])((?:recipes|tests|prm|eval|data_gen)/[\w./-]*\w\.(?:yaml|md|py|sbatch|sh|svg))\b", text
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_mistake_is_seen_wherever_it_stands() -> None:
    assert wrong_options("```bash\nprm eval --approch dvts  # --not_seen\n```\n") == ["prm eval --approch"]
    assert wrong_options("    prm rollout \\\n        --labeler omega --n 4\n") == ["prm rollout --labeler"]
    assert wrong_options("`prm label` takes `--rule fixed` and `--rules fixed`; `vllm serve --runner x`") == [
        "--rules"
    ]
    launched = "`accelerate launch --num_process 8 -m prm.train --objectives orm`"
    assert sorted(wrong_options(launched)) == ["accelerate launch --num_process", "prm train --objectives"]
    assert wrong_options("`python -m tests.benchmarks.label_cost --problem 50`") == ["label_cost --problem"]
    assert wrong_options("`prm evaluate --n 4`") == ["prm evaluate"]
    assert wrong_options("`prm eval --from runs/a` and `prm data convert --to stepwise`") == []
    assert Path(ROOT / "README.md").is_file() and len(PAGES) > 20
