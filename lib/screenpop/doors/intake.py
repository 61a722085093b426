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
    queued, replies, problems = _queue(outbox, call, wanted=seconds > 0)
    if queued is None:
        return "FAILED", problems
    status, problem = "QUEUED", ""
    try:
        trigger.ring(queued.path)
        if replies:
            status, problem = _wait(replies, seconds, wait_readable)
    except OSError as error:
        problem = f"no sender can be started ({error}): the call waits in {queued.path}"
    finally:
        if replies:
            replies.close()
    return status, [*problems, problem] if problem else problems


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


def _wait(replies: Replies, seconds: float, wait_readable: Callable[[int, float], bool]) -> tuple[str, str]:
    """The status once the sender has reported it, the time is over, or the caller has hung up; and its reason."""
    end = time.monotonic() + seconds
    reason = "no confirmation yet"
    try:
        while wait_readable(replies.fileno(), max(0.0, end - time.monotonic())):
            for reply in replies.read():
                if reply.get("status") in ("DELIVERED", "FAILED"):
                    return reply["status"], reply.get("reason", "")
                reason = reply.get("reason", reason)
    except HungUp:
        return "QUEUED", ""
    except (OSError, ValueError) as error:
        return "QUEUED", f"not waiting: {error}"
    return "QUEUED", reason
