"""TLS with a verified certificate, and nothing less (RFC 6120 sections 5 and 13.7, RFC 7590, XEP-0368)."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path
from typing import Any

from .errors import SessionError
from .resolver import Host
from .xmpppy import protocol, transports

# OpenSSL's verification results (x509_vfy.h)
_NOT_YET_VALID, _EXPIRED, _HOST_NAME, _ADDRESS = 9, 10, 62, 64


class TLS(transports.TLS):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """xmpppy asks for STARTTLS; the handshake is not its business: it verifies nothing."""

    def StartTLSHandler(self, conn: Any, starttls: Any) -> None:
        self.starttls = starttls.getName()  # "proceed" or "failure"
        raise protocol.NodeProcessed


def context(ca_file: Path | None, direct_tls: bool) -> ssl.SSLContext:
    """The system's CAs, or the configured one. Raises SessionError."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        what = f"{ca_file} holds no CA certificate"
        raise SessionError("certificate", what, "[xmpp] ca_file needs a PEM file") from error
    if ca_file:  # Python 3.13 asks of each CA what those made by hand rarely have (RFC 5280, key identifiers)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if direct_tls:
        made.set_alpn_protocols(["xmpp-client"])
    return made


def trouble(error: OSError | ValueError, host: Host, domain: str) -> SessionError:
    """What a failed handshake means."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        advice = "is that an XMPP server, and does it speak TLS 1.2 or later?"
        return SessionError("TLS", f"{host}: {_plain(error)}", advice)
    if error.verify_code == _EXPIRED:
        what, advice = "has expired", "renew it on the server"
    elif error.verify_code == _NOT_YET_VALID:
        what, advice = "is not valid yet", "check the clocks of both machines"
    elif error.verify_code in (_HOST_NAME, _ADDRESS):
        what, advice = f"is not for {domain}", "the server needs a certificate for the domain of [xmpp] jid"
    else:
        what = f"can't be trusted: {error.verify_message}"
        advice = "[xmpp] ca_file should be the CA that has signed it, if that isn't one of the system's"
    return SessionError("certificate", f"the certificate of {host} {what}", advice)


def described(secured: ssl.SSLSocket) -> str:
    """The certificate and the protocol, for `screen-pop check`."""
    certificate: Any = secured.getpeercert() or {}
    issuer = dict(pair for names in certificate.get("issuer", ()) for pair in names)
    name = issuer.get("organizationName") or issuer.get("commonName") or "?"
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86400
    return f"issued by {name}, {days:.0f} days left, {secured.version()}"


def _plain(error: OSError | ValueError) -> str:
    if isinstance(error, (TimeoutError, socket.timeout)):  # the same from Python 3.10 on
        return "no answer"
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return getattr(error, "strerror", None) or str(error)
