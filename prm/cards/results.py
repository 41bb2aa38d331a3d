"""What a `prm eval` run measured of one verifier, as tables: accuracy, gain over the baseline and cost.

Read from the run's `results.json`. Nothing is computed anew; lines of other verifiers are left out, controls are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.cards.facts import read_json
from prm.cards.tables import Table, decimals, markdown_table, number, words
from prm.errors import DataError, HubError, MissingFileError

RESULTS_FILE = "results.json"
PAGE_FILE = "report.html"
RESULTS_VERSIONS = (1, 2)  # 2 has more beside what is read here


@dataclass(frozen=True)
class Results:
    """The content of a `results.json`, the name under which it knows the verifier, and the run's page, if there is
    one."""

    content: dict[str, Any]
    verifier: str
    page: Path | None = None


def read_results(directory: str | Path, fingerprint: str | Sequence[str], name: str | None = None) -> Results:
    """Read an eval run and find the verifier in it.

    Args:
        fingerprint: the verifier's (`prm.fingerprint`), or its several, as an adapter and merged: a run of other
            weights says nothing of these.
        name: which one it is, where a run measured the same weights under several names.

    Raises:
        MissingFileError: the run has no `results.json`.
        DataError: it is not one that this program reads.
        HubError: the run did not measure this verifier, or it cannot be told which of several it is.
    """
    path = Path(directory) / RESULTS_FILE
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Give the output_dir of a finished `prm eval`")
    content = read_json(path)
    if content.get("version") not in RESULTS_VERSIONS or not {"methods", "verifiers", "n"} <= set(content):
        raise DataError("not the results of this version's `prm eval`", path=path, remedy="Run `prm eval` again")
    measured: dict[str, Any] = content["verifiers"]
    known = [fingerprint] if isinstance(fingerprint, str) else fingerprint
    # A verifier behind a server is known by the directory that the server was started with.
    same = [key for key, facts in measured.items() if str(facts.get("fingerprint")).removesuffix(" served") in known]
    if name is not None and name not in measured:
        raise HubError(f"{path}: no verifier is called {name!r} in it; it has {', '.join(measured) or 'none'}")
    if not same or (name is not None and name not in same):
        which = f"its verifier {name!r} is" if name is not None else f"its verifiers ({', '.join(measured)}) are"
        raise HubError(f"{path}: {which} not this directory's: it measured other weights; run `prm eval` again")
    if name is None and len(same) > 1:
        raise HubError(f"{path}: it measured this verifier as {' and as '.join(same)}; say which with verifier_name")
    page = Path(directory) / PAGE_FILE
    return Results(content, name or same[0], page if page.is_file() else None)


def describe_run(results: Results) -> str:
    """One sentence: on what, with what, and how the intervals were made."""
    run = results.content
    generator = run.get("generator")
    sampled = f", sampled from `{generator['name']}`" if generator else ", recorded"
    return (
        f"{run['num_problems']:,} problems of `{run['dataset']}`, {run['n']} solutions for each{sampled}. "
        "Brackets are 95% intervals over problems; gains are paired by problem; costs are per problem."
    )


def verdict(results: Results) -> str:
    """Whether the best method with this verifier beats the baseline, in one sentence; empty without such a line."""
    run = results.content
    mine = [line for line in run["methods"] if line["verifier"] == results.verifier]
    lines = [line for line in mine if line["n"] == run["n"] and line["gain"]]
    if not lines:
        return ""
    best = max(lines, key=lambda line: line["gain"]["mean"])
    said = f"Best of its methods: {words(best['method'])}, {_gain(best['gain'])} over {words(run['baseline'])}."
    controls = _over_controls(results, best["method"])
    prms = [facts for facts in run["verifiers"].values() if facts["kind"] == "prm" and not facts["control"]]
    if len(lines) == 1 or not run.get("best") or f"/{results.verifier}@" not in run["best"]["key"] or len(prms) > 1:
        return said + controls
    # Free of the advantage of choosing: each problem with the methods that are best on resamples without it.
    return f"{said} With the method chosen on other problems: {_gain(run['best']['held_out_gain'])}.{controls}"


def _over_controls(results: Results, method: str) -> str:
    """What a method gains over the same one with each control, for a baseline alone may flatter it."""
    mine = f"{method}/{results.verifier}@"
    found = [row for row in results.content.get("controls") or [] if row["method"].startswith(mine)]
    return "".join(f" Over the control {_parts(row['control'])[1]}: {_gain(row['difference'])}." for row in found)


def _gain(gain: Mapping[str, Any]) -> str:
    clear = "clear of zero" if gain["low"] > 0 else "below zero" if gain["high"] < 0 else "not clear of zero"
    return f"{estimate(gain, signed=True)} ({clear})"


def result_tables(results: Results) -> list[Table]:
    """Accuracy, gain and cost; the verifier's own quality; and its lead over the controls."""
    run = results.content
    tables = [Table("Accuracy, gain and cost", _methods(results))]
    quality = _quality(run["verifiers"][results.verifier].get("quality") or {})
    if quality:
        tables.append(Table("Telling right from wrong", markdown_table(["metric", "value"], quality)))
    controls = [
        [_parts(row["method"])[0], _parts(row["control"])[1], estimate(row["difference"], signed=True)]
        for row in run.get("controls") or []
        if f"/{results.verifier}@" in row["method"]
    ]
    told = f"Accuracy of this verifier minus that of the control, by the same method at n = {run['n']}."
    if controls:
        tables.append(Table("Against controls", markdown_table(["method", "control", "difference"], controls), told))
    return tables


