"""The fake-AGI harness without an Asterisk: beside the recording of a real one, and by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

import fake_agi
from fake_agi import Channel, ScriptTimeout
from parts import held, recording
from parts.probe import SCENARIOS

RECORDED = json.loads((recording.RECORDINGS / "asterisk-22.json").read_text())
Script = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes a shell script that has read its environment, and goes on as given."""

    def write(body: str) -> Path:
        path = tmp_path / "script.sh"
        path.write_text(f'#!/bin/sh\nwhile read -r line && [ -n "$line" ]; do :; done\n{body}\n')
        path.chmod(0o755)
        return path

    return write


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_as_the_recorded_asterisk(tmp_path: Path, scenario: str) -> None:
    assert recording.record_harness(scenario, tmp_path, like=RECORDED[scenario]) == RECORDED[scenario]


@pytest.mark.parametrize("left_behind", held.CASES)
def test_what_the_call_waits_for(tmp_path: Path, left_behind: str) -> None:
    """As test_harness_is_faithful.py shows of Asterisk."""
    body, expected = held.CASES[left_behind]
    files = {what: tmp_path / what for what in ("script", "order", "gate")}
    order, gate = held.Fifo(files["order"]), held.Fifo(files["gate"])
    files["script"].write_text(f"#!/bin/sh\n{body.format(**files)}\n")
    files["script"].chmod(0o755)

    def dialplan() -> None:
        result = Channel().run([files["script"]])
        order.write_line(f"dialplan {result.agistatus}")

    thread = threading.Thread(target=dialplan)
    thread.start()
    assert held.order_of(expected, order, gate) == expected
    thread.join()
    order.close()
    gate.close()


def test_what_is_not_known_of_a_caller(script: Script) -> None:
    told = [line for _, line in Channel().run([script("")]).conversation]
    assert {"agi_callerid: unknown", "agi_calleridname: unknown", "agi_dnid: unknown", "agi_rdnis: unknown"} < set(told)


def test_a_function_is_a_variable_with_parentheses(script: Script) -> None:
    channel = Channel(variables={"CHANNEL(linkedid)": "1700000000.7"})
    result = channel.run([script("echo 'GET VARIABLE CHANNEL(linkedid)'; read -r answer")])
    assert result.conversation[-1] == (fake_agi.TO_SCRIPT, "200 result=1 (1700000000.7)")


def test_what_the_script_has_done(script: Script) -> None:
    body = """
        echo 'VERBOSE "hello there" 3'; read -r answer
        echo 'SET VARIABLE ANSWER 42'; read -r answer
        echo 'EXEC Playback beep'; read -r answer
        echo "$answer" >&2
    """
    result = Channel(applications={"playback": 0}, variables={"GIVEN": "1"}).run([script(body)])
    assert result.verbose == ["hello there"]
    assert result.variables == {"GIVEN": "1", "ANSWER": "42"}
    assert result.executed == [("Playback", "beep")]
    assert result.stderr == b"200 result=0\n"
    assert (result.status, result.agistatus) == (0, "SUCCESS")


def test_env_is_added_to_what_asterisk_sets(script: Script) -> None:
    result = Channel().run([script('echo "$AST_RUN_DIR $MINE" >&2')], env={"AST_RUN_DIR": "/elsewhere", "MINE": "too"})
    assert result.stderr == b"/elsewhere too\n"


@pytest.mark.parametrize("how", [{"hangup_at": "env"}, {"hangup_after": 0}])
def test_hangup_after_the_environment_ends_a_script_that_does_nothing_about_it(
    script: Script, how: dict[str, Any]
) -> None:
    result = Channel().run([script("read -r forever")], **how)
    assert (result.status, result.agistatus) == (-signal.SIGHUP, "HANGUP")


def test_hangup_after_so_many_commands(script: Script) -> None:
    # a shell could miss the signal between looking for it and waiting for a line
    body = f"""exec {sys.executable} -c '
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
for number in range(3):
    if number == 2: signal.sigwait([signal.SIGHUP])
    print("ANSWER", flush=True)
    input()'
"""
    result = Channel().run([script(body)], hangup_after=2)
    answers = [
        line for direction, line in result.conversation if direction == fake_agi.TO_SCRIPT and line[:1].isdigit()
    ]
    assert [answer[:3] for answer in answers] == ["200", "200", "511"]
    assert (result.status, result.agistatus) == (0, "HANGUP")


