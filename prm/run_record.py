"""Where a stage writes, and what produced a file: versions, seed, command, commit, machine and duration, written
beside it as `run.json`.

`run.json` holds everything that differs between two runs with the same results; the results' own files hold none of
it, so that they can be compared byte by byte.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prm.errors import ConfigError
from prm.jsonl import write_json

RUN_FILE = "run.json"
LIBRARIES = (
    *("prm-toolkit", "torch", "transformers", "tokenizers", "trl", "peft"),
    *("datasets", "accelerate", "numpy", "math-verify", "safetensors"),
)


def prepare_output(directory: str | Path) -> Path:
    """Make a stage's output directory and see that files can be written into it; every stage calls this first.

    Raises:
        ConfigError: it is a file, lies under one, or takes no files.
    """
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"probe")
    except OSError as error:
        raise ConfigError(
            f"output_dir {path}: no directory that files can be written to ({error.strerror or error}); "
            "give another output_dir, or mend its permissions"
        ) from error
    return path


@contextmanager
def output_directory(path: str | Path) -> Iterator[Path]:
    """A stage's directory, made where it is not there. What was made is gone again where the run is refused before
    anything was written.

    Raises:
        ConfigError: it is a file, lies under one, or takes no files.
    """
    path = Path(path)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield prepare_output(path)
    except BaseException:
        for folder in made:
            with suppress(OSError):  # what is not empty stays
                folder.rmdir()
        raise


def other_run(directory: Path, there: str, here: str) -> ConfigError:
    """What is said where a finished run with other settings must not be replaced.

    Args:
        there, here: its first setting that differs, `name=value`, and the value asked for.
    """
    return ConfigError(
        f"{directory} holds a finished run with {there}, and this one has {here}; give another --output_dir, or "
        "--overwrite true to replace it (samples and scores that fit are used again)"
    )


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that results depend on, those that are installed."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def machine() -> dict[str, Any]:
    """Platform, processor cores this process may use, memory in GiB, and accelerators where torch is loaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts: dict[str, Any] = {"platform": platform.platform(), "cores": cores}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["accelerators"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return facts


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with `+` where files were changed; `None` when installed
    from a wheel or where git is missing."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


@dataclass
class RunRecord:
    """Started when a stage starts, written when it ends.

    >>> record = RunRecord(seed=0)
    >>> record.write("runs/rollouts", {"tokens": 1200})
    """

    seed: int | None = None
    command: str = field(default_factory=lambda: shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the start."""
        return time.monotonic() - self.clock

    def to_dict(self, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return {
            "command": self.command,
            "seed": self.seed,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "versions": library_versions(),
            "git_commit": git_commit(),
            "machine": machine(),
            **(extra or {}),
        }

    def write(self, directory: str | Path, extra: Mapping[str, Any] | None = None, *, name: str = RUN_FILE) -> None:
        """Write `run.json` into a stage's output directory; `extra` adds the stage's own facts."""
        write_json(Path(directory) / name, self.to_dict(extra))