def _parts(key: str) -> tuple[str, str]:
    """Method and verifier of `best_of_n/shuffled@16`."""
    method, _, rest = key.partition("/")
    return words(method), words(rest.rpartition("@")[0])


def estimate(value: Mapping[str, Any], *, signed: bool = False) -> str:
    """A mean with its interval, three decimals each."""
    mean, low, high = (decimals(value[key], signed=signed) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _methods(results: Results) -> str:
    run = results.content
    rows = []
    for line in run["methods"]:
        shown = line["verifier"] in (None, results.verifier) or line.get("control")
        if not shown or line["n"] not in (1, run["n"]) or (line["n"] == 1 != run["n"] and line["method"] != "greedy"):
            continue
        cost = line["cost"]
        rows.append(
            [
                words(line["method"]) + (" (oracle)" if line.get("oracle") else ""),
                "control: " + line["verifier"] if line.get("control") else "this one" if line["verifier"] else "none",
                str(line["n"]),
                estimate(line["accuracy"]),
                estimate(line["gain"], signed=True) if line["gain"] else "",
                number(round(cost["generated_tokens"])),
                number(round(cost["verifier_tokens"])),
                "unknown" if cost["flops"] is None else f"{cost['flops']:.2e}",
            ]
        )
    header = ["method", "verifier", "n", "accuracy", f"gain over {words(run['baseline'])}"]
    return markdown_table([*header, "generated tokens", "verifier tokens", "FLOPs"], rows)


def _quality(quality: Mapping[str, Any]) -> list[list[str]]:
    names = {
        "solution_auroc_within": "AUROC of solutions within a problem (chance: 0.5)",
        "solution_auroc": "AUROC of solutions, all problems together",
        "step_auroc_within": "AUROC of steps up to the first wrong one, within a problem",
        "step_auroc": "AUROC of steps up to the first wrong one, all problems together",
    }
    rows = [[text, estimate(quality[key])] for key, text in names.items() if quality.get(key)]
    return rows + _first_error(quality.get("first_error") or {}, quality.get("first_error_intervals") or {})


def _first_error(found: Mapping[str, Any], bars: Mapping[str, Any]) -> list[list[str]]:
    """Finding the first wrong step as sentences, each share with what it is a share of. An older run has no intervals
    of them."""
    names = {
        "f1": "F1 of finding the first wrong step, in this run's samples",
        "accuracy_wrong": f"First wrong step found, in {number(found.get('n_wrong'))} solutions that have one",
        "accuracy_correct": f"No step called wrong, in {number(found.get('n_correct'))} solutions without a mistake",
    }
    return [
        [text, estimate(bars[key]) if bars.get(key) else f"{decimals(found[key])} (its interval was not measured)"]
        for key, text in names.items()
        if found.get(key) is not None
    ]
