"""The demo of `./install.sh --demo`: the real script, a real Prosody and a real client. Only Asterisk is simulated."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from fake_agi import Channel, Result
from parts.certificates import Authority
from parts.debs import NotAvailable
from parts.prosody import Prosody
from parts.recipient import Recipient

SCRIPT = Path(__file__).parents[1] / "screen_pop.py"
DOMAIN = "screenpop.test"
CONFIGURATION = """\
[xmpp]
jid = pbx@{domain}
password = {password}
server = {server.host}:{server.port}
ca_file = {server.ca_file}

[pop]
to = alice@{domain}
linger = 1

[log]
file = {folder}/screen_pop.log
"""


def main(folder: Path, number: str) -> None:
    accounts = {user: os.urandom(12).hex() for user in ("pbx", "alice")}
    certificate = Authority(folder).issue(folder, DOMAIN)
    with Prosody(folder / "prosody", certificate, DOMAIN, accounts) as server:
        configuration = folder / "screen_pop.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.format(domain=DOMAIN, password=accounts["pbx"], server=server, folder=folder)
        )
        alice = Recipient(f"alice@{DOMAIN}", accounts["alice"], server.host, server.port, server.ca_file)
        with alice:
            print(f"Prosody is running on {server.host}:{server.port}; Alice's client is signed in.")
            os.environ.update(SCREEN_POP_CONF=str(configuration), SCREEN_POP_SPOOL=str(folder / "spool"))
            for title in ("A call comes in; no sender is running yet", "Another call; the sender is signed in"):
                print(f"\n{title}. The dialplan runs AGI(screen_pop.py,${{CALLERID(num)}}):\n")
                call(number, alice)
        wait_until_sender_has_left(folder / "spool")


def call(number: str, alice: Recipient) -> None:
    channel = Channel(callerid=number, calleridname="Bob Example", extension="123", dnid="123", context="incoming")
    began = time.time_ns()
    result: Result = channel.run(
        [SCRIPT, number],
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        show=lambda direction, line: print(f"    Asterisk {direction} {line}"),
    )
    received = alice.wait_for_message()
    print(f"\n    The dialplan continued after {result.held * 1000:.0f} ms. Alice's client shows:\n")
    print(f"        {received.from_jid}")
    print(f"        {received.body}")
    print(f"\n    {(received.at - began) / 1e6:.0f} ms after the call began.", flush=True)


def wait_until_sender_has_left(spool: Path) -> None:
    with (spool / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(Path(sys.argv[1]), sys.argv[2])
    except NotAvailable as why:
        sys.exit(f"install.sh: the demo needs Prosody: {why}")
