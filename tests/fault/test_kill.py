"""`kill -9` at the system calls of the script and of the sender, one at a time.

By default these are all that come after Python's start, and a spread of those before, which only read. With
SCREEN_POP_KILL=all it is every one. The counts are printed.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fake_agi import Channel, Result
from parts import strace
from parts.certificates import Certificate
from parts.debs import NotAvailable
from parts.numbers import as_shown
from parts.pbx import SCRIPT, Pbx
from parts.prosody import ACCOUNTS, Prosody
from parts.recipient import Received, Recipient
from parts.relay import Relay
from parts.spool import files, messages
from parts.strace import Syscall
from screenpop.call import Call
from screenpop.spool.outbox import Outbox
from screenpop.spool.trigger import Trigger

EVERY_ONE = os.environ.get("SCREEN_POP_KILL") == "all"
pytestmark = pytest.mark.timeout(7200 if EVERY_ONE else 900)

SPREAD = 50  # of so many system calls of Python's start one is taken
SIDE_BY_SIDE = 2
ENOUGH = 10  # tries with faults: what is broken is clear then
WAITING = {"SCREEN_POP_WAIT": "20"}
FIRST, DOWN, UP, WAITED_FOR = "first call", "sender down", "sender up", "sender up, waiting"

_count = itertools.count()


@dataclass
class Try:
    """The result of one kill. A fault is a result that must not happen."""

    at: Syscall
    killed: bool
    told: bool = False
    delivered: int = 0
    repeats: int = 0
    faults: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server(server_folder: Path, certificate: Certificate) -> Iterator[Prosody]:
    try:
        strace.check()
        server = Prosody(server_folder / "kill", certificate, accounts={**ACCOUNTS, "bob": "bob's secret"})
    except (NotAvailable, strace.CantTrace) as reason:
        pytest.skip(f"kill -9 at system calls: {reason}")
    with server:
        yield server


@pytest.fixture(scope="module")
def recipients(server: Prosody) -> Iterator[list[Recipient]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Recipient.at(server, user)) for user in ("alice", "bob")]


@pytest.fixture
def boxes(server: Prosody, tmp_path: Path) -> Iterator[list[Pbx]]:
    """As many as work side by side. What a sender has not been told to have arrived is lost with it."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(server))
        made = []
        for number in range(SIDE_BY_SIDE):
            folder = tmp_path / str(number)
            folder.mkdir()
            pbx = stack.enter_context(Pbx(folder, relay, server.ca_file))
            # so that Python's start is the same each time, for each user who runs the tests
            pbx.env.update(PYTHONPYCACHEPREFIX=str(tmp_path / "pycache"), PYTHONDONTWRITEBYTECODE="")
            made.append(pbx)
        yield made


