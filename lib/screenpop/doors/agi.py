"""The AGI door: one process per call. It reads the call from Asterisk, hands it over, and tells the dialplan.

The caller waits as long as this runs: it imports next to nothing, not even `os`, and nothing of XMPP.
"""

from __future__ import annotations

import _signal
import posix
import sys

from ..spool.outbox import Outbox, path_from_environment
from . import intake
from .asterisk import Conversation
from .conversation import AGI


class HangUp:
    """SIGHUP, by which Asterisk tells the script that the caller has hung up. It ends a wait, and nothing else."""

    def __init__(self) -> None:
        self.came = self.waiting = False
        _signal.signal(_signal.SIGHUP, self._handle)

    def _handle(self, signum: int, frame: object) -> None:
        self.came = True
        if self.waiting:
            raise intake.HungUp

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """Wait until there is something to read; False when the time is over first. Raises intake.HungUp."""
        import select  # here: most calls don't wait

        self.waiting = True
        try:
            if self.came:
                raise intake.HungUp
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            self.waiting = False


def act_as_owner(outbox: str) -> None:
    """When run by root, by hand: what root makes, Asterisk's user could neither open nor remove."""
    if posix.geteuid() != 0:
        return
    import os

    there = outbox if os.path.isdir(outbox) else os.path.dirname(outbox)
    if os.path.isdir(there):
        owner = os.stat(there)
        if owner.st_uid:
            os.setgroups([])
            os.setgid(owner.st_gid)
            os.setuid(owner.st_uid)


def main() -> None:
    """Raises AGIException or OSError when Asterisk doesn't describe a call."""
    hang_up = HangUp()
    agi = AGI(sys.stdin.buffer, sys.stdout.buffer)
    arguments = [argument.encode(sys.getfilesystemencoding(), "surrogateescape") for argument in sys.argv[1:]]
    conversation = Conversation(agi.env, arguments, has_newline=any(b"\n" in argument for argument in arguments))
    outbox = Outbox(path_from_environment())
    act_as_owner(outbox.path)
    agi.send_all(conversation.commands())
    if conversation.earlier:
        conversation.problems += intake.hand_over(outbox, conversation.earlier, 0.0, hang_up.wait_readable)[1]
    status, problems = intake.hand_over(outbox, conversation.call, conversation.seconds, hang_up.wait_readable)
    agi.end(conversation.last_commands(status, problems))
    posix.close(1)  # by which Asterisk sees that nothing follows; the end of this process takes longer
