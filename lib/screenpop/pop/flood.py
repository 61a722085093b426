"""The rule for a caller who calls again and again: which calls are shown, and which are only counted.

Of one caller, a recipient gets at most `most` messages within any minute, by the times of the calls. With the next
call a flood begins, whose calls are only counted. It is over when a minute has passed without such a call; or after 5
minutes or 5,000 calls, so that people hear of a flood that goes on.
"""

from __future__ import annotations

import re

from ..call import Call

MINUTE = 60.0  # seconds
LONGEST = 300.0  # seconds of a flood
MOST_CALLS = 5000  # of a flood; their ids stand in its summary, which is written anew with each of them
CALLERS = 2000  # that are remembered, with each of their recipients

_WRITTEN = re.compile(r"\+?[0-9\s().\-\u2010-\u2015/]+")  # as people write the digits of a number

TYPE_CHECKING = False
if TYPE_CHECKING:
    Key = tuple[str, str]  # the caller's number and the recipient


def key(call: Call, to: str) -> Key | None:
    """None: never limited. Callers without a number may be different ones, who can't be distinguished. Callers with the
    same number count as one, however it is written: trunks have it with or without + or 00.
    """
    if not call.number or call.withheld:
        return None
    digits = re.sub("^00|[^0-9]", "", call.number) if _WRITTEN.fullmatch(call.number) else ""
    return digits or call.number, to


class Rule:
    """Remembers the messages that were sent. Times are in seconds by any clock, those of late calls in any order."""

    def __init__(self) -> None:
        self._times: dict[Key, list[float]] = {}  # those that were used last are at the end

    def allows(self, key: Key, time: float, most: int) -> bool:
        """Whether a message about a call at this time is sent. Then it counts."""
        if sum(abs(time - one) < MINUTE for one in self._times.get(key, ())) >= most:
            return False
        self.count(key, time, most)
        return True

    def count(self, key: Key, time: float, most: int) -> None:
        """A message was sent about a call at this time."""
        times = self._times.pop(key, [])
        self._times[key] = [*times[-2 * most :], time]  # late and fresh calls may alternate
        if len(self._times) > CALLERS:
            del self._times[next(iter(self._times))]