def test_hangup_when_a_command_has_arrived(script: Script) -> None:
    channel = Channel(variables={"AGISIGHUP": "no"})
    result = channel.run([script("for i in 1 2; do echo ANSWER $i; read -r answer; done")], hangup_at="ANSWER 2")
    assert [line[:3] for _, line in result.conversation[-3::2]] == ["200", "511"]
    assert (result.status, result.agistatus) == (0, "HANGUP")


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    result = Channel().run([tmp_path / "nothing"])
    assert (result.status, result.agistatus, result.conversation) == (None, "NOTFOUND", [])


@pytest.mark.parametrize(("text", "mode"), [("#!/bin/sh", 0o644), ("#!/no/such/interpreter", 0o755), ("", 0o755)])
def test_a_script_that_cannot_be_run(tmp_path: Path, text: str, mode: int) -> None:
    path = tmp_path / "script"
    path.write_text(text)
    path.chmod(mode)
    result = Channel().run([path])
    assert (result.status, result.agistatus) == (None, "FAILURE")


def test_a_script_that_takes_too_long_is_killed(script: Script) -> None:
    with pytest.raises(ScriptTimeout, match="< NOOP\n> 200 result=0") as caught:
        Channel().run(
            [script('echo "SET VARIABLE PID $$"; read -r a; echo NOOP; read -r a; exec sleep 1000')], timeout=1
        )
    pid = next(line for line in str(caught.value).splitlines() if "PID" in line).split()[-1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_fastagi() -> None:
    """The caller hangs up after the first command; the server is told by a line."""
    heard: list[str] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw", newline="\n") as lines:
            heard.extend(iter(lambda: lines.readline().strip(), ""))
            for command in ("NOOP", "GET VARIABLE EXTEN"):
                lines.write(f"{command}\n")
                lines.flush()
                heard.append(lines.readline().strip())
            heard.append(lines.readline().strip())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        url = f"agi://127.0.0.1:{listener.getsockname()[1]}/pop?x=1"
        result = Channel(extension="12").run([url, "one"], hangup_after=1)
        server.join()
    assert heard[:3] == ["agi_network: yes", "agi_network_script: pop?x=1", f"agi_request: {url}"]
    assert heard[-4:] == ["agi_arg_1: one", "200 result=0", "HANGUP", "200 result=1 (12)"]
    assert (result.status, result.agistatus) == (0, "HANGUP")


def test_fastagi_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert Channel().run([f"agi://127.0.0.1:{port}/"]).agistatus == "FAILURE"


def by_hand(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, fake_agi.__file__, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_by_hand(script: Script) -> None:
    shown = by_hand(
        "--callerid", "123", "--name", "Ann", "--pres", "32", "--dnid", "9", "--extension", "7", "--context", "in",
        "--variable", "A=b=c", script("echo 'GET VARIABLE A'; read -r answer; exit 3"), "--dead", "x",
    )  # fmt: skip
    lines = shown.stdout.splitlines()
    for told in ("callerid: 123", "calleridname: Ann", "callingpres: 32", "dnid: 9", "extension: 7", "context: in"):
        assert f"> agi_{told}" in lines
    assert lines[-5:-1] == ["> agi_arg_2: x", "> ", "< GET VARIABLE A", "> 200 result=1 (b=c)"]
    assert lines[-1].startswith("exit status 3, AGISTATUS FAILURE, the call was held ")
    assert shown.returncode == 0


def test_by_hand_after_a_hangup(script: Script) -> None:
    assert "> 511 " in by_hand("--dead", script("echo ANSWER; read -r answer")).stdout
    assert "exit status -1, AGISTATUS HANGUP" in by_hand("--hangup-after", "0", script("read -r forever")).stdout


def test_by_hand_with_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    assert by_hand(tmp_path / "nothing").stderr == f"There is no script {tmp_path}/nothing.\n"
    assert by_hand(tmp_path / "plain").stderr == f"{tmp_path}/plain is not executable: chmod +x {tmp_path}/plain\n"
