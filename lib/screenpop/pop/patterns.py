"""Asterisk's extension patterns, matched and ranked as its dialplan does it (`main/pbx.c`: `_extension_match_core`,
`ext_cmp`).

201       an extension, as it is written
_2XX      a pattern, after `_`: X is a digit 0 to 9, Z 1 to 9, N 2 to 9, in capital or small letters
_[2-57]X  one character of a set: 2 to 5, and 7
_2.       at the end: one or more characters of any kind
_2!       at the end: any number of characters of any kind, or none
A - outside of a set is ignored, in patterns and in what is dialled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_CLASSES = {"X": "0123456789", "Z": "123456789", "N": "23456789"}
# What ext_cmp_pattern_pos returns for these
_REST = {"": (), ".": ((0x18000, 0),), "!": ((0x28000, 0),)}
_END = (0x30000, 0)


class Pattern:
    """An extension or a pattern. The constructor raises ValueError with what is wrong.

    `rank`: where several match, the lowest is the one that Asterisk takes; two of the same rank are the same pattern.
    """

    def __init__(self, text: str) -> None:
        if len(split(text)) > 1:
            raise ValueError(f"{text!r} is not an extension: only one pattern may stand here")
        if found := re.search(r"[\s/]", text):
            reason = "the caller's number after a / is not supported" if found[0] == "/" else "it has a space in it"
            raise ValueError(f"{text!r} is not an extension: {reason}")
        self.text, self._rest, self.is_pattern = text, "", text.startswith("_")
        if not self.is_pattern:
            self._sets = [frozenset(character) for character in text.replace("-", "")]
            if not self._sets or set("[]") & set(text):
                raise ValueError(f"{text!r} is not an extension; a pattern begins with _, such as _{text or '2XX'}")
            self.rank: tuple[object, ...] = (0, text.replace("-", ""))
            return
        self._sets = list(self._read())
        if not self._sets and not self._rest:
            raise ValueError(f"{text!r} is not a pattern: nothing follows the _")
        self.rank = (1, *map(_specificity, self._sets), *_REST[self._rest], _END)

    def _read(self) -> Iterator[frozenset[str]]:
        """The characters that each place may have. Sets `_rest`."""
        for part in re.findall(r"\[[^]]*\]?|[^-]", self.text[1:]):
            if self._rest:
                raise ValueError(f"{self.text!r} is not a pattern: nothing may follow the {self._rest}")
            if part in ".!":
                self._rest = part
            elif part[0] == "[":
                yield self._set(part)
            elif part == "]" or not " " < part <= "~":
                raise ValueError(f"{self.text!r} is not a pattern: {part!r} may not stand here")
            else:
                yield frozenset(_CLASSES.get(part.upper(), part))

    def _set(self, part: str) -> frozenset[str]:
        if not part.endswith("]"):
            raise ValueError(f"{self.text!r} is not a pattern: the [ has no ]")
        found: set[str] = set()
        for first, last, one in re.findall("(.)-(.)|(.)", part[1:-1]):
            if first > last:
                raise ValueError(f"{self.text!r} is not a pattern: {first}-{last} should be {last}-{first}")
            found.update(one or map(chr, range(ord(first), ord(last) + 1)))
        if not found <= set(map(chr, range(0x21, 0x7F))):
            raise ValueError(f"{self.text!r} is not a pattern: only ASCII characters may stand between [ and ]")
        if not found - {"-"}:
            raise ValueError(f"{self.text!r} is not a pattern: nothing can match {part}")
        return frozenset(found)

    def matches(self, extension: str) -> bool:
        dialled = extension.replace("-", "")
        more = len(dialled) - len(self._sets)
        if more < (self._rest == ".") or (more and not self._rest):
            return False
        return all(character in allowed for character, allowed in zip(dialled, self._sets))

    def hides(self, other: Pattern) -> bool:
        """Whether this one ranks first, or the same, and matches all that the other one matches."""
        more = len(other._sets) - len(self._sets)
        if self.rank > other.rank or more < 0 or (not self._rest and (more or other._rest)):
            return False
        if self._rest == "." and not more and other._rest != ".":
            return False
        return all(theirs - {"-"} <= ours for theirs, ours in zip(other._sets, self._sets))


def _specificity(allowed: frozenset[str]) -> tuple[int, int]:
    """The smaller set first; of two of one size, that with the lower characters first."""
    codes = sorted(map(ord, allowed))
    return len(codes) << 8 | codes[0], -sum(1 << (255 - code) for code in codes)


def split(text: str) -> list[str]:
    """Patterns that are separated by commas, which count only outside of [ and ]."""
    return [part.strip() for part in re.split(r",(?![^\[]*\])", text)]
