"""What every door does with a call: queue it, ring the trigger, and wait for the sender's reply if that is wanted."""

from __future__ import annotations

import time

from ..spool import trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..call import Call
    from ..spool.outbox import Outbox
    from ..spool.replies import Replies

LONGEST_WAIT = 60.0  # seconds


class HungUp(Exception):
    """The caller hung up during the wait."""


def hand_over(
    outbox: Outbox, call: Call, seconds: float, wait_readable: Callable[[int, float], bool]
) -> tuple[str, list[str]]:
    """Queue the call, see that a sender is up, and wait up to `seconds` for the server's confirmation; 0: don't wait.

    `wait_readable(descriptor, seconds)` waits until that can be read, or returns False when the time is over; it may
    raise HungUp, which ends the wait. Returns the value for SCREEN_POP_STATUS, and a text for each thing that is wrong.
    """
    handed = HandedOver(outbox, call, is_waited_for=seconds > 0)
    try:
        end = time.monotonic() + seconds
        while handed.replies:
            if not wait_readable(handed.replies.fileno(), max(0.0, end - time.monotonic())):
                handed.time_is_over()
            elif handed.is_settled():
                break
    except HungUp:
        pass
    except OSError as error:
        handed.problems.append(f"not waiting: {error}")
    finally:
        handed.close()
    return handed.status, handed.problems


class HandedOver:
    """A call that is queued, and for which a sender is up; or it says why not.

    `status`: the value for SCREEN_POP_STATUS. `problems`: a text for each thing that is wrong. `replies`: what the
    sender reports, for as long as it is waited for; `is_settled` is to be called when they can be read.
    """

    def __init__(
        self, outbox: Outbox, call: Call, is_waited_for: bool, ring: Callable[[str], None] = trigger.ring
    ) -> None:
        """`ring`: sees that the sender of an outbox is up, and wakes it."""
        queued, self.replies, self.problems = _queue(outbox, call, is_waited_for)
        self.status = "QUEUED" if queued else "FAILED"
        self._reason = "no confirmation yet"
        if queued:
            try:
                ring(queued.path)
            except OSError as error:
                self.problems.append(f"no sender can be started ({error}): the call waits in {queued.path}")
                self.close()

    def is_settled(self) -> bool:
        """Read the replies. Whether the wait is over."""
        try:
            for reply in self.replies.read() if self.replies else ():
                if reply.get("status") in ("DELIVERED", "FAILED") or reply.get("is_final"):
                    self.status = reply["status"]
                    self.problems += [reply["reason"]] if reply.get("reason") else []
                    return True
                self._reason = reply.get("reason", self._reason)
        except BlockingIOError:  # there are none yet
            return False
        except (OSError, ValueError) as error:
            self.problems.append(f"not waiting: {error}")
            return True
        return False

    def time_is_over(self) -> None:
        self.problems.append(self._reason)
        self.close()

    def close(self) -> None:
        if self.replies:
            self.replies.close()
            self.replies = None


def _queue(outbox: Outbox, call: Call, wanted: bool) -> tuple[Outbox | None, Replies | None, list[str]]:
    """Write the call into the outbox, or else into the spare one. Returns where it is, the replies if they are wanted,
    and what is wrong.
    """
    problems: list[str] = []
    try:
        return outbox, _put(outbox, call, wanted, problems), problems
    except OSError as error:
        problem = f"the spool can't be written ({error})"
    problems = []
    try:
        spare = outbox.spare()
        replies = _put(spare, call, wanted, problems)
        return spare, replies, [f"{problem}: the call waits in memory, in {spare.path}", *problems]
    except OSError as error:
        return None, None, [f"{problem}, nor can memory ({error})"]


def _put(outbox: Outbox, call: Call, wanted: bool, problems: list[str]) -> Replies | None:
    """Raises OSError when the call can't be written; that replies can't be read only goes into `problems`."""
    replies = None
    if wanted:
        from ..spool.replies import Replies  # here: most doors don't wait

        try:
            replies = Replies(outbox, call)  # before the call is there: the sender may be fast
        except OSError as error:
            problems.append(f"not waiting: {error}")
    try:
        outbox.put(call)
    except OSError:
        if replies:
            replies.close()
        raise
    return replies
