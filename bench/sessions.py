"""What boxes cost an XMPP server while nobody calls: each has a session, and signs in again when its server has gone.

    bench/run.sh sessions [SESSIONS]

They sign in one after the other, each with an account of its own, to an ejabberd on the same machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from drain import processor_time
from parts.certificates import Authority
from parts.ejabberd import Ejabberd
from parts.pbx import DOMAIN, Pbx
from real import memory
from screenpop.xmpp.session import Session


def nothing(*_: object) -> None:
    """Steps, errors and receipts are of no interest."""


def main(count: int) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # the server has another user
        certificate = Authority(folder).issue(folder, DOMAIN)
        accounts = {f"pbx{which}": f"secret {which}" for which in range(count + 1)}
        server = stack.enter_context(Ejabberd(folder / "ejabberd", certificate, accounts=accounts))
        server.stop()  # which frees the memory that it took to make the accounts
        server.start()
        pbx = stack.enter_context(Pbx(folder, server, server.ca_file))

        def sign_in(which: int) -> None:
            user = f"pbx{which}"
            pbx.configure(jid=server.jid(user), password=accounts[user])
            stack.enter_context(closing(Session(pbx.config.xmpp, "box", nothing, nothing, nothing)))

        sign_in(0)  # after which all is loaded
        processes = {"sender": os.getpid(), "ejabberd": server.pid}
        worked = {who: processor_time(pid) for who, pid in processes.items()}
        used, began = memory(server.pid), time.monotonic()
        for which in range(1, count + 1):
            sign_in(which)
        seconds = time.monotonic() - began
        print(f"{count} sessions, one after the other\n")
        print(f"sign-ins per second{count / seconds:27.1f}")
        for who, pid in processes.items():
            each = 1000 * (processor_time(pid) - worked[who]) / count
            print(f"{f'{who}: CPU time for each, ms':38}{each:8.1f}")
        print(f"ejabberd: memory before them, MB      {used:8.1f}")
        print(f"ejabberd: memory with all of them, MB {memory(server.pid):8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
