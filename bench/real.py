"""Shared by the measurements: a real Prosody, and calls in a real Asterisk 22 for a recipient with a real client."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parts.asterisk import Asterisk, watch
from parts.box import INSTALLED, Box
from parts.certificates import Authority
from parts.fastagi import FastAgiServer
from parts.pbx import DOMAIN, in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Received, Recipient

SCREEN_POP = f"{INSTALLED}/screen_pop.py"
BARE = f"{INSTALLED}/bare.py"  # a Python AGI script that does nothing
STRAIGHT = "/opt/straight/straight.py"
OUTBOX = "/var/spool/asterisk/screen_pop"
FASTAGI_OUTBOX = "/var/spool/asterisk/fastagi"

# The times go to a file of their own: a process that waits for it isn't woken by each line of the log.
DIALPLAN = """
[bench]
exten => 123,1,Set(BEFORE=${STRFTIME(,,%s%6q)})
 same => n,AGI(${SCRIPT},${CALLERID(num)})
 same => n(after),Set(AFTER=${STRFTIME(,,%s%6q)})
 same => n,Set(FILE(${TIMES},,,al,u)=${CALLERID(num)} ${BEFORE} ${AFTER})
 same => n,Hangup()
exten => 124,1,Set(BEFORE=${STRFTIME(,,%s%6q)})
 same => n,JabberSend(box,${SCRIPT},Call from ${CALLERID(num)})
 same => n,Goto(123,after)
"""
# Asterisk's own session, for JabberSend()
XMPP = """
[box]
type = client
serverhost = 127.0.0.1
port = {port}
username = {jid}/asterisk
secret = {password}
usetls = yes
usesasl = yes
"""
# The script registers this for the end of each call, which is then not told: that would disturb the next measurement.
END_OF_CALLS = """
[screen_pop]
exten => ended,1,Return()
"""
PATIENCE = 60  # seconds for all calls of a burst
QUIET = 5.0  # seconds without a message after which the missing ones count as lost
NUMBER = re.compile(r"\+1 ?212-?(\d{3})-?(\d{4})")  # identifies a pop; for reading, or as it came


def memory(pid: int) -> float:
    """Of a process, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return float(found[1]) / 1024


@dataclass(frozen=True)
class Begun:
    """Calls that have begun. `times`: the file to which the dialplan writes when AGI() began and ended."""

    times: str
    numbers: list[str]


@dataclass(frozen=True)
class Held:
    """One call, and the times before and after AGI(), in microseconds since the epoch."""

    number: str
    before: int
    after: int

    @property
    def milliseconds(self) -> float:
        return (self.after - self.before) / 1000


class Calls:
    def __init__(self, asterisk: Asterisk, prosody: Prosody, alice: Recipient, fastagi: str) -> None:
        """`fastagi`: the address of the door that listens, whose sender has a spool of its own."""
        self.asterisk, self.prosody, self.alice, self.fastagi = asterisk, prosody, alice, fastagi
        self.made = 0

    def make(self, script: str, count: int = 1, exten: str = "123") -> list[Held]:
        """Make calls (`begin`). Returns when AGI() has ended for all of them."""
        return self.ended(self.begin(script, count, exten))

    def pop(self, script: str, exten: str = "123") -> tuple[Held, Received]:
        """Make one call. Until its message comes, this process does nothing: it shares its GIL with the client."""
        begun = self.begin(script, exten=exten)
        message = self.message_about(begun.numbers[0])
        (call,) = self.ended(begun)
        return call, message

    def begin(self, script: str, count: int = 1, exten: str = "123") -> Begun:
        """Make `count` calls at once, each from another number. `exten`: 124: JabberSend(), to the JID `script`."""
        times = f"/tmp/held-{self.made}"
        variables = {"SCRIPT": script, "TIMES": times}
        numbers = [number(self.made + call) for call in range(count)]
        self.made += count
        self.asterisk.come_in(
            *[self.asterisk.call_file(exten, "bench", callerid_num=number, variables=variables) for number in numbers]
        )
        return Begun(times, numbers)

    def ended(self, begun: Begun) -> list[Held]:
        """Returns when AGI() has ended for all of these calls."""
        self.asterisk.wait_for(r"^\S+ \d+ \d+$", begun.times, count=len(begun.numbers), timeout=PATIENCE)
        lines = self.asterisk.box.path(begun.times).read_text().splitlines()
        return [Held(number, int(before), int(after)) for number, before, after in map(str.split, lines)]

    def message_about(self, number: str) -> Received:
        while number not in numbers_in((message := self.alice.wait_for_message()).body):
            pass
        return message

    def end_sender(self) -> None:
        """End the sender when its spool is empty, so that the next one doesn't send a message again."""
        box = self.asterisk.box
        for pid in box.processes("screenpop.sender"):  # those that calls have started
            for folder in ("new", "queue"):  # in this order: calls become messages
                wait_until_empty(box.path(f"{OUTBOX}/{folder}"))
            box.run(["sh", "-c", f"kill -KILL {pid}"])
            box.run(["flock", f"{OUTBOX}/lock", "true"])  # free when it has ended


def number(count: int) -> str:
    """A valid one, as those of most callers, and another for each count from 0 to 7,999,999."""
    return f"+1212{2_000_000 + count}"


def numbers_in(text: str) -> list[str]:
    """The callers' numbers in the text of pops, as the calls have them."""
    return [f"+1212{exchange}{line}" for exchange, line in NUMBER.findall(text)]


def wait_until_empty(folder: Path) -> None:
    changes = watch(folder)
    try:
        while any(folder.iterdir()):
            if not select.select([changes], [], [], PATIENCE)[0]:
                raise TimeoutError(f"{folder} is not empty after {PATIENCE} s")
            os.read(changes, 65536)
    finally:
        os.close(changes)


@contextlib.contextmanager
def real_prosody() -> Iterator[Prosody]:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)  # Prosody runs as another user
        with Prosody(folder / "prosody", Authority(folder).issue(folder, DOMAIN)) as prosody:
            yield prosody


@contextlib.contextmanager
def real_calls(more: str = "") -> Iterator[Calls]:
    """`more`: of the dialplan."""
    with real_prosody() as prosody, Box() as box:
        xmpp = XMPP.format(port=prosody.port, jid=prosody.jid("pbx"), password=prosody.accounts["pbx"])
        files = {"modules.conf": "load = func_dialplan.so\nload = res_xmpp.so\n", "xmpp.conf": xmpp}
        with in_real_asterisk(box, prosody, DIALPLAN + more, "", files) as (asterisk, alice):
            box.path(BARE).write_text("#!/usr/bin/env python3\n")
            box.path(BARE).chmod(0o755)
            install_straight(box)
            with FastAgiServer(box, FASTAGI_OUTBOX) as server:
                yield Calls(asterisk, prosody, alice, server.url)


def install_straight(box: Box) -> None:
    """With only the libraries that it needs: if xmpppy finds dnspython, it imports that, too, which is slow."""
    folder = box.path(STRAIGHT).parent
    folder.mkdir()
    shutil.copy2(Path(__file__).with_name("straight.py"), folder)
    (packages,) = box.path(f"{INSTALLED}/venv/lib").glob("python3.*/site-packages")
    shutil.copy2(packages / "six.py", folder)
    for package in ("asterisk", "xmpp"):
        shutil.copytree(packages / package, folder / package)
