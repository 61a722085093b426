"""The FastAGI door: `AGI(agi://127.0.0.1/screen_pop,${CALLERID(num)})`. It listens beside the sender, in its process.

Asterisk connects for each call, and both talk as with the script (asterisk.py). What follows the address in the URL
doesn't matter. One thread has all connections: each is a generator, which is resumed when there is something to read.
"""

from __future__ import annotations

import errno
import math
import os
import select
import socket
import threading
import time

from ..spool import trigger
from .asterisk import Conversation
from .intake import HandedOver
from .protocol import Command, set_variable, verbose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from ipaddress import IPv4Network, IPv6Network
    from typing import Protocol, Union

    from ..spool.outbox import Outbox

    Network = Union[IPv4Network, IPv6Network]
    # What is yielded is the time until which to wait, by time.monotonic(); what comes back is the descriptor that can
    # be read, or None when that time is over.
    Waits = Generator[float, Union[int, None], None]
    WaitsForLine = Generator[float, Union[int, None], bool]

    class Sender(Protocol):
        """That of the outbox, in this process. The door calls it from its thread, while only one call waits for it."""

        def expect(self, number: str) -> None:
            """A call from this number will be queued."""

        def send_at_once(self) -> None:
            """A call has been queued: send it, if there is nothing else to do."""


MOST_CONNECTIONS = 500  # conversations at once, with those that wait (SCREEN_POP_WAIT)
MOST_REFUSED = 500  # connections that are told why they are refused
MOST_LINES, MOST_BYTES = 100, 65536  # of what Asterisk says of a call
DESCRIBE_WITHIN = 5.0  # seconds for all that Asterisk says of a call
REPLY_WITHIN = 5.0  # seconds for its reply to a command
END_WITHIN = 5.0  # seconds for it to take the last commands
LEAVE_WITHIN = 2.0  # seconds for the conversations in progress when the door is closed
LOGGED_EVERY = 60.0  # seconds, each kind of trouble
RING_WITHIN = 0.2  # seconds
BACKLOG = 1024  # connections that the kernel accepts until the door takes them
STATUS = "SCREEN_POP_STATUS"
_BLANKS = " \t\r\v\f"
_AT_ONCE, _WITH_MORE = int(socket.MSG_DONTWAIT), int(socket.MSG_MORE)  # enums are slow to combine


