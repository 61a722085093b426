"""Calls that are only counted (pop/flood.py), and the summaries that tell of them: "… called 990 more times".

A summary is a message in queue/ that has the ids of the calls it counts. It is written anew with each of them, before
the call leaves new/; so after a kill no call is missing, and a call that is taken in again is not counted again. While
the flood goes on, its summary is not in the backlog; when that is over, it is sent like any other message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator

from ..call import EVENTS, Call, tie, uptime
from ..log import Log
from ..pop import flood
from ..spool.queue import MESSAGES, Queue
from ..spool.records import SUMMARY, InvalidFile, Message, read_message
from . import events
from .backlog import Backlog

REMEMBERED = 4 * flood.MOST_CALLS  # counted calls that are in memory
LONGEST_CALL = 3600.0  # seconds from a call to its end, if only what ties them tells to which call it belongs
MOST_READ = 2000  # messages of the sender before that are read at the start


class _Flood:
    def __init__(self, summary: Message, quiet_from: float) -> None:
        self.summary, self.quiet_from = summary, quiet_from
        self.ends = time.monotonic() + flood.LONGEST

    def due(self) -> float:
        """When it is over, as time.monotonic(). What counts is when calls are taken in: late ones come all at once."""
        if len(self.summary.counted) >= flood.MOST_CALLS:
            return 0.0
        return min(self.ends, self.quiet_from + flood.MINUTE)


class Floods:
    def __init__(self, queue: Queue, backlog: Backlog, log: Log) -> None:
        self.queue, self.backlog, self.log = queue, backlog, log
        self.rule = flood.Rule()
        self._present: dict[flood.Key, _Flood] = {}
        self._counted_before: set[tuple[str, str]] = set()  # calls in new/ and recipients, of a sender that was killed
        self._counted: dict[str, str] = {}  # ids of calls, by themselves and by what ties their events (call.py)
        self._summaries: set[str] | None = None  # the names of those that were there before, and are not read yet

    def __len__(self) -> int:
        """How many go on."""
        return len(self._present)

    def limit(self, messages: list[Message], most: int) -> tuple[list[Message], list[Message]]:
        """Those messages that are sent, and in place of the others the summaries that count them. `most`: [pop]
        flood_limit; 0: no limit.
        """
        messages = [one for one in messages if (one.call.id, one.to) not in self._counted_before]
        if not most:
            return messages, []
        if self._present:
            self.end()
        sent, summaries = [], []
        for message in messages:
            key = flood.key(message.call, message.to)
            if key is None or message.call.receipt or message.is_second or message.name in self.backlog:
                sent.append(message)  # the last two are no new messages: they correct one
            elif key not in self._present and self.rule.allows(key, _moment(message.event), most):
                sent.append(message)
            else:
                summaries.append(self._count(key, message, most))
        return sent, summaries

    def _count(self, key: flood.Key, message: Message, most: int) -> Message:
        """Returns the summary."""
        call, event, now = message.call, message.event, time.monotonic()
        if key not in self._present:
            summary = Message(call, message.to, "", message.contact, event, counted=[call.id])
            self._present[key] = _Flood(summary, now)
            self.log.write(f"{call.id} {message.to} flood: more than {most} calls of this caller within a minute")
        found = self._present[key]
        found.quiet_from = now
        summary = found.summary
        summary.counted[call.id] = None
        if summary.call.seconds_until(event) > summary.call.seconds_until(summary.event):
            summary.outcome = event
        self._remember([call.id])
        return summary

    def _remember(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._counted[id] = id
            if tied := tie(id):
                self._counted[tied] = id
        while len(self._counted) > REMEMBERED:
            del self._counted[next(iter(self._counted))]

    def next_due(self) -> Iterator[float]:
        """When each of them is over, as time.monotonic()."""
        return (found.due() for found in self._present.values())

    def end(self, everything: bool = False) -> None:
        """The summaries of those that are over are sent."""
        now = time.monotonic()
        for key, found in list(self._present.items()):
            if everything or found.due() <= now:
                del self._present[key]
                summary = found.summary
                seconds = summary.call.seconds_until(summary.event)
                self.log.write(
                    f"{summary.call.id} {summary.to} flood: {len(summary.counted)} more calls within {seconds:.0f} s"
                )
                self.backlog.add(summary.name)

    def have_counted(self, event: Call, firsts: Collection[tuple[str, Message]]) -> bool:
        """Whether it follows or repeats a call that was only counted: nobody is told of it. `firsts`: the messages that
        it may correct. Raises OSError.
        """
        newest = max((first.call.id for _, first in firsts), default="")
        return any(self._has_counted(call, event, newest) for call in events.related(event))

    def _has_counted(self, call: str, event: Call, newest: str) -> bool:
        """`call`: its id, or what ties its events, which may be used again for another call."""
        if not newest and event.event != EVENTS[0] and call not in self._counted:
            self._read_summaries(call, event)
        counted = self._counted.get(call, "")
        if not counted or counted == event.id:  # it was counted for some recipients, before a kill
            return False
        if event.event == EVENTS[0]:
            return abs(_began(event.id) - _began(counted)) < events.REPEATED
        return counted > newest if counted != call else not newest

    def _read_summaries(self, call: str, event: Call) -> None:
        """Those of other senders that may count this call; each is read once."""
        if self._summaries is None:
            names = {name for folder in MESSAGES for name in self._names(folder)}
            self._summaries = {name for name in names if name.endswith(SUMMARY)}
        last = _began(call) or _began(event.id)
        first = last - (0.0 if _began(call) else LONGEST_CALL) - flood.LONGEST - flood.MINUTE
        for name in [one for one in self._summaries if first <= _began(one) <= last + flood.MINUTE]:
            self._summaries.remove(name)
            for folder in MESSAGES:
                try:
                    self._remember(read_message(f"{self.queue.path}/{folder}/{name}").counted)
                except (FileNotFoundError, InvalidFile):
                    continue

    def _names(self, folder: str, since: float = 0.0) -> list[str]:
        """Those in a folder; none if nothing has been moved to it since this time. Raises OSError."""
        path = f"{self.queue.path}/{folder}"
        try:
            return os.listdir(path) if os.stat(path).st_mtime >= since else []
        except FileNotFoundError:  # it is made with the next message
            return []

    # After a restart

    def recall(self) -> None:
        """What the sender before has sent within the last minute counts as well. Raises OSError."""
        since = time.time() - flood.MINUTE
        first = f"{since:017.6f}"  # names begin with the time of the call
        names = sorted(
            (name, folder)
            for folder in ("queue", "sent")
            for name in self._names(folder, since)
            if name >= first and name.count("~") == 1
        )
        for name, folder in names[-MOST_READ:]:
            try:
                message = read_message(f"{self.queue.path}/{folder}/{name}")
            except (FileNotFoundError, InvalidFile):  # `Delivery` tells of it
                continue
            key = flood.key(message.call, message.to)
            if key and not message.is_silent:
                self.rule.count(key, _moment(message.call), MOST_READ)

    def resume(self, name: str) -> bool:
        """Whether this is the summary of a flood that goes on. Raises OSError."""
        if not name.endswith(SUMMARY):
            return False
        try:
            written = os.stat(f"{self.queue.path}/queue/{name}").st_mtime
            summary = self.queue.load(name)
        except (FileNotFoundError, InvalidFile):
            return False
        self._counted_before.update((call, summary.to) for call in summary.counted if self.queue.is_new(call))
        key = flood.key(summary.call, summary.to)
        ago = max(0.0, time.time() - written)
        if not key or ago >= flood.MINUTE:
            return False
        if key in self._present:  # an earlier one, which could not be sent yet
            self.backlog.add(self._present[key].summary.name)
        self._present[key] = _Flood(summary, time.monotonic() - ago)
        self._remember(summary.counted)
        return True


def _began(id: str) -> float:
    """The time with which an id or a name begins; 0 if it has none."""
    try:
        return float(id[:17]) if id[10:11] == "." else 0.0
    except ValueError:
        return 0.0


def _moment(event: Call) -> float:
    """By the uptime, which nobody can set."""
    return uptime() - event.age()
