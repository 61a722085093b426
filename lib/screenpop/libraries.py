"""The libraries that this package needs, and a check of them."""

from __future__ import annotations

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