class Trouble(Exception):
    """A client breaks the protocol. The log has one line a minute of each `kind`."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Door:
    """Listens from its construction on, and answers from `start` on. `port`: the one that it has."""

    def __init__(
        self,
        listen: tuple[str, int],
        outbox: Outbox,
        log: Callable[[str], object],
        networks: Sequence[Network] = (),
        permitted: Callable[[str], tuple[str, str]] | None = None,
        most: int = MOST_CONNECTIONS,
        sender: Sender | None = None,
    ) -> None:
        """`listen`: host and port. `networks`: those that may connect; empty: all. `permitted`: of recipients joined by
        "&", those that the dialplan may give, and a text about the others. `most`: conversations at once. Raises
        OSError.
        """
        family = socket.AF_INET6 if ":" in listen[0] else socket.AF_INET
        self._listener = socket.create_server(listen, family=family, backlog=BACKLOG)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the connections inherit it
        self.port: int = self._listener.getsockname()[1]
        self.outbox, self._log, self._most, self._sender = outbox, log, most, sender
        self.limit(networks, permitted)
        self._logged: dict[str, tuple[float, int]] = {}  # by kind: when, and how many there were since then
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}  # by each of their descriptors
        self._conversations = 0  # connections without those that are refused
        self.holding = 0  # of these, those whose call waits for the door
        self._look_at = math.inf  # the first deadline
        self._to_ring: set[str] = set()  # outboxes
        self._ring_at = math.inf
        self._leave_at = math.inf
        self._woken, self._wake = os.pipe()
        self._reserve = self._open_reserve()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(self._woken, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="fastagi", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def limit(self, networks: Sequence[Network], permitted: Callable[[str], tuple[str, str]] | None) -> None:
        """For the calls that come from now on."""
        self._networks, self.permitted = networks, permitted

    def leave(self) -> None:
        """Take no more calls, and end the conversations within LEAVE_WITHIN seconds. A signal handler may call it."""
        os.write(self._wake, b".")

    def close(self) -> None:
        """Leave, and wait until the conversations have ended."""
        self.leave()
        if self._thread.ident:
            self._thread.join(LEAVE_WITHIN + 1)
        else:
            self._epoll.close()
        self._listener.close()
        for descriptor in (self._wake, self._woken, self._reserve):
            if descriptor >= 0:
                os.close(descriptor)

    def watch(self, connection: Connection, descriptor: int) -> None:
        """Resume the connection when this can be read, too."""
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Before it is closed."""
        self._epoll.unregister(descriptor)
        del self._connections[descriptor]

    def ring(self, outbox: str) -> None:
        """Wake its sender as soon as no call waits for the door, and within RING_WITHIN seconds: they share the GIL."""
        if not self._to_ring:
            self._ring_at = time.monotonic() + RING_WITHIN
        self._to_ring.add(outbox)

    def expect(self, number: str) -> None:
        """While Asterisk replies: what the number tells is found out, if no other call waits for the door."""
        if self._sender and self.holding == 1:
            self._sender.expect(number)

    def _ring(self) -> None:
        outboxes, self._to_ring = self._to_ring, set()
        if self._sender and self.outbox.path in outboxes and not self.holding:
            try:
                self._sender.send_at_once()
            except Exception as error:  # a bug
                self.report("error", f"{type(error).__name__}: {error}")
        for outbox in outboxes:
            try:
                trigger.ring(outbox)
            except OSError as error:
                self.report("sender", f"no sender can be started ({error}): calls wait in {outbox}")

    def report(self, kind: str, text: str) -> None:
        """Log it, at most one line a minute of each kind."""
        when, more = self._logged.get(kind, (-math.inf, 0))
        if time.monotonic() < when + LOGGED_EVERY:
            self._logged[kind] = when, more + 1
            return
        self._logged[kind] = time.monotonic(), 0
        self._log(f"FastAGI: {text}" + (f" ({more} more of this kind before)" if more else ""))

    def _run(self) -> None:
        while time.monotonic() < self._leave_at and (self._leave_at == math.inf or self._connections):
            try:
                self._turn()
            except Exception as error:  # a bug; or a log that can't be written
                self.report("error", f"{type(error).__name__}: {error}")
                time.sleep(0.1)  # it may come again at once
        for connection in set(self._connections.values()):
            self._close(connection)
        self._ring()
        self._epoll.close()

    def _turn(self) -> None:
        """Wait, and resume the connections that can go on."""
        until = min(self._look_at, self._ring_at if self.holding else 0.0) if self._to_ring else self._look_at
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        ready = [descriptor for descriptor, _ in self._epoll.poll(timeout)]
        if self._to_ring and (not (ready or self.holding) or time.monotonic() >= self._ring_at):
            self._ring()
        for descriptor in ready:
            if connection := self._connections.get(descriptor):
                self._resume(connection, descriptor)
        if time.monotonic() >= self._look_at:
            self._look_at_deadlines()
        if self._listener.fileno() in ready:
            self._accept()
        if self._woken in ready:
            self._begin_to_leave()

    def _look_at_deadlines(self) -> None:
        now, self._look_at = time.monotonic(), self._leave_at
        for connection in set(self._connections.values()):
            if connection.deadline <= now:
                self._resume(connection, None)
            else:
                self._look_at = min(self._look_at, connection.deadline)

    def _begin_to_leave(self) -> None:
        self._epoll.unregister(self._woken)
        self._epoll.unregister(self._listener)
        while self._accept():  # what the kernel has accepted is told, too
            pass
        self._listener.close()
        self._leave_at = time.monotonic() + LEAVE_WITHIN
        for connection in set(self._connections.values()):
            connection.deadline = min(connection.deadline, self._leave_at - 0.5)  # time for the last commands
        self._look_at = min(self._look_at, self._leave_at - 0.5)

    def _accept(self) -> bool:
        """Take one connection. Whether there may be more."""
        try:
            sock, (host, *_) = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return self._accept_with_reserve()
            self.report("connection", f"no connection can be taken: {error.strerror}")
            time.sleep(0.01)  # it may come again at once
            return False
        if self._networks and not self._may_connect(host):
            self._refuse(sock, host, "network", f"{host} is not in [fastagi] allow")
        elif self._conversations >= self._most:
            self._refuse(sock, host, "connections", f"{self._most} conversations are in progress, no more are possible")
        else:
            self._conversations += 1
            self._begin(Connection(self, sock, host))
        return True

    def _may_connect(self, host: str) -> bool:
        from ipaddress import ip_address

        address = ip_address(host)
        return any(address in network for network in self._networks)

    def _refuse(self, sock: socket.socket, host: str, kind: str, text: str) -> None:
        self.report(kind, text)
        connection = Connection(self, sock, host, refusal=text)
        if len(self._connections) < self._most + MOST_REFUSED:
            self._begin(connection)
        else:
            connection.end(refusal(text))
            sock.close()

    def _open_reserve(self) -> int:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def _accept_with_reserve(self) -> bool:
        """There are no file descriptors: let the call go on, which would wait for us."""
        text = "no file descriptors are left"
        self.report("descriptors", text)
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
        try:
            sock, _ = self._listener.accept()
        except OSError:
            time.sleep(0.01)  # another thread has taken it
            return False
        Connection(self, sock, "", refusal=text).end(refusal(text))
        sock.close()
        try:
            self._reserve = self._open_reserve()
        except OSError:
            pass
        return True

    def _begin(self, connection: Connection) -> None:
        self.watch(connection, connection.descriptor)
        self._resume(connection, None)

    def _resume(self, connection: Connection, ready: int | None) -> None:
        try:
            connection.deadline = connection.steps.send(ready)
            self._look_at = min(self._look_at, connection.deadline)
            return
        except StopIteration:
            pass
        except Trouble as trouble:
            self.report(trouble.kind, str(trouble))
        except ConnectionAbortedError:  # nothing was said: a check whether somebody listens
            pass
        except OSError as error:
            self.report("connection", f"{connection.host}: {error.strerror}")
        except Exception as error:  # a bug
            self.report("error", f"{type(error).__name__}: {error}")
            connection.end(refusal(f"{type(error).__name__}: {error}"))
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.steps.close()
        connection.let_go()
        self._conversations -= not connection.is_refused
        self.unwatch(connection.descriptor)
        connection.sock.close()


