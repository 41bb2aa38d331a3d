"""The card of a dataset of step labels: front matter that the Hub reads, and the figures of its `label_report.json` in
`dataset_card.md.j2`. A figure that the report does not have, such as one of an older version, is left out, never
completed: `rollouts` and `step_labels` alone must be there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prm.cards.tables import Table, markdown_table, number, show
from prm.cards.templates import render
from prm.report.label_parts import COUNTED, PLACES, SEARCHES, TRUTH

Report = Mapping[str, Any]

LABELERS = {
    "monte_carlo": "Monte Carlo completions of every prefix (Math-Shepherd, arXiv 2312.08935)",
    "first_error": "a search for the first wrong step, by completions of chosen prefixes",
    "omega": "a tree of solutions for each problem (OmegaPRM, arXiv 2406.06592)",
    "judge": "a language model that marks each step",
    "consensus": "solutions on whose first wrong step two labelers agree (arXiv 2501.07301)",
    "implicit": "the outcome of the solution alone",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_NOT_SHOWN = ("_hash", "num_rollouts")
_COUNTS = {
    "rollouts": "rollouts",
    "step_labels": "step labels",
    "unknown_labels": "of them unknown",
    "distinct_labels": "distinct prefixes with a label",
}


def dataset_card(report: Report, repo_id: str, *, license: str | None = None) -> str:
    """The card, as the text of its README.md."""
    return render(
        "dataset_card.md.j2",
        {
            "front_matter": dataset_front_matter(report, repo_id, license),
            "name": repo_id.rpartition("/")[2],
            "repo_id": repo_id,
            "counts": {name: f"{report[name]:,}" for name in ("step_labels", "rollouts")},
            "problem_set": report.get("problem_set") or "",
            "identity": [
                *_identity(report),
                ("Licence", f"`{license}`" if license else "not stated by who published it"),
            ],
            "making": [*_made_from(report), _cost(report), *_searches(report), *_votes(report), *_settings(report)],
            "quality": [*_truth(report), *_calibration(report), *_agreement(report)],
            "by_position": _by_position(report),
            "limits": _limits(report),
            "versions": list(report.get("versions", {}).items()),
        },
    )


def dataset_front_matter(report: Report, repo_id: str, license: str | None) -> str:
    """The YAML that the Hub reads, without its fences."""
    from huggingface_hub import DatasetCardData

    rows = report["rollouts"]
    data = DatasetCardData(
        pretty_name=repo_id.rpartition("/")[2],
        license=license,
        task_categories=["token-classification"],
        size_categories=[next((name for most, name in _SIZES if rows < most), "n>1M")],
        tags=["process-reward-model", "reward-model", "stepwise-supervision", "trl", "prm-toolkit"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    )
    return str(data.to_yaml()).rstrip()


def _identity(report: Report) -> list[tuple[str, str]]:
    settings = report.get("settings", {})
    labeler = str(report.get("labeler", ""))
    rows = [("Labels", LABELERS.get(labeler, labeler))] if labeler else []
    if settings.get("model_name_or_path"):
        rows.append(("Completed by", f"`{settings['model_name_or_path']}`"))
    if made := report.get("made_from"):
        what = {"curate": "Chosen from", "convert": "Converted from"}[made["command"]]
        form = f" ({made['from']})" if made.get("from") else ""
        inputs = ", ".join(f"`{name}`" for name in made["inputs"])
        rows.append((what, f"{number(report['rollouts'])} of {number(made['solutions'])} solutions in {inputs}{form}"))
    if "tokens_per_label" in report:
        rows.append(("Cost", _tokens(report)))
    if report.get("hard_correct_share") is not None:
        known = "those" if (count := _known_labels(report)) is None else f"the {number(count)}"
        rows.append(("Labels that say right", f"{report['hard_correct_share']:.1%} of {known} known"))
    if accuracy := (report.get("truth") or {}).get("step_accuracy"):
        rows.append(("Labels that agree with the truth", f"{show(accuracy)} of the {number(accuracy['n'])} checked"))
    return rows


def _tokens(report: Report) -> str:
    per_label, each = report["tokens_per_label"], report.get("tokens_per_distinct_label")
    cost = "no label is known" if per_label is None else f"{per_label:.1f} generated tokens per known label"
    return cost if each is None else f"{cost}, {each:.1f} per distinct prefix that has one"


def _known_labels(report: Report) -> int | None:
    """How many labels say something, where the report counted those that do not."""
    return int(report["step_labels"] - report["unknown_labels"]) if "unknown_labels" in report else None


def _made_from(report: Report) -> list[Table]:
    """What a curation or a conversion left out and why, what the format could not say, and by which rules."""
    if not (made := report.get("made_from")):
        return []
    lines = [[f"left out: {reason}", number(count)] for reason, count in made["left_out"].items()]
    lines += [[f"not held by the rows: {what}", number(count)] for what, count in made["lost"].items()]
    lines += [["kept, this file", number(report["rollouts"])]]
    rules = [[name, number(value)] for name, value in made["settings"].items() if value not in (None, "", [])]
    return [
        Table(f"What `prm data {made['command']}` kept and left out", markdown_table(["", "solutions"], lines)),
        Table("By these rules", markdown_table(["rule", "value"], rules)),
    ]


def _searches(report: Report) -> list[Table]:
    """How the searches for a first wrong step ended."""
    if not (found := report.get("first_error")):
        return []
    rows = [[words, number(found[name])] for name, words in SEARCHES.items() if name in found]
    return [Table("How the searches for the first wrong step ended", markdown_table(["searches", "in all"], rows))]


def _cost(report: Report) -> Table:
    cost, each = report.get("cost", {}), report.get("cost_per_label", {})
    rows = [[words, number(report[name]), ""] for name, words in _COUNTS.items() if report.get(name) is not None]
    rows += _completions(report)
    for kind in ("generated_tokens", "prefilled_tokens", "cached_tokens"):
        if kind in cost:
            rows.append([kind.replace("_", " "), number(cost[kind]), _per_label(each[kind]) if kind in each else ""])
    for name in ("truncated", "unparsable", "timeout"):
        if report.get(f"{name}_share"):
            rows.append([f"{name} completions, not counted as wrong", f"{report[f'{name}_share']:.1%}", ""])
    rows += [[f"labels by the rule `{rule}`", number(count), ""] for rule, count in report.get("rules", {}).items()]
    return Table("What was labelled and spent", markdown_table(["", "in all", "per known label"], rows))


def _completions(report: Report) -> list[list[str]]:
    """Of labels that were chosen among others the rows do not say it, but their tokens they do."""
    if report.get("made_from") or "completions" not in report:
        return []
    count, known = report["completions"], _known_labels(report)
    return [["completions", number(count), "" if known is None else _per_label(count / known if known else None)]]


def _votes(report: Report) -> list[Table]:
    if not (judge := report.get("judge")):
        return []
    rows = [[status, number(count)] for status, count in judge["votes"].items()]
    title = "What became of the judge's votes; those not decided leave their steps unknown"
    return [Table(title, markdown_table(["votes", "in all"], rows))]


def _per_label(value: float | None) -> str:
    return "–" if value is None else number(value)


def _settings(report: Report) -> list[Table]:
    settings = {**report.get("settings", {}), "grader": report.get("grader")}
    rows = [
        [name, number(value)]
        for name, value in settings.items()
        if value not in (None, "", []) and not name.endswith(_NOT_SHOWN)
    ]
    return [Table("Settings", markdown_table(["setting", "value"], rows))] if rows else []


def _truth(report: Report) -> list[Table]:
    found = report.get("truth") or {}
    rows = [
        [words, show(found[key]), f"{number(found[key]['n'])} {COUNTED[key]}"]
        for key, words in TRUTH.items()
        if found.get(key)
    ]
    title = "Against the truth"
    if (count := report.get("truth_rollouts")) is not None:
        title += f", known of {number(count)} rollouts"
    return [Table(title, markdown_table(["hard labels", "share", "of"], rows))] if rows else []


def _calibration(report: Report) -> list[Table]:
    found = report.get("calibration")
    if not found:
        return []
    rows = [["expected calibration error", show(found["ece"])], ["Brier score", show(found["brier"])]]
    return [Table("Calibration of the values", markdown_table(["soft values", "value"], rows))]


def _agreement(report: Report) -> list[Table]:
    found = report.get("agreement")
    if not found:
        return []
    rows = [[words, number(found["first_wrong_step"].get(place, 0))] for place, words in PLACES.items()]
    names = {"same_first_wrong_step": "share with the same first wrong step", "kappa": "Cohen's kappa of the steps"}
    rows += [[words, show(found[key])] for key, words in names.items() if found.get(key)]
    first, second = found["labelers"]
    return [Table(f"Agreement of {first} (first) and {second} (second)", markdown_table(["", "rollouts"], rows))]


def _by_position(report: Report) -> Table | None:
    if "by_position" not in report:
        return None
    rows = [
        [
            number(row["position"] + 1),
            number(row["labels"]),
            *map(_known, (row["mean"], row["all_wrong"], row["all_right"])),
        ]
        for row in report["by_position"]
    ]
    return Table("", markdown_table(["step", "labels", "mean value", "share at 0", "share at 1"], rows))


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _limits(report: Report) -> list[str]:
    limits = ["Labels hold for solutions like these: another generator makes other mistakes."]
    if report.get("labeler") in ("monte_carlo", "omega"):
        limits.append(
            "They say whether the generator could still reach the answer from a step, not whether a person would call "
            "the step right."
        )
    if not report.get("truth"):
        limits.append("How often they are right was not measured.")
    limits.append("Problems and their licence are those of the problem set.")
    return limits
