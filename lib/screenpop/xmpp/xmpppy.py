"""xmpppy, imported without dnspython: that takes 40 ms, and resolver.py needs it for SRV records only."""

import sys

_dns = sys.modules.get("dns")
sys.modules["dns"] = None  # type: ignore[assignment] # "not to be imported"
try:
    import xmpp
    from xmpp import auth, dispatcher, protocol, transports
finally:
    if _dns is None:
        del sys.modules["dns"]
    else:
        sys.modules["dns"] = _dns

__all__ = ["auth", "dispatcher", "protocol", "transports", "xmpp"]