def refusal(text: str) -> str:
    return verbose(f"screen_pop: {text}") + set_variable(STATUS, "FAILED")


class Connection:
    """`steps`: what is done, from one wait to the next. `deadline`: until when it waits."""

    def __init__(self, door: Door, sock: socket.socket, host: str, refusal: str = "") -> None:
        self.door, self.sock, self.host = door, sock, host
        self.descriptor = sock.fileno()
        self.deadline = math.inf
        self.is_refused = bool(refusal)
        self.is_hung_up = self.is_ended = False
        self._is_holding = False
        self.steps = self._refuse(refusal) if refusal else self._talk()
        self._said = bytearray()  # and not taken yet

    def hold(self) -> None:
        """The call waits for the door. One that is not described does not: the client may say nothing."""
        self.door.holding += not self._is_holding
        self._is_holding = True

    def let_go(self) -> None:
        """The call doesn't wait for the door any more."""
        self.door.holding -= self._is_holding
        self._is_holding = False

    def end(self, last_commands: str) -> None:
        """Send these, and nothing more; once. The client may have gone."""
        self.let_go()
        if not self.is_ended:
            self.is_ended = True
            try:
                self._send(last_commands, _WITH_MORE)  # in one packet with the end
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def _talk(self) -> Waits:
        conversation = yield from self._conversation()
        self.is_hung_up |= b"HANGUP\n" in self._said
        is_waited_for = conversation.seconds > 0 and not self.is_hung_up
        if conversation.earlier:
            conversation.problems += HandedOver(self.door.outbox, conversation.earlier, False, self.door.ring).problems
        handed = HandedOver(self.door.outbox, conversation.call, is_waited_for, self.door.ring)
        if handed.replies:
            yield from self._wait(handed, handed.replies.fileno(), conversation.seconds)
        self.end(conversation.last_commands(handed.status, handed.problems))
        yield from self._drain()

    def _refuse(self, text: str) -> Waits:
        self.end(refusal(text))
        yield from self._drain()

    def _conversation(self) -> Generator[float, int | None, Conversation]:
        """What Asterisk says of the call, with its replies to what it is asked about it."""
        env, arguments, has_newline = environment((yield from self._description()))
        self.hold()
        conversation = Conversation(env, arguments, has_newline, self.door.permitted)
        commands, answered = conversation.commands(), None
        try:
            while True:
                command = commands.send(answered)  # type: ignore[arg-type] # None begins
                answered = yield from self._is_answered(command, conversation.call.number)
        except StopIteration:
            pass
        if conversation.is_disturbed:
            # An empty line in the caller's number ends what Asterisk says of the call; then the caller may have written
            # the arguments, and what Asterisk says after that comes where a reply should.
            others = conversation.problems
            conversation = Conversation(env, arguments, has_newline=True)
            conversation.problems += others
        return conversation

    def _description(self) -> Generator[float, int | None, list[str]]:
        """The lines by which Asterisk describes the call."""
        deadline = time.monotonic() + DESCRIBE_WITHIN
        seen = 0
        while (end := self._said.find(b"\n\n", max(0, seen - 1))) < 0:
            seen = len(self._said)
            if seen > MOST_BYTES or self._said.count(b"\n", 0, MOST_BYTES) > MOST_LINES:
                break
            if (yield deadline) is None:
                text = f"{self.host} has not described a call within {DESCRIBE_WITHIN:.0f} s"
                self.end(refusal(text))
                raise Trouble("silence", text)
            if not self._receive():
                if not self._said:
                    raise ConnectionAbortedError
                raise Trouble("end", f"{self.host} has gone before it had described a call")
        lines = self._said[:end].decode("ascii", "surrogateescape").split("\n") if end >= 0 else []
        if not end > 0 or len(lines) > MOST_LINES or end > MOST_BYTES:
            text = f"{self.host} doesn't describe a call in {MOST_LINES} lines and {MOST_BYTES} bytes"
            self.end(refusal(text))
            raise Trouble("size", text)
        del self._said[: end + 2]
        return lines

    def _is_answered(self, command: Command, number: str) -> WaitsForLine:
        """Send the command, and let it take the reply; whether there is one. The call must be queued in any case."""
        deadline = time.monotonic() + REPLY_WITHIN
        try:
            self._send(command.line)
            self.door.expect(number)
            while True:
                while (end := self._said.find(b"\n")) < 0:
                    if (yield deadline) is None:
                        self.door.report("reply", f"{self.host} has not replied within {REPLY_WITHIN:.0f} s")
                        return False
                    if not self._receive() or len(self._said) > MOST_BYTES:
                        return False
                line = self._said[: end + 1].decode("ascii", "surrogateescape")
                del self._said[: end + 1]
                if line == "HANGUP\n":
                    self.is_hung_up = True
                elif command.is_answered_by(line):
                    return True
        except OSError:
            return False

    def _wait(self, handed: HandedOver, fifo: int, seconds: float) -> Waits:
        """For the sender's replies, until the caller hangs up or the time is over."""
        self.let_go()
        end = time.monotonic() + seconds
        is_over = False
        self.door.watch(self, fifo)
        try:
            while not self.is_hung_up and not is_over:
                ready = yield end
                if ready == fifo:
                    if handed.is_settled():
                        break
                elif ready is None:
                    is_over = True
                elif not self._receive() or b"HANGUP\n" in self._said or len(self._said) > MOST_BYTES:
                    self.is_hung_up = True
        except OSError:  # the connection has been reset
            pass
        finally:
            self.door.unwatch(fifo)
            if is_over:
                handed.time_is_over()
            handed.close()

    def _drain(self) -> Waits:
        """Read until Asterisk has taken the last commands: data that nobody has read would reset the connection."""
        deadline = time.monotonic() + END_WITHIN
        while (yield deadline) is not None and self._receive():
            self._said.clear()

    def _send(self, text: str, flags: int = 0) -> None:
        """All of it fits into the kernel's buffer, unless the client doesn't read. Raises OSError."""
        data = text.encode()
        if self.sock.send(data, _AT_ONCE | flags) < len(data):
            raise OSError(errno.ENOBUFS, "it doesn't read what it is told")

    def _receive(self) -> bool:
        """Take what has come. False at the end of it. Raises OSError."""
        try:
            data = self.sock.recv(MOST_BYTES, _AT_ONCE)
        except BlockingIOError:
            return True
        self._said += data
        return bool(data)


def environment(lines: Sequence[str]) -> tuple[dict[str, str], list[bytes], bool]:
    """The variables, the arguments of AGI(), and whether there are lines that Asterisk has not made: each of its names
    comes once, and the arguments come last. A newline in the caller's number would make more of them.
    """
    env: dict[str, str] = {}
    arguments: list[bytes] = []
    has_newline = False
    for line in lines:
        name, colon, value = line.partition(":")
        is_argument = name == f"agi_arg_{len(arguments) + 1}"
        is_out_of_place = bool(arguments) and not is_argument
        has_newline |= is_out_of_place or not colon or not name.startswith("agi_") or name in env
        env[name] = value.strip(_BLANKS)
        if is_argument:
            arguments.append(value[1:].encode("ascii", "surrogateescape"))
    return env, arguments, has_newline
