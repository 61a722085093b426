"""The tests themselves, started in the background."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
TEST = """
import signal, subprocess, sys

def test_a_child_ignores_no_signal():
    code = "import signal; print(*(signal.getsignal(number).value for number in (signal.SIGQUIT, signal.SIGHUP)))"
    code += "; signal.raise_signal(signal.SIGINT)"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.stdout, child.returncode) == ("0 0\\n", -signal.SIGINT)
"""


def test_processes_that_tests_start_in_the_background_can_be_interrupted(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        ["sh", "-c", "trap '' INT QUIT HUP; exec \"$@\"", "sh", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}/lib"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
