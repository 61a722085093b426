"""The libraries that this package needs, and a check of them."""

from __future__ import annotations

import re
import sys
from importlib import import_module

MODULES = {  # by the name of the library
    "pyst2": "asterisk.agi",
    "xmpppy": "screenpop.xmpp.xmpppy",
    "dnspython": "dns.resolver",
    "phonenumberslite": "phonenumbers",
    "waitress": "waitress",
}


def problems() -> list[str]:
    """Import each library. Returns a sentence for each that can't be imported."""
    found = []
    for library, module in MODULES.items():
        try:
            import_module(module)
        except Exception as error:  # a broken library can raise anything
            found.append(f"{library} can't be imported ({error}): run install.sh again")
    return found


def problem_of_python(file: str = __file__) -> str:
    """A sentence if this was installed for another version of Python, else empty: byte-code and libraries are those of
    that version.
    """
    installed = re.search(r"/python(3\.\d+)/site-packages/", file)
    runs = f"3.{sys.version_info[1]}"
    if not installed or installed[1] == runs:
        return ""
    return f"installed for Python {installed[1]}, but it is {runs} now: run install.sh again"
