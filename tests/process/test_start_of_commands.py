"""How `screen-pop` finds its commands, what starting them imports, and what they say when a library is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from parts.pbx import CHECKOUT, Pbx
from screenpop import libraries
from screenpop.call import Call


@pytest.fixture
def pbx(tmp_path: Path) -> Iterator[Pbx]:
    """Its server is down."""
    (tmp_path / "ca.pem").touch()
    with Pbx(tmp_path, SimpleNamespace(host="127.0.0.1", port=1), tmp_path / "ca.pem") as pbx:
        pbx.outbox.make()
        yield pbx


def imported(pbx: Pbx, *arguments: str) -> set[str]:
    """The modules that `screen-pop` with these arguments has imported at its end."""
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"sys.argv = {['screen-pop', *arguments]}\n"
        "from screenpop.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, **pbx.env, "PYTHONPATH": str(CHECKOUT / "lib")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


SLOW = {"argparse", "typing", "pathlib", "dataclasses", "inspect", "ssl", "socket", "xmpp", "dns", "asterisk"}


def test_a_look_at_the_version_or_the_status_imports_next_to_nothing(pbx: Pbx) -> None:
    assert imported(pbx, "--version") & {*SLOW, "json", "re", "screenpop.spool.outbox"} == set()
    assert imported(pbx, "status") & {*SLOW, "screenpop.config"} == set()


def test_help_names_each_command_and_imports_no_library(pbx: Pbx) -> None:
    said = " ".join(pbx.screen_pop("--help").split())
    for name in ("check", "flush", "status", "test"):
        first_line = (CHECKOUT / f"lib/screenpop/commands/{name}.py").read_text().partition("\n")[0].strip('"')
        assert f" {name} {first_line}" in said
    assert imported(pbx, "--help") & (SLOW - {"argparse"}) == set()


def test_a_command_that_is_unknown_is_told_which_there_are(pbx: Pbx) -> None:
    said = pbx.screen_pop("sned", status=2)
    assert "'sned'" in said and all(name in said for name in ("check", "flush", "status", "test"))
    assert "_spool" not in said


def test_a_command_is_a_file(pbx: Pbx, tmp_path: Path) -> None:
    pbx.library = shutil.copytree(pbx.library, tmp_path / "lib")
    (pbx.library / "screenpop/commands/greet.py").write_text(
        '"""Greet somebody."""\n'
        "def add_arguments(parser):\n"
        '    parser.add_argument("whom")\n'
        "def run(arguments):\n"
        '    print("Hello,", arguments.whom)\n'
        "    return 3\n"
    )
    assert pbx.screen_pop("greet", "Bob", status=3) == "Hello, Bob\n"
    assert "Greet somebody." in pbx.screen_pop("--help")


def test_a_command_that_is_broken_is_one_line(pbx: Pbx, tmp_path: Path) -> None:
    pbx.library = shutil.copytree(pbx.library, tmp_path / "lib")
    (pbx.library / "screenpop/commands/status.py").write_text("def\n")
    assert (
        pbx.screen_pop("status", status=1) == "screen-pop: invalid syntax (status.py, line 1): run install.sh again\n"
    )


# Libraries that are missing or broken


def test_the_libraries_are_those_that_are_required() -> None:
    (line,) = [
        line for line in (CHECKOUT / "pyproject.toml").read_text().splitlines() if line.startswith("dependencies")
    ]
    for library in libraries.MODULES:
        assert f'"{library}==' in line
    assert line.count("==") == len(libraries.MODULES)


BROKEN = [
    ("xmpp/auth", "raise ModuleNotFoundError(\"No module named 'gone'\")", "xmpppy", "No module named 'gone'"),
    ("xmpp/auth", "def", "xmpppy", "invalid syntax (auth.py, line 1)"),
    ("dns", "raise AttributeError('no such function')", "dnspython", "no such function"),
    ("asterisk", "import nowhere", "pyst2", "No module named 'nowhere'"),
]


def break_library(pbx: Pbx, module: str, content: str) -> None:
    folder = pbx.conf.parent / "broken"
    folder.mkdir(exist_ok=True)
    if "/" in module:
        (folder / module).parent.mkdir()
        (folder / module).with_name("__init__.py").touch()
    (folder / f"{module}.py").write_text(content + "\n")
    pbx.env["PYTHONPATH"] = str(folder)


@pytest.mark.parametrize(("module", "content", "library", "why"), BROKEN)
def test_check_names_a_library_that_is_missing_or_broken(
    pbx: Pbx, module: str, content: str, library: str, why: str
) -> None:
    break_library(pbx, module, content)
    first, *others = pbx.screen_pop("check", status=1).splitlines()
    assert first == f"PROBLEM  {library} can't be imported ({why}): run install.sh again"
    assert [line.split()[1] for line in others] == ["configuration", "permissions", "spool", "log", "service"]


def test_check_tells_of_a_python_that_has_been_upgraded(pbx: Pbx, tmp_path: Path) -> None:
    version = f"3.{sys.version_info[1]}"
    for installed, said in {version: False, "3.2": True}.items():
        pbx.library = shutil.copytree(CHECKOUT / "lib", tmp_path / f"venv/lib/python{installed}/site-packages")
        first = pbx.screen_pop("check", status=1).splitlines()[0]  # nothing else is right here, either
        text = f"PROBLEM  installed for Python 3.2, but it is {version} now: run install.sh again"
        assert (first == text) == said


def test_check_names_all_that_are_missing_at_once(pbx: Pbx) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "screenpop", "check"],  # without site-packages
        env={**os.environ, **pbx.env, "PYTHONPATH": str(pbx.library)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found = [line for line in done.stdout.splitlines() if "can't be imported" in line]
    assert done.returncode == 1 and len(found) == len(libraries.MODULES)
    assert all("(No module named " in line for line in found) and "Traceback" not in done.stdout


@pytest.mark.parametrize(("module", "content", "library", "why"), BROKEN[:2], ids=["missing", "broken"])
def test_a_sender_that_cant_start_says_why_wherever_somebody_looks(
    pbx: Pbx, module: str, content: str, library: str, why: str
) -> None:
    break_library(pbx, module, content)
    reason = f"{library} can't be imported ({why}): run install.sh again"
    assert f"it stays in the spool and is tried again: {reason}\n" in pbx.screen_pop("test", "1", status=1)
    (line,) = pbx.log.splitlines()
    assert line.endswith(f"the sender ends: {reason}")
    assert pbx.screen_pop("flush", status=1) == f"0 sent, 0 failed, 1 still waiting\n{reason}\n"
    said = pbx.screen_pop("status")
    assert "sender     none" in said and f" {reason}\n" in said
    assert pbx.sender() is None


def test_a_log_of_ones_own_gets_the_reason(pbx: Pbx, tmp_path: Path) -> None:
    with pbx.conf.open("a") as file:
        file.write(f"[log]\nfile = {tmp_path}/own.log\n")
    break_library(pbx, *BROKEN[0][:2])
    pbx.screen_pop("test", "1", status=1)
    assert "the sender ends: xmpppy can't be imported" in (tmp_path / "own.log").read_text()


def test_status_reads_the_configuration_for_what_waits(pbx: Pbx) -> None:
    call = Call(number="1")
    call.uptime -= 60
    call.time = time.time() - 60
    pbx.outbox.put(call)
    assert pbx.screen_pop("status", status=1).startswith("STUCK: 1 waiting")
    pbx.configure(late_after=120)
    assert pbx.screen_pop("status").startswith("OK: 1 waiting")
