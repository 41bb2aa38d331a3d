"""The report of a whole run: every section where the run has it, every plot against every cost, every hash, and pages
for problems."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from prm.eval.evaluate_search import EvalConfig, parse_arguments, run_eval
from prm.eval.report.problem_pages import page_name, problems_named

from prm.errors import ConfigError


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> SimpleNamespace:
    """A run with a verifier that is fooled by large results, an ORM and a control, and pages of two problems."""
    world = request.getfixturevalue("module_world")
    folder = tmp_path_factory.mktemp("shown")

    def fooled(problem: str, steps: list[str]) -> list[float]:
        right = world.truth(problem, steps)
        return [0.95 if "9" in step else 0.3 + 0.6 * one for step, one in zip(steps, right, strict=True)]

    verifiers = {
        "prm": world.Verifier(fooled, name="prm"),
        "orm": world.Verifier(world.truth, name="orm", spec=world.orm),
        "blind": world.Verifier(lambda p, s: [0.5] * len(s), name="blind"),
    }
    for name, verifier in verifiers.items():
        verifier.revision = name  # by which a run that is gone on with knows it again
    config = EvalConfig(
        output_dir=str(folder),
        model_name_or_path="in memory",
        num_problems=12,
        n=4,
        search_n=[4],
        max_new_tokens=100,
        approach=["greedy", "best_of_n", "beam_search"],
        controls=["blind"],
        problem=["worst:2"],
    )
    generator = world.Generator(world.careless)
    result = run_eval(config, verifiers=verifiers, generator=generator)
    return SimpleNamespace(
        result=result, folder=folder, config=config, verifiers=verifiers, generator=generator,
        page=(folder / "report.html").read_text(),
    )  # fmt: skip


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_sections_follow_the_story_of_a_run(shown: SimpleNamespace) -> None:
    assert headings(shown.page) == [
        "Accuracy",
        "Notes",
        "What it gains, and over what",
        "Against the controls",
        "Where more samples stop helping",
        "Verifier quality",
        "How sure this is",
        "The bill",
        "Problem by problem",
    ]


def test_what_the_terminal_notes_is_on_the_page_too(shown: SimpleNamespace) -> None:
    assert shown.result.notes
    for note in shown.result.notes:
        assert note[1:] in html.unescape(shown.page)


def test_accuracy_is_plotted_against_n_tokens_flops_and_seconds(shown: SimpleNamespace) -> None:
    titles = re.findall(r'aria-label="Accuracy against (\w+):', shown.page)
    assert titles == ["n", "tokens", "FLOPs"] or titles == ["n", "tokens", "FLOPs", "seconds"]
    chosen = re.findall(r'aria-label="What best-of-n with (\w+) chooses, against (\w+)', shown.page)
    assert {"prm", "orm"} == {name for name, _ in chosen}
    assert {"n", "tokens", "FLOPs"} <= {axis for _, axis in chosen}


def test_gains_are_shown_over_each_reference_at_equal_n_and_at_equal_flops(shown: SimpleNamespace) -> None:
    for name in ("majority, equal n", "majority, up to equal FLOPs", "pass@1", "best-of-n, orm, equal n"):
        assert f"Gain over {name}, percentage points" in shown.page


def test_every_setting_hash_and_version_is_in_the_page(shown: SimpleNamespace) -> None:
    document = json.loads((shown.folder / "results.json").read_text())
    for name in document["config"]:
        assert f"<dt>{name}</dt>" in shown.page
    for version in document["versions"].values():
        assert f"<dd>{version}</dd>" in shown.page
    for facts in document["verifiers"].values():
        assert facts["fingerprint"] in shown.page
    assert document["settings"]["problems"] in shown.page


def test_the_bill_says_how_flops_were_counted(shown: SimpleNamespace) -> None:
    bill = shown.page[shown.page.index("<h2>The bill</h2>") :]
    assert "FLOPs = 2 N T + 4 L H D A" in bill
    assert "pruned tokens" in bill and "lookahead tokens" not in bill  # nothing was looked ahead


def test_a_problems_page_has_its_trees_and_marks_where_truth_and_verifier_disagree(shown: SimpleNamespace) -> None:
    pages = sorted((shown.folder / "problems").glob("*.html"))
    assert len(pages) == 2
    text = "".join(page.read_text() for page in pages)
    assert headings(pages[0].read_text()) == ["The problem", "Live searches", "The shared samples", "Methods"]
    assert "beam search, prm, n = 4" in text and "beam search, orm" not in text
    assert 'class="mark' in text and "mistaken" in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert "What prm scores highest" in text
    assert "<script" not in text and "http://" not in text


def test_every_drawn_step_is_in_the_tree_with_its_fate(shown: SimpleNamespace) -> None:
    (store,) = (shown.folder / "store").glob("beam_search-4-prm-*.jsonl")
    rows = {row["key"].rpartition(":")[0]: row for row in map(json.loads, store.read_text().splitlines())}
    for problem in shown.result.problems:
        path = shown.folder / "problems" / page_name(problem.unique_id)
        if path.is_file():
            page = path.read_text()
            tree = page[page.index("beam search, prm, n = 4") :].split("</svg>")[0]
            fates = re.findall(r'class="mark (\w+)', tree)
            assert sorted(fates) == sorted(rows[problem.unique_id]["nodes"]["fate"])


def links(page: str) -> list[str]:
    return re.findall(r'<li><a href="(.*?)">', page)


def test_the_report_links_the_pages_of_its_problems_the_worst_first_and_says_how_to_make_more(
    shown: SimpleNamespace,
) -> None:
    worst, _ = problems_named(shown.result, ["worst:2"])
    last = shown.page[shown.page.index("<h2>Problem by problem</h2>") :]
    assert links(last) == [f"problems/{page_name(shown.result.problems[index].unique_id)}" for index in worst]
    assert f"prm eval --from {shown.folder} --problem worst:5" in last
    for link in links(last):
        page = (shown.folder / link).read_text()
        (back,) = links(page)
        assert (shown.folder / link).parent.joinpath(back).resolve() == (shown.folder / "report.html").resolve()


def test_a_page_that_is_added_is_linked_and_goes_when_the_results_are_others(
    shown: SimpleNamespace, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(shown.folder, folder)
    models = {"verifiers": shown.verifiers, "generator": shown.generator}
    new = next(
        p.unique_id for p in shown.result.problems if not (folder / "problems" / page_name(p.unique_id)).exists()
    )
    run_eval(parse_arguments(["--from", str(folder), "--problem", new]), **models)
    there = links((folder / "report.html").read_text())
    assert len(there) == 3 and f"problems/{page_name(new)}" in there
    run_eval(parse_arguments(["--from", str(folder), "--approach", "adaptive_consistency"]), **models)
    assert links((folder / "report.html").read_text()) == [] == list((folder / "problems").iterdir())


def test_a_problem_named_twice_has_one_page(shown: SimpleNamespace) -> None:
    name = shown.result.problems[3].unique_id
    assert problems_named(shown.result, [name, name]) == ([3], [])


def test_an_unknown_problem_is_said_behind_the_pages_of_the_others(
    shown: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(shown.folder, folder)
    shutil.rmtree(folder / "problems")
    first, other = (problem.unique_id for problem in shown.result.problems[2:4])
    config = parse_arguments(["--from", str(folder), "--problem", "nobody", first, other + "x", "worst:1"])
    with pytest.raises(ConfigError) as refused:
        run_eval(config, verifiers=shown.verifiers, generator=shown.generator)
    worst = shown.result.problems[problems_named(shown.result, ["worst:1"])[0][0]].unique_id
    assert {page.name for page in (folder / "problems").iterdir()} == {page_name(first), page_name(worst)}
    assert capsys.readouterr().out.count("problem: ") == len({first, worst})
    said = str(refused.value)
    assert f"is called 'nobody' or '{other}x' (did you mean '{other}'?)" in said and "per_problem.jsonl" in said


def test_the_worst_problems_are_those_where_the_best_method_loses_most(shown: SimpleNamespace) -> None:
    worst, _ = problems_named(shown.result, ["worst:12"])
    oracle = shown.result.find("pass_at_n", 4).per_problem
    best = next(line for line in shown.result.methods if line.key == shown.result.best.key).per_problem
    losses = [oracle[index] - best[index] for index in worst]
    assert losses == sorted(losses, reverse=True) and len(set(worst)) == 12


def test_pages_are_made_when_they_are_asked_for_and_not_again(shown: SimpleNamespace) -> None:
    assert parse_arguments(["--from", str(shown.folder)]).problem == []
    assert parse_arguments(["--from", str(shown.folder), "--problem", "a", "worst:3"]).problem == ["a", "worst:3"]


@pytest.mark.parametrize(
    ("unique_id", "name"),
    [("test_12", "test_12.html"), ("test/precalculus/807.json", r"test_precalculus_807\.json-[0-9a-f]{6}\.html")],
)
def test_a_page_is_named_after_its_problem(unique_id: str, name: str) -> None:
    assert re.fullmatch(name, page_name(unique_id))
    assert page_name("a/b") != page_name("a_b") != page_name("a b")


def test_a_run_without_verifiers_has_a_report_too(shown: SimpleNamespace, tmp_path: Path) -> None:
    config = replace(shown.config, output_dir=str(tmp_path), approach=["greedy"], controls=[], problem=["worst:1"])
    run_eval(config, generator=shown.generator)
    assert headings((tmp_path / "report.html").read_text())[0] == "Accuracy"
    (page,) = (tmp_path / "problems").glob("*.html")
    assert "Live searches" not in page.read_text()
