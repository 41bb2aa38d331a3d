"""The errors a user can cause, each with a message that says what is wrong, where, and what to do.

Every error derives from `PrmError` and from the stdlib error it is, so that library callers may catch either. The
command line prints the message without a traceback and exits with code 2; anything else that escapes is our bug.
"""

from __future__ import annotations

from pathlib import Path


class PrmError(Exception):
    """Root of all errors that a user can mend."""


class ConfigError(PrmError, ValueError):
    """An option, a recipe key or a combination of options that cannot work."""


class DataError(PrmError, ValueError):
    """A file, row or value that cannot be read as what it should be.

    Args:
        what: what is wrong, in one clause.
        path: the file it was found in.
        line: the 1-based line in that file; with a `unit` of its own (`prm.jsonl.RowNumber`), what that says.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, *, path: str | Path | None = None, line: int | None = None, remedy: str = ""):
        self.what, self.path, self.line, self.remedy = what, path, line, remedy
        place = "" if line is None else f", {getattr(line, 'unit', 'line')} {line}"
        where = "" if path is None else f"{path}{place}: "
        super().__init__(f"{where}{what}" + (f". {remedy}" if remedy else ""))


class MissingFileError(DataError, FileNotFoundError):
    """A file or directory that the user named and that is not there."""

    __str__ = Exception.__str__  # FileNotFoundError would print an errno pair


class FormatError(PrmError, ValueError):
    """A problem or step that its `StepFormat` cannot encode without changing its meaning."""


class ModelError(PrmError, ValueError):
    """A checkpoint that is not what it is used as."""


class OutOfMemoryError(PrmError, MemoryError):
    """The smallest possible batch does not fit into memory."""


class HubError(PrmError, RuntimeError):
    """A refused or failed exchange with the Hugging Face Hub."""


class EndpointError(PrmError, RuntimeError):
    """A refused or failed exchange with a model server."""
