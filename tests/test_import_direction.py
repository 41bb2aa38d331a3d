"""Who may import whom (DESIGN.md, "The house"), read from the source, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"prm": "prm", "data_gen": "prm.data_gen", "eval": "prm.eval"}  # folder -> the package it installs as
FORBIDDEN = {
    "prm": ("prm.data_gen", "prm.eval"),
    "data_gen": ("prm.eval",),
    "eval": ("prm.data_gen",),
}
# Libraries that a module of the same name would hide from a script beside it, or from a reader.
LIBRARIES = {"datasets", "evaluate", "trl", "peft", "transformers", "deepspeed", "accelerate", "tokenizers", "torch"}
LIBRARIES |= {"vllm", "safetensors", "huggingface_hub", "numpy", "matplotlib", "jinja2", "tqdm", "yaml"}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "deepspeed", "matplotlib", "evaluate"}


def modules(folder: str) -> Iterator[tuple[Path, str]]:
    """The source files of a folder and the module names they install as."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = list(path.relative_to(ROOT / folder).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        yield path, ".".join([FOLDERS[folder], *parts])


def imports(source: str, module: str, *, is_package: bool) -> Iterator[str]:
    """Absolute names of everything a module imports, wherever in it; relative imports are resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = module.split(".")
                up = up[: len(up) - node.level + (1 if is_package else 0)]
                base = ".".join([*up, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("folder", FOLDERS)
def test_packages_import_in_one_direction_only(folder: str) -> None:
    found = list(modules(folder))
    assert found, f"no source in {folder}"
    broken = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, module in found
        for name in imports(path.read_text(encoding="utf-8"), module, is_package=path.name == "__init__.py")
        if any(is_within(name, package) for package in FORBIDDEN[folder])
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("source", "module", "is_package", "expected"),
    [
        ("import prm.eval.cost", "prm.hub", False, "prm.eval.cost"),
        ("from prm import eval", "prm.hub", False, "prm.eval"),
        ("from . import eval", "prm.hub", False, "prm.eval"),
        ("from .eval.search import base", "prm", True, "prm.eval.search.base"),
        ("from ..eval import cost", "prm.data_gen.label", False, "prm.eval.cost"),
        ("from ...data_gen import label", "prm.eval.search", True, "prm.data_gen.label"),
        ("def f():\n    from .. import data_gen", "prm.eval.search.base", False, "prm.eval.data_gen"),
    ],
)
def test_the_reader_of_imports_resolves_every_spelling(
    source: str, module: str, is_package: bool, expected: str
) -> None:
    assert expected in imports(source, module, is_package=is_package)


@pytest.mark.parametrize("folder", ["data_gen", "eval"])
def test_siblings_are_imported_relatively(folder: str) -> None:
    """An absolute import of the own package would tie the folder to one place in the tree."""
    own = FOLDERS[folder]
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level:
                assert not is_within(node.module or "", own), f"{path.relative_to(ROOT)} imports {node.module}"


def test_no_module_is_named_after_a_library() -> None:
    shadowing = LIBRARIES | (set(sys.stdlib_module_names) - {"__future__"})
    for folder in FOLDERS:
        for path, _ in modules(folder):
            name = path.parent.name if path.name == "__init__.py" else path.stem
            assert name not in shadowing, f"{path.relative_to(ROOT)} shadows the library {name}"


@pytest.mark.parametrize("module", ["prm", "prm.cli", "prm.hub", "prm.scoring_spec", "prm.rollouts", "prm.labels"])
def test_light_modules_import_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print(' '.join(sorted({HEAVY!r} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], f"{module} imports {done.stdout}"


def test_light_modules_of_the_command_line_import_fast_configs() -> None:
    """`prm COMMAND --help` imports the command's module: that alone must not load torch. `prm train` must, for its
    config is a `transformers.TrainingArguments`."""
    from prm.cli import COMMANDS

    light = [module for module, _ in COMMANDS.values() if module != "prm.train"]
    script = f"import importlib, sys\nfor m in {light!r}: importlib.import_module(m)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
