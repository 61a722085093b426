"""The AGI conversation: pyst2's AGI over two byte streams, hardened against what callers send (`res/res_agi.c`)."""

from __future__ import annotations

from ..text import clean
from . import pyst2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO


class AGI(pyst2.AGI):  # type: ignore[misc]
    """pyst2's AGI, except that no value can change a command, and that a hang-up doesn't end the conversation.

    `env`: the variables as Asterisk sent them, bytes beyond ASCII as lone surrogates (PEP 383).
    The constructor and all commands raise AGIException and OSError.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        lines = _Lines(reader, writer)
        super().__init__(stdin=lines, stdout=lines, stderr=_Nowhere())

    def _quote(self, string: object) -> str:
        """As `parse_args` in res_agi.c reads it: a backslash escapes. A newline would begin a second command, and so
        would what is beyond the length of a line (2047 bytes in Asterisk 16).
        """
        text = clean(str(string), limit=1024).encode()[:960].decode("utf-8", "ignore")
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    def get_result(self, stdin: object = None) -> dict[str, tuple[str, str]]:
        """Reads the plain reply itself, and leaves all others to pyst2 and its regular expressions."""
        try:
            code, is_result, rest = self.stdin.peek().rstrip().partition(" result=")
            value, has_data, data = rest.partition(" (")
            if code == "200" and is_result and value.isdigit() and (not has_data or data.endswith(")")):
                self.stdin.readline()
                return {"result": (value, data[:-1])}
            return super().get_result()  # type: ignore[no-any-return]
        except ValueError as error:  # a line that doesn't begin with a number
            raise pyst2.AGIUnknownError(f"not a reply: {error}") from error

    def value(self, name: str) -> str:
        """A channel variable or a dialplan function, as clean text; empty where there is none, or none can be had."""
        try:
            text = self.get_variable(name)
        except Exception:  # whatever it is, the call must still be queued
            return ""
        return clean(text.encode("ascii", "surrogateescape"), limit=1024)

    def attempt(self, command: Callable[..., None], *arguments: object) -> None:
        """A command whose failure changes nothing for the call."""
        try:
            command(*arguments)
        except (pyst2.AGIException, OSError):
            pass

    def test_hangup(self) -> None:
        """A call whose caller has hung up is shown as well; variables can also be set on a dead channel."""


class _Lines:
    """The two streams as pyst2 uses them: it reads and writes text, a line at a time."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self.reader, self.writer = reader, writer
        self.peeked = ""

    def peek(self) -> str:
        """The line that will be read next."""
        self.peeked = self.readline()
        return self.peeked

    def readline(self) -> str:
        """Bytes beyond ASCII become lone surrogates: all bytes can be decoded, and pyst2, which strips each line,
        takes none of them for a blank. Raises AGIHangup when Asterisk has closed the stream.
        """
        if self.peeked:
            peeked, self.peeked = self.peeked, ""
            return peeked
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
