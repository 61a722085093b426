"""What boxes cost an XMPP server while nobody calls: each has a session, and signs in again when its server has gone.

    bench/run.sh sessions [SESSIONS]

All of them sign in one after the other, to an ejabberd on the same machine, with the account of one box.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from drain import processor_time
from parts.certificates import Authority
from parts.ejabberd import Ejabberd
from parts.pbx import DOMAIN, Pbx
from screenpop.xmpp.session import Session


def memory(pid: int) -> float:
    """Of a process, in kB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return float(found[1])


def nothing(*_: object) -> None:
    """Steps, errors and receipts are of no interest."""


def main(count: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # the server has another user
        server = stack.enter_context(Ejabberd(folder / "ejabberd", Authority(folder).issue(folder, DOMAIN)))
        pbx = stack.enter_context(Pbx(folder, server, server.ca_file))
        options = pbx.config.xmpp

        def sign_in(which: int) -> None:
            stack.enter_context(closing(Session(options, f"box-{which}", nothing, nothing, nothing)))

        sign_in(0)  # after which all is loaded
        processes = {"the sender": os.getpid(), "ejabberd": server.pid}
        worked = {who: processor_time(pid) for who, pid in processes.items()}
        used, began = memory(server.pid), time.monotonic()
        for which in range(1, count + 1):
            sign_in(which)
        seconds, more = time.monotonic() - began, memory(server.pid) - used
        print(f"{count} sessions, one after the other\n")
        print(f"sign-ins per second                          {count / seconds:8.1f}")
        for who, pid in processes.items():
            print(f"{f'CPU time for each sign-in, ms: {who}':45}{1000 * (processor_time(pid) - worked[who]) / count:8.1f}")
        print(f"ejabberd: memory for each session, kB        {more / count:8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
