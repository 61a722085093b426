"""TLS, always with a verified certificate (RFC 6120 sections 5 and 13.7, RFC 7590, XEP-0368)."""

from __future__ import annotations

import ssl
import time
from typing import Any

from .errors import SessionError
from .resolver import Host
from .tls_errors import name
from .xmpppy import protocol, transports


class TLS(transports.TLS):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """Only xmpppy's STARTTLS negotiation is used. Its own handshake verifies no certificate; see tcp.py."""

    def StartTLSHandler(self, conn: Any, starttls: Any) -> None:
        self.starttls = starttls.getName()  # "proceed" or "failure"
        raise protocol.NodeProcessed


def context(ca_file: str | None, direct_tls: bool) -> ssl.SSLContext:
    """A TLS context that trusts the system's CAs, or the configured CA. Raises SessionError."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        what = f"{ca_file} contains no CA certificate"
        raise SessionError("certificate", what, "[xmpp] ca_file must be a PEM file", refused=True) from error
    except OSError as error:
        raise SessionError("certificate", f"{ca_file}: {error.strerror}", "check [xmpp] ca_file") from error
    if ca_file:  # Python 3.13 requires what CAs made by hand rarely have (RFC 5280, key identifiers)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if direct_tls:
        made.set_alpn_protocols(["xmpp-client"])
    return made


def refuse_common_name(secured: ssl.SSLSocket, host: Host, domain: str) -> None:
    """Raises SessionError for a certificate that has the domain only as its common name (RFC 9525 section 2).

    OpenSSL accepts it if subjectAltName has no name of that kind. The context could refuse it
    (`hostname_checks_common_name`), but then the error would be the same as for a certificate of another domain.
    """
    certificate: Any = secured.getpeercert() or {}
    kind = "IP Address" if domain.replace(".", "").isdigit() else "DNS"
    if kind not in (found for found, _ in certificate.get("subjectAltName", ())):
        what = f"the certificate of {host} has {domain} only as its common name, which is no longer accepted"
        advice = "renew it on the server, with the domain as a subjectAltName"
        raise SessionError("certificate", what, advice, refused=True)


def described(secured: ssl.SSLSocket) -> str:
    """Issuer, remaining days and TLS version, for `screen-pop check`."""
    certificate: Any = secured.getpeercert() or {}
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // 86400
    return f"issued by {name(certificate['issuer'])}, {days:.0f} days left, {secured.version()}"
