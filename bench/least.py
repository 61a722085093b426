"""The least that a FastAGI server can do for the same promise, to see what the rest costs (hold.py).

It asks Asterisk as many questions, keeps the call in a file before it says so, and sends the number as it came: without
routes, phone book, limits or confirmation, and one call after the other. It is imported in the process of `screen-pop
serve`, and runs instead of that.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from screenpop import settings
from screenpop.doors import following
from screenpop.doors.protocol import Command, set_variable
from screenpop.spool.outbox import path_from_environment
from screenpop.xmpp import stanza
from screenpop.xmpp.session import Session


def serve() -> None:
    given = settings.load(settings.path_from_environment())
    session = Session(given.xmpp, "least", lambda *_: None, lambda *_: None, lambda *_: None)
    folder = Path(path_from_environment())
    folder.mkdir(exist_ok=True)
    question = Command(names=["SCREEN_POP_WAIT", following.OWN, following.INHERITED, *following.ANSWER]).line.encode()
    last = b"".join(set_variable(name, "QUEUED").encode() for name in ("SCREEN_POP_ID", "SCREEN_POP_STATUS"))
    assert given.fastagi.listen
    listener = socket.create_server(given.fastagi.listen)
    while True:
        connection, _ = listener.accept()
        said = b""
        while not said.endswith(b"\n\n") and (data := connection.recv(65536)):
            said += data
        if said:
            connection.sendall(question)
            connection.recv(65536)
            number = said.partition(b"agi_callerid: ")[2].partition(b"\n")[0].decode()
            written = os.open(folder / "written", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(written, said)
            os.rename(folder / "written", folder / number)
            os.close(written)
            connection.send(last, socket.MSG_MORE)
            connection.shutdown(socket.SHUT_WR)
            session.send(stanza.chat(f"least-{number}", given.routes.recipients()[0], f"Call from {number}"))
            while connection.recv(65536):
                pass
        connection.close()
        session.process()


serve()
