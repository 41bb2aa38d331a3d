"""The wheel a user installs: nothing missing, nothing extra, and it runs from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prm.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_AS = {"prm": "prm", "data_gen": "prm/data_gen", "eval": "prm/eval", "recipes": "prm/recipes"}


def succeed(arguments: list[str], cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tree, so that no build folder is left in it."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in INSTALLED_AS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    succeed([*pip, "--wheel-dir", str(out), str(tree)], tree)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, and nothing else."""
    target = tmp_path_factory.mktemp("site")
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    succeed([*pip, str(wheel)], target)
    return target


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.getinfo(name).file_size for name in archive.namelist()}
    for folder, package in INSTALLED_AS.items():
        sources = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert sources
        for path in sources:
            name = f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
            assert packed.get(name) == path.stat().st_size, f"{name} is missing from the wheel: see pyproject.toml"


def test_the_wheel_owns_one_top_level_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
    assert {name for name in top if not name.endswith(".dist-info")} == {"prm"}
    assert any(name.endswith("/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())
    assert "License-Expression: Apache-2.0" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_explains_itself_from_the_wheel(command: str, site: Path, tmp_path: Path) -> None:
    printed = succeed(["-m", "prm.cli", command, "--help"], tmp_path, PYTHONPATH=str(site))
    assert printed.startswith(f"usage: prm {command} ")
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_is_what_runs_and_not_the_checkout(site: Path, tmp_path: Path) -> None:
    script = "import prm, prm.eval, prm.data_gen; print(prm.__file__, prm.eval.__file__, prm.data_gen.__file__)"
    files = succeed(["-c", script], tmp_path, PYTHONPATH=str(site)).split()
    assert len(files) == 3 and all(Path(file).is_relative_to(site) for file in files)


def test_the_quickstart_runs_at_smoke_size_from_the_wheel(site: Path, tmp_path: Path) -> None:
    printed = succeed(
        ["-m", "prm.cli", "quickstart", "--smoke", "--output_dir", "out"],
        tmp_path,
        PYTHONPATH=str(site),
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",  # it brings everything with it
    )
    assert "majority" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert list((tmp_path / "out").rglob("report.html"))
    assert list((tmp_path / "out").rglob("scoring_spec.json"))
