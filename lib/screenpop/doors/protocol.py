"""The lines of an AGI conversation (`res/res_agi.c`), written so that no value can change a command.

Asterisk takes the next line when its descriptor can be read. A line that came together with another one waits in a
buffer until then, so a command must not be sent before the reply to the one before. At the end of file the descriptor
can always be read: the last commands may be sent together, if nothing follows.
"""

from __future__ import annotations

import posix

from ..text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_REPLY = 65536  # characters
_BEGIN = "200 result=1 ("


def quote(value: object) -> str:
    """As `parse_args` reads it: a backslash escapes. A newline would begin a second command, and so would what is
    beyond the length of a line (2047 bytes in Asterisk 16).
    """
    text = clean(str(value), limit=1024)
    if len(text) > 960 or not text.isascii():
        text = text.encode()[:960].decode("utf-8", "ignore")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def set_variable(name: str, value: str) -> str:
    return f"SET VARIABLE {quote(name)} {quote(value)}\n"


def verbose(text: str) -> str:
    """A line on Asterisk's console."""
    return f"VERBOSE {quote(text)} 1\n"


class Command:
    """A line for Asterisk, and the reply to it.

    With `names`, it asks for the values of these variables and functions, all at once: GET FULL VARIABLE substitutes
    an expression. In that, a random mark stands around each value, so that no value can be taken for two.
    """

    def __init__(self, line: str = "", names: Sequence[str] = ()) -> None:
        self._names = names
        self._mark = posix.urandom(8).hex()
        self._reply = ""
        if names:
            expression = self._mark + "".join(f"${{{name}}}{self._mark}" for name in names)
            line = f"GET FULL VARIABLE {quote(expression)}\n"
        self.line = line

    def is_answered_by(self, line: str) -> bool:
        """Take the next line of the reply. Whether it was the last one: a value may have lines."""
        self._reply += line
        is_value = self._names and self._reply.startswith(_BEGIN) and len(self._reply) <= LONGEST_REPLY
        return not is_value or line.endswith(f"{self._mark})\n")

    def values(self) -> dict[str, str]:
        """The value of each name, as clean text; empty where there is none. Raises ValueError."""
        before, *values, after = self._reply.split(self._mark) if self._mark in self._reply else ("", "")
        if (before, after) != (_BEGIN, ")\n") or len(values) != len(self._names):
            raise ValueError(f"the channel's variables can't be read: {_clean(self._reply, 128)}")
        return {name: _clean(value, 1024) for name, value in zip(self._names, values)}


def _clean(text: str, limit: int) -> str:
    return clean(text.encode("ascii", "surrogateescape"), limit)
