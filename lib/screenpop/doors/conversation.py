"""The script's side of AGI: pyst2's AGI over two byte streams, hardened against what callers send (`res/res_agi.c`)."""

from __future__ import annotations

from . import pyst2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import BinaryIO

    from .protocol import Command


class AGI(pyst2.AGI):  # type: ignore[misc]
    """pyst2's AGI, except that the lines that are sent and taken are those of protocol.py.

    `env`: the variables as Asterisk sent them, bytes beyond ASCII as lone surrogates (PEP 383).
    The constructor raises AGIException and OSError.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        lines = _Lines(reader, writer)
        super().__init__(stdin=lines, stdout=lines, stderr=_Nowhere())

    def send_all(self, commands: Generator[Command, bool, None]) -> None:
        """One after the other; each is told whether there was a reply."""
        answered = None
        try:
            while True:
                answered = self._is_answered(commands.send(answered))  # type: ignore[arg-type] # None begins
        except StopIteration:
            pass

    def _is_answered(self, command: Command) -> bool:
        try:
            self.send_command(command.line)
            while not command.is_answered_by(self.stdin.readline()):
                pass
        except (pyst2.AGIException, OSError):  # the call must still be queued
            return False
        return True

    def end(self, last_commands: str) -> None:
        """Send these, and nothing more."""
        try:
            self.stdout.write(last_commands)
            self.stdout.flush()
        except OSError:
            pass


class _Lines:
    """The two streams as pyst2 uses them: it reads and writes text, a line at a time."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.reader, self.writer = reader, writer

    def readline(self) -> str:
        """Bytes beyond ASCII become lone surrogates: all bytes can be decoded, and pyst2, which strips each line,
        takes none of them for a blank. Raises AGIHangup when Asterisk has closed the stream.
        """
        line = self.reader.readline()
        while line == b"HANGUP\n":  # sent between the replies by FastAGI, and by AGI when AGISIGHUP is "no"
            line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise pyst2.AGIHangup("end of file: Asterisk has ended the conversation")
        return line.decode("ascii", "surrogateescape")

    def write(self, text: str) -> None:
        self.writer.write(text.encode())

    def flush(self) -> None:
        self.writer.flush()


class _Nowhere:
    """Where pyst2 logs each line: in an AGI script, stderr is Asterisk's console."""

    def write(self, text: str) -> None:
        pass
