"""Imports only those modules of xmpppy that are used here, without the modules that only the others need.

These (http.client, gzip, traceback, dnspython and more) take 60 ms, which would delay the first call's pop.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Debug:
    """Replaces `xmpp.debug.Debug`, which formats each line, including passwords, before it drops it."""

    colors: dict[str, None] = {}  # noqa: RUF012 - xmpppy adds to it

    def __init__(self, flags: list[str]) -> None:
        self.debug_flags: list[str] = []

    def Show(self, *words: object) -> None:
        pass


_COLORS = ("black", "blue", "bright_cyan", "brown", "cyan", "dark_gray", "green", "magenta", "red", "yellow")
_debug = SimpleNamespace(Debug=_Debug, **{f"color_{name}": None for name in _COLORS})
# What xmpppy imports for BOSH (it tries Python 2's httplib and urllib2 first), for its own sockets and for DIGEST-MD5.
# None of this is used here; a call by mistake raises TypeError, because the value is None.
_BOSH = SimpleNamespace(HTTPConnection=None, HTTPSConnection=None, _CS_IDLE=None, BadStatusLine=None)
_stand_ins: dict[str, Any] = {
    "httplib": _BOSH,
    "urllib2": SimpleNamespace(urlparse=SimpleNamespace(urlparse=None)),
    "gzip": SimpleNamespace(),
    "six": SimpleNamespace(ensure_str=None, ensure_binary=None),
    "dns": None,  # makes its import fail here; resolver.py imports it when it is needed
}

_found = PathFinder.find_spec("xmpp")
if _found is None:
    raise ModuleNotFoundError("No module named 'xmpp'", name="xmpp")
xmpp: Any = ModuleType("xmpp")  # xmpppy's package without its __init__, which imports all modules
xmpp.__spec__, xmpp.__path__, xmpp.debug = _found, _found.submodule_search_locations, _debug
_stand_ins["xmpp.debug"] = _debug
sys.modules["xmpp"] = xmpp

_before = {name: sys.modules[name] for name in _stand_ins if name in sys.modules}
sys.modules.update(_stand_ins)
try:
    from xmpp import auth, client, dispatcher, protocol, simplexml, transports
finally:
    for _name in _stand_ins:
        del sys.modules[_name]
    sys.modules.update(_before)
xmpp.Client = client.Client

__all__ = ["auth", "dispatcher", "protocol", "simplexml", "transports", "xmpp"]
