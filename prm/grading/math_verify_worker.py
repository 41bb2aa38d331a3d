"""What runs inside a worker process: one comparison by Math-Verify after another, until the pool hangs up.

Math-Verify's own timeouts raise inside Python code, which a long integer power never returns to; here they are off,
and the pool kills the process instead. Only Math-Verify's LaTeX grammar is ever used on an answer: it builds SymPy
objects and evaluates no Python. Should a later version do so, the process has locked itself in before it reads its
first answer: a memory limit, an audit hook that refuses to start programs, write files or open sockets, and a guard on
SymPy's `parse_expr`, which is `eval` underneath.

Started by `prm.grading.workers` as `python -m prm.grading.math_verify_worker FD TIMEOUT MEMORY_MB`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from prm.grading.answers import drop_unit, is_words, normalise_answer
from prm.grading.plain_numbers import parse_number
from prm.rollouts import Outcome

ORPHAN_CHECK_S = 2.0
GRACE_S = 1.0

# LaTeX for Math-Verify ---------------------------------------------------------------------------------------------

_SYMBOLS = {"×": r"\times ", "·": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge "}
_SYMBOLS |= {"≠": r"\ne ", "°": r"^\circ ", "²": "^{2}", "³": "^{3}", "½": r"\frac{1}{2}", "∪": r"\cup ", "∈": r"\in "}
_UNICODE = str.maketrans(_SYMBOLS)
_ROOT = re.compile(r"√ ?(?:\(([^()]*)\)|(\d+|[A-Za-z]))")
_EXPONENT = re.compile(r"\^ ?(-?\d{2,}|-\d)")


def to_latex(answer: str) -> str:
    r"""Write a normalised answer as the inline LaTeX that Math-Verify reads best.

    Plain numbers in their canonical form (it reads `2 1/2` as 3/2), names in `\text` (else `east` is a product of four
    letters, and equals `seat`), `**` and multi-digit exponents as LaTeX has them.
    """
    number = parse_number(answer)
    if number is not None:
        return f"${number.latex}$"
    if is_words(answer):
        return rf"$\text{{{answer}}}$"
    answer = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", answer.translate(_UNICODE)).replace("**", "^")
    answer = _EXPONENT.sub(r"^{\1}", answer).replace("$", "").replace("%", r"\%")
    return f"${answer}$"


# One comparison ----------------------------------------------------------------------------------------------------


def compare(answer: str, reference: str) -> Outcome:
    """Compare two answers by Math-Verify alone.

    `UNPARSABLE`: the reference is mathematics and the answer is not, or the comparison ran out of memory or stack.
    Where the reference itself cannot be parsed, the two are compared as texts. May take forever.
    """
    from math_verify import verify

    answer, reference = normalise_answer(answer), normalise_answer(reference)
    answer, reference = drop_unit(answer, reference), drop_unit(reference, answer)
    parsed, gold = _parse(answer), _parse(reference)
    try:
        if parsed and gold and verify(gold, parsed, timeout_seconds=None, raise_on_error=True):
            return Outcome.CORRECT
    except (MemoryError, RecursionError):
        return Outcome.UNPARSABLE
    except Exception:  # SymPy raises anything on expressions it cannot compare: they are then not equal
        logging.getLogger(__name__).debug("no comparison", exc_info=True)
    if answer == reference:  # Math-Verify denies it of what it cannot parse and of undefined values such as 1/0
        return Outcome.CORRECT
    return Outcome.UNPARSABLE if gold and not parsed else Outcome.WRONG


def _parse(answer: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    parsed: list[Any] = parse(
        to_latex(answer), [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return parsed


# The process -------------------------------------------------------------------------------------------------------

_FORBIDDEN = (
    *("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "subprocess.", "pty.spawn"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate", "shutil."),
    *("socket.", "urllib.", "webbrowser.", "ctypes."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


# What SymPy itself passes to sympify(str): `Prefix("yotta")` when it loads its units, `sqrt(2)/2` in nsimplify.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)*")
_ARITHMETIC = re.compile(r"(?:[\d\s.+\-*/()]|\b(?:sqrt|exp|log|pi|E|I)\b)*")


def _refuse_side_effects(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook (PEP 578): a grader needs no program, no file to write and no socket."""
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
    if writes or event.startswith(_FORBIDDEN):
        raise PermissionError(f"a grading worker may not do this: {event}")


def lock_in(memory_mb: int) -> None:
    """Give up what grading does not need: side effects, `eval`, and memory beyond `memory_mb` above what is used now.

    Irrevocable for the process.
    """
    import sympy.parsing.sympy_parser as sympy_parser

    parse_expr = sympy_parser.parse_expr

    def parse_harmless(expression: str, *args: Any, **kwargs: Any) -> Any:
        if not (_NAME.fullmatch(expression) or _ARITHMETIC.fullmatch(expression)):
            raise ValueError("a grading worker evaluates names and numbers only")
        return parse_expr(expression, *args, **kwargs)

    sympy_parser.parse_expr = parse_harmless  # sympify(str), used inside SymPy, looks it up here at every call
    _limit_memory(memory_mb)
    sys.dont_write_bytecode = True
    sys.addaudithook(_refuse_side_effects)


def _limit_memory(memory_mb: int) -> None:
    try:
        import resource

        limit = _address_space() + memory_mb * 2**20
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):  # no such limit on this system: the deadline still holds
        logging.getLogger(__name__).debug("no memory limit", exc_info=True)


def _address_space() -> int:
    """Bytes of address space in use."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _address_space_or_zero() -> int:
    try:
        return _address_space()
    except OSError:  # not Linux
        return 0


def serve(connection: Connection, timeout_s: float, memory_mb: int) -> None:
    """Answer requests until the other end hangs up or the parent is gone.

    A comparison that outlives its deadline by `GRACE_S` ends the process by the kernel's own SIGALRM, so that a worker
    whose parent was killed in the middle of one does not outlive it.
    """
    logging.disable(logging.CRITICAL)
    parent = os.getppid()
    # The imports, the grammar's tables and SymPy's lazy modules, before any clock runs or any limit holds.
    compare(r"\frac{x^2-1}{x-1}", "x+1")
    lock_in(memory_mb)
    # Once half of the allowance is gone for good, a fresh process is better than one that starves.
    bloated = _address_space_or_zero() + memory_mb * 2**19
    connection.send_bytes(b"ready")
    while True:
        while not connection.poll(ORPHAN_CHECK_S):
            if os.getppid() != parent:
                return
        answer, reference = json.loads(connection.recv_bytes())
        connection.send_bytes(b"taken")
        signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)
        outcome = compare(answer, reference)
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply = {"outcome": outcome.value, "retire": _address_space_or_zero() > bloated}
        connection.send_bytes(json.dumps(reply).encode())


def main() -> None:
    """Entry point: file descriptor of the pipe, deadline in seconds, memory allowance in MB."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then hangs up
    descriptor, timeout_s, memory_mb = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    try:
        serve(Connection(descriptor), timeout_s, memory_mb)
    except (EOFError, OSError):  # the pool hung up
        return


if __name__ == "__main__":
    main()
