"""The head of the report: the finding in a sentence, a few numbers, what was run, and, on demand, every setting,
version and hash of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prm.report.formatting import percent, points, si
from prm.report.page import Highlight

from ..results import MethodResult, method_title
from .wording import capital

if TYPE_CHECKING:
    from ..evaluate_search import EvalConfig
    from ..run import EvalResult


def lead(config: EvalConfig, result: EvalResult) -> str:
    """The finding in one or two sentences."""
    n = max(result.ns)
    base = result.find(config.baseline, n)
    oracle = result.find("pass_at_n", n)
    text = (
        f"{capital(method_title(config.baseline))} over {n} solutions is right on {percent(base.accuracy.mean)} of "
        f"the problems; a perfect verifier would reach {percent(oracle.accuracy.mean)}."
    )
    best = _best(result)
    if best is None or result.best is None:
        return text
    gain = result.best.gain
    verdict = "clear of zero" if gain.clear_of() else "not clear of zero"
    return (
        f"{text} {capital(best.label)} reaches {percent(best.accuracy.mean)}: {points(gain.mean)} points, 95% "
        f"interval {points(gain.low)} to {points(gain.high)}, {verdict}."
    )


def highlights(config: EvalConfig, result: EvalResult) -> list[Highlight]:
    """The numbers to take home: baseline, best method, its gain, and its price in FLOPs."""
    best, base = _best(result), result.find(config.baseline, max(result.ns))
    if best is None or result.best is None:
        return []
    held_out = result.best.held_out_gain
    found = [
        _accuracy(capital(base.label), base),
        _accuracy(capital(best.label), best),
        Highlight(
            "Gain, method chosen on other problems",
            f"{points(held_out.mean)} points",
            f"95% interval {points(held_out.low)} to {points(held_out.high)}, paired",
        ),
    ]
    if best.bill.flops > 0 and base.bill.flops > 0:  # also not nan
        ratio = best.bill.flops / base.bill.flops
        note = f"{si(best.bill.flops)} FLOPs a problem, both models"
        found.append(Highlight(f"Its compute over {base.label}", f"{ratio:.1f} times", note))
    return found


def facts(config: EvalConfig, result: EvalResult) -> dict[str, str | int | float]:
    """What was run, in a few words each."""
    found: dict[str, str | int | float] = {"Problems": len(result.problems)}
    if len(result.seeds) > 1:
        found["Seeds"] = ", ".join(map(str, result.seeds))
    else:
        found["Seed"] = str(config.seed)
    if result.generator:
        found["Generator"] = f"{result.generator['name']} ({result.generator['revision'][:12]})"
        found["Generator parameters"] = result.generator["num_parameters"]
        found["Sampling"] = f"temperature {config.temperature:g}, top_p {config.top_p:g}"
    for name, verifier in result.verifiers.items():
        found[f"Verifier {name}"] = _verifier(verifier)
    found["Samples"] = result.counts["samples"]
    found["Truncated samples"] = result.counts["truncated"]
    found["Samples without an answer"] = result.counts["no_answer"]
    return found


def _verifier(facts: Mapping[str, Any]) -> str:
    """Kind, size and aggregation; of an ensemble its formula and its members, all of which run."""
    control = ", a control" if facts["control"] else ""
    if "formula" not in facts:
        kind, aggregation = facts["kind"].upper(), facts["aggregation"]
        return f"{kind}, {facts['num_parameters']:,} parameters, aggregation {aggregation}{control}"
    folds = ", ".join(f"{one['aggregation']} of {name}" for name, one in facts["members"].items())
    formula = facts["formula"].replace(",", ", ")
    return f"{formula}, {facts['num_parameters']:,} parameters in all, aggregation {folds}{control}"


def provenance(document: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Every setting, hash and version of a run, from its `results.json`; nothing where there is none."""
    settings = document.get("settings", {})
    hashes = {"problems": settings.get("problems"), "recorded samples": settings.get("rollouts")}
    generator = document.get("generator") or {}
    hashes |= {f"generator {generator.get('name', '')}": generator.get("revision")}
    hashes |= {f"verifier {name}": facts.get("fingerprint") for name, facts in document.get("verifiers", {}).items()}
    groups = {
        "Settings": {name: _plain(value) for name, value in document.get("config", {}).items()},
        "Hashes": {name: str(value) for name, value in hashes.items() if value},
        "Versions": {name: str(value) for name, value in document.get("versions", {}).items()},
    }
    return {name: values for name, values in groups.items() if values}


def _best(result: EvalResult) -> MethodResult | None:
    return next((line for line in result.methods if result.best and line.key == result.best.key), None)


def _accuracy(label: str, line: MethodResult) -> Highlight:
    found = line.accuracy
    note = f"95% interval {percent(found.low)} to {percent(found.high)}, n = {line.n}"
    return Highlight(label, percent(found.mean), note)


def _plain(value: Any) -> str:
    """A setting as the command line would take it; a dash for one that is not set."""
    if value is None or value == "" or value == []:
        return "–"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else repr(value) if "\n" in str(value) else str(value)
