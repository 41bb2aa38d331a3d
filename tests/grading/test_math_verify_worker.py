from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prm.grading.math_verify_worker import compare, to_latex
from prm.rollouts import Outcome


@pytest.mark.parametrize(
    ("answer", "latex"),
    [
        ("2 1/2", r"$2\frac{1}{2}$"),
        ("10,000", "$10000$"),
        ("-.5", "$-0.5$"),
        ("12.5%", r"$12.5\%$"),
        ("1.5e3", r"$1.5 \times 10^{3}$"),
        ("east", r"$\text{east}$"),
        ("x**10 + 2√3", r"$x^{10} + 2\sqrt{3}$"),
        ("90°", r"$90^\circ $"),
    ],
)
def test_answers_are_written_as_math_verify_reads_them(answer: str, latex: str) -> None:
    assert to_latex(answer) == latex


def test_compare_tells_wrong_from_unparsable() -> None:
    assert compare("1+x", "x+1") is Outcome.CORRECT
    assert compare("x", "x+1") is Outcome.WRONG
    assert compare(r"\frac{", "x+1") is Outcome.UNPARSABLE
    assert compare(r"\frac{", r"\sqrt{") is Outcome.WRONG  # texts, where the reference is no mathematics either


ATTACK = """
import sys
from pathlib import Path
import math_verify, sympy
from prm.grading.math_verify_worker import compare, lock_in

control, canary = Path(sys.argv[1]), Path(sys.argv[2])
touch = "__import__('os').system('touch {}')"
sympy.sympify(touch.format(control))  # what an unguarded SymPy does with a string
lock_in(256)
import os, socket, subprocess
attempts = [
    lambda: sympy.sympify(touch.format(canary)),
    lambda: sympy.sympify("exit()"),
    lambda: eval(touch.format(canary)),
    lambda: subprocess.run(["touch", canary]),
    lambda: canary.write_text("x"),
    lambda: os.close(os.open(canary, os.O_CREAT | os.O_WRONLY)),
    lambda: socket.socket(),
    lambda: os.remove(control),
    lambda: os.fork(),
]
for number, attempt in enumerate(attempts):
    try:
        attempt()
    except (PermissionError, ValueError, sympy.SympifyError):
        print("refused", number)
print(sympy.sympify("1/3 + 2"), compare(r"\\frac{7}{3}", "2 + 1/3"))
"""


def test_the_locked_in_process_refuses_side_effects_and_still_grades(tmp_path: Path) -> None:
    control, canary = tmp_path / "control", tmp_path / "canary"
    run = subprocess.run(
        [sys.executable, "-c", ATTACK, str(control), str(canary)], capture_output=True, text=True, check=True
    )
    assert run.stdout.split("\n")[:-1] == [*(f"refused {n}" for n in range(9)), "7/3 correct"]
    assert control.exists(), "the control must show that the attack works where nothing guards"
    assert not canary.exists()