@pytest.mark.parametrize("state", [FIRST, DOWN, UP, WAITED_FOR])
def test_the_script_is_killed(
    state: str,
    boxes: list[Pbx],
    recipients: list[Recipient],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alice = recipients[0]
    variables = WAITING if state == WAITED_FOR else {}

    def kill(pbx: Pbx, at: Syscall) -> Try:
        if state == FIRST:
            take_another_outbox(pbx)
        before, number, after = len(alice.messages), new_number(), new_number()
        result = call(pbx, number, strace.killing(at), variables)
        tried = Try(at, killed=result.status == -signal.SIGKILL)
        status = result.variables.get("SCREEN_POP_STATUS")
        tried.told = status in ("QUEUED", "DELIVERED")
        if not tried.told and (status or not tried.killed):
            tried.faults.append(f"the dialplan is told {status}")
        end_of_try(pbx, after, tried, leaves=state in (FIRST, DOWN))
        alice.sync()
        came = alice.messages[before:]
        judge(came, after, tried, needed=True, at_most=1)
        tried.delivered = judge(came, number, tried, needed=tried.told, at_most=1)
        return tried

    for pbx in boxes:
        pbx.configure(linger=0 if state in (FIRST, DOWN) else 300)
        for _ in range(2):  # the first writes Python's cache
            end_of_try(pbx, new_number(), None, leaves=state in (FIRST, DOWN))
    if state == FIRST:
        take_another_outbox(boxes[0])
    call(boxes[0], new_number(), strace.recording(tmp_path / "trace"), variables)
    end_of_try(boxes[0], new_number(), None, leaves=state in (FIRST, DOWN))
    tries = kill_at_each(tmp_path / "trace", boxes, kill, f"script, {state}", capsys)
    assert any(tried.told and tried.killed for tried in tries)


def test_the_sender_is_killed(
    boxes: list[Pbx], recipients: list[Recipient], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = "&".join(recipient.jid for recipient in recipients)

    def send(pbx: Pbx, called: Sequence[str], prefix: list[str]) -> bool:
        """Queue the calls, and let a sender run under strace. Whether it was killed."""
        for number in called:
            pbx.outbox.put(Call(number=number, extension="123", to=to))
        Path(pbx.outbox.path, "resource").unlink(missing_ok=True)  # so that it is made anew
        for name in files(pbx.outbox, "sent"):  # so that each sender makes the same system calls
            Path(pbx.outbox.path, "sent", name).unlink()
        trigger = Trigger.acquire(pbx.outbox.path)
        assert trigger
        sender = subprocess.Popen(
            [*prefix, *command, pbx.outbox.path, str(trigger.lock), str(trigger.fifo)],
            env={**os.environ, **pbx.env},
            stdin=subprocess.DEVNULL,
            pass_fds=(trigger.lock, trigger.fifo),
            start_new_session=True,
        )
        trigger.close()
        os.close(trigger.lock)
        try:
            return sender.wait(60) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            os.killpg(sender.pid, signal.SIGKILL)
            raise

    def kill(pbx: Pbx, at: Syscall) -> Try:
        before, after = [len(recipient.messages) for recipient in recipients], new_number()
        called = [new_number() for _ in range(3)]
        tried = Try(at, killed=send(pbx, called, strace.killing(at)), told=True)
        spool = pbx.outbox
        end_of_try(pbx, after, tried, leaves=True)
        for number in called:
            kept = [message.to for message in messages(spool, "sent") if message.call.number == number]
            if sorted(kept) != sorted(recipient.jid for recipient in recipients):
                tried.faults.append(f"{number} is in sent/ for {kept}")
        for recipient, first in zip(recipients, before):
            recipient.sync()
            for number in called:
                came = judge(recipient.messages[first:], number, tried, needed=True, at_most=1 + tried.killed)
                tried.delivered += bool(came)
                tried.repeats += came > 1
        return tried

    for pbx in boxes:
        pbx.configure(linger=300)
        end_of_try(pbx, new_number(), None, leaves=False)
        command = command_of_sender(pbx)
        pbx.kill_sender()
        pbx.configure(linger=0)
        send(pbx, [new_number()], [])
    send(boxes[0], [new_number() for _ in range(3)], strace.recording(tmp_path / "trace"))
    tries = kill_at_each(tmp_path / "trace", boxes, kill, "sender", capsys)
    assert any(tried.repeats for tried in tries)  # killed between the confirmation and the removal


def new_number() -> str:
    return f"+1555{next(_count):07}"


def call(pbx: Pbx, number: str, prefix: Sequence[str] = (), variables: dict[str, str] | None = None) -> Result:
    channel = Channel(callerid=number, extension="123", variables=variables)
    return channel.run([*prefix, SCRIPT], env=pbx.env, timeout=60)


def command_of_sender(pbx: Pbx) -> list[str]:
    """That with which a door has started it, less the outbox and the descriptors."""
    words = Path(f"/proc/{pbx.sender()}/cmdline").read_text().rstrip("\0").split("\0")
    return words[: words.index("screenpop.sender") + 1]


def end_of_try(pbx: Pbx, number: str, tried: Try | None, leaves: bool) -> None:
    """The next call works, and all that waits is sent with it. A message that waits longer is a fault."""
    faults = [] if tried is None else tried.faults
    status = call(pbx, number, variables=WAITING).variables.get("SCREEN_POP_STATUS")
    if status != "DELIVERED":
        faults.append(f"the next call is {status}")
    if leaves:  # as soon as nothing waits
        gone = subprocess.run(["flock", "--timeout", "30", f"{pbx.outbox.path}/lock", "true"])
        if gone.returncode:
            faults.append("the sender stays")
    for folder in ("new", "queue", "failed"):
        faults += [f"in {folder}/: {file.name}" for file in Path(pbx.outbox.path, folder).iterdir()]
    if tried is None:
        assert not faults
    elif faults:  # so that they are told once
        pbx.kill_sender()
        take_another_outbox(pbx)
        call(pbx, new_number(), variables=WAITING)


def take_another_outbox(pbx: Pbx) -> None:
    pbx.outbox = Outbox(f"{pbx.conf.parent}/{new_number()}")
    pbx.env["SCREEN_POP_SPOOL"] = pbx.outbox.path


def judge(came: Sequence[Received], number: str, tried: Try, needed: bool, at_most: int) -> int:
    """How often, of the messages that came to somebody, was that of one call?"""
    of_call = [message for message in came if as_shown(number) in message.body]
    if needed and not of_call:
        tried.faults.append(f"{number} is lost")
    if len(of_call) > at_most:
        tried.faults.append(f"{number} came {len(of_call)} times")
    if len({message.id for message in of_call}) > 1:
        tried.faults.append(f"{number} was repeated with another stanza id")
    if any(origin_id(message) != message.id for message in of_call):
        tried.faults.append(f"{number} has an origin-id that isn't its stanza id")
    return len(of_call)


def origin_id(message: Received) -> str | None:
    """XEP-0359"""
    element = ET.fromstring(message.xml).find("{urn:xmpp:sid:0}origin-id")
    return None if element is None else element.get("id")


def kill_at_each(
    trace: Path,
    boxes: Sequence[Pbx],
    kill: Callable[[Pbx, Syscall], Try],
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> list[Try]:
    """Kill at each system call of this run, and print the counts."""
    calls = strace.recorded(trace)
    start = next(number for number, made in enumerate(calls) if boxes[0].outbox.path in made.line)
    chosen = calls if EVERY_ONE else [*calls[:start:SPREAD], *calls[start:]]

    def work(number: int) -> list[Try]:
        tries: list[Try] = []
        for at in chosen[number :: len(boxes)]:
            tries.append(kill(boxes[number], at))
            if sum(bool(tried.faults) for tried in tries) == ENOUGH:
                break
        return tries

    with ThreadPoolExecutor(len(boxes)) as pool:
        tries = [tried for done in pool.map(work, range(len(boxes))) for tried in done]
    faults = [f"{tried.at.name} {tried.at.nth}: {fault}" for tried in tries for fault in tried.faults]
    killed = [tried for tried in tries if tried.killed]
    with capsys.disabled():
        print(
            f"\n{name}: {len(calls)} system calls, {len(calls) - start} after the start; "
            f"tried {len(tries)}, killed {len(killed)}, told QUEUED {sum(tried.told for tried in killed)}, "
            f"delivered {sum(tried.delivered for tried in tries)}, repeats {sum(tried.repeats for tried in tries)}, "
            f"lost {sum(' is lost' in fault for fault in faults)}"
        )
    assert not faults, "\n".join(faults)
    return tries
