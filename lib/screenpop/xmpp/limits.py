"""Limits on the XML that a server may send. xmpppy builds an object of 1 kB for each element, and the time of some of
its methods grows with the square of the depth or of the number of namespaces.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice
from typing import NamedTuple


class Unacceptable(Exception):
    """`what`: what the server sends; it completes the sentence "the server sends …". `advice`: what the administrator
    can do.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.what, self.advice = what, advice


class Limits(NamedTuple):
    size: int  # bytes
    depth: int
    elements: int
    attributes: int  # of all elements; namespace declarations are attributes
    namespaces: int  # declarations
    where: str
    advice: str


# Before TLS, anyone on the network path can send this much. Prosody, ejabberd and jabberd2 need less than a quarter of
# it, and less than half of the depth.
DURING_SIGN_IN = Limits(16_384, 16, 256, 512, 128, "during the sign-in", "is that an XMPP server?")
# Servers limit stanzas to this size or less (Prosody: c2s_stanza_size_limit).
OF_A_STANZA = Limits(262_144, 32, 2048, 4096, 1024, "in one stanza", "the server's log may show who sent it")
# A contact list is one stanza: 20,000 contacts, each with a name and in two groups, are 60,000 elements,
# with which `screen-pop introduce` takes 70 MB.
OF_A_CONTACT_LIST = Limits(8_388_608, 32, 65_536, 131_072, 1024, "in the contact list", "let it have fewer contacts")
# Expat keeps each name of an element or attribute until the stream ends, and anybody may send messages with new names.
NAMES = 1_048_576  # bytes
NAME_OVERHEAD = 200  # bytes that a name takes beside its characters


class Meter:
    """Counts what the server sends. Raises Unacceptable when a limit is exceeded.

    During the sign-in the limits apply to the whole stream, afterwards to each stanza.
    """

    def __init__(self) -> None:
        self.signed_in = False
        self.of_a_stanza = OF_A_STANZA
        self.depth = 0
        self._names = self._size_of_names = 0
        self._reset()

    def _reset(self) -> None:
        self.size = self.elements = self.attributes = self.namespaces = 0

    def read(self, size: int) -> None:
        self.size += size
        self._check()

    def start(self, attributes: Iterable[str]) -> None:
        """An element begins."""
        self.depth += 1
        self.elements += 1
        for name in attributes:
            self.attributes += 1
            self.namespaces += name.startswith("xmlns")
        self._check()

    def end(self) -> None:
        """An element ends."""
        self.depth -= 1
        if self.depth == 1 and self.signed_in:
            self._reset()

    def know(self, names: Collection[str]) -> None:
        """`names`: those of elements and attributes that the stream has had so far, in the order of their coming."""
        if len(names) == self._names:
            return
        self._size_of_names += sum(len(name) + NAME_OVERHEAD for name in islice(names, self._names, None))
        self._names = len(names)
        if self._size_of_names > NAMES:
            raise Unacceptable("too many different names of XML elements and attributes", OF_A_STANZA.advice)

    def _check(self) -> None:
        limits = self.of_a_stanza if self.signed_in else DURING_SIGN_IN
        for count, limit, unit in (
            (self.size, limits.size, "bytes"),
            (self.depth, limits.depth, "XML elements nested in each other"),
            (self.elements, limits.elements, "XML elements"),
            (self.attributes, limits.attributes, "XML attributes"),
            (self.namespaces, limits.namespaces, "XML namespaces"),
        ):
            if count > limit:
                raise Unacceptable(f"more than {limit} {unit} {limits.where}", limits.advice)
