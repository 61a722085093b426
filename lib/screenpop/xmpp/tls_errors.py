"""Explains a failed TLS handshake: what is wrong with the certificate or the server's TLS, and what to do."""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from .errors import CLOSED, LOG_ADVICE, SessionError, reason
from .resolver import Host

# OpenSSL's verification results (x509_vfy.h)
_EXPIRED = 10
_OF_THE_CERTIFICATE = (
    # OpenSSL's results, what is wrong, advice. The sentence begins with "the certificate of HOST".
    (
        (9,),  # not yet valid
        "is not valid yet",
        "check the clocks of both machines",
    ),
    (
        (62, 64),  # host name, IP address
        "is not for {domain}",
        "the server needs a certificate for the domain of [xmpp] jid",
    ),
    (
        (18,),  # the server's own certificate is self-signed
        "is signed by itself, not by a CA",
        "give the server a certificate from a CA, or copy its own to this machine as [xmpp] ca_file",
    ),
    (
        (19,),  # a CA that the server sends is self-signed
        "can't be trusted: this machine doesn't know the CA that issued it",
        "[xmpp] ca_file should be the certificate of that CA",
    ),
    (
        (2, 20, 21),  # no issuer
        "can't be trusted: the server doesn't send its intermediate certificate, or this machine doesn't know its CA",
        "let the server send the whole chain; if it does so already, set [xmpp] ca_file to the certificate of its CA",
    ),
    (
        (66, 67, 68),  # key of the server, key of a CA, hash of a signature
        "or that of its CA has a key or a signature that is too weak",
        "renew it with RSA of 2048 bits or more, or ECDSA, and SHA-256",
    ),
)
_OF_THE_HANDSHAKE = (
    # parts of OpenSSL's reasons, what the server does, advice. The sentence begins with "HOST".
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"),
        "sends something that is not TLS",
        "is that an XMPP server, and is the port right? Ports 5223 and 443 have TLS from the start, others STARTTLS",
    ),
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"),
        "offers only versions of TLS that are no longer safe",
        "switch TLS 1.2 or 1.3 on at the server",
    ),
    (
        ("UNRECOGNIZED_NAME",),
        "has no certificate for {domain}",
        "the server needs a certificate for the domain of [xmpp] jid",
    ),
    (
        ("HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "INSUFFICIENT_SECURITY", "DH_KEY_TOO_SMALL", "WRONG_SIGNATURE_TYPE"),
        "has no cipher that is safe, or no certificate for {domain}",
        "look into the TLS settings of the server",
    ),
)


def explained(error: OSError | ValueError, host: Host, domain: str, context: ssl.SSLContext) -> SessionError:
    """The SessionError for an error of a handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what, advice = _of_the_certificate(error, domain, context)
        return SessionError("certificate", f"the certificate of {host} {what}", advice, refused=True)
    what, advice = _of_the_handshake(error, domain)
    return SessionError("TLS", f"{host} {what}", advice)


def _of_the_certificate(error: ssl.SSLCertVerificationError, domain: str, context: ssl.SSLContext) -> tuple[str, str]:
    if error.verify_code == _EXPIRED:
        return _expired(context)
    for results, what, advice in _OF_THE_CERTIFICATE:
        if error.verify_code in results:
            return what.format(domain=domain), advice
    return f"can't be trusted: {error.verify_message}", "give the server another certificate"


def _expired(context: ssl.SSLContext) -> tuple[str, str]:
    """OpenSSL doesn't say whether the server's or the CA's certificate has expired, but the CA's is known here."""
    now, known = time.time(), context.get_ca_certs()
    expired = [ca for ca in known if ssl.cert_time_to_seconds(str(ca["notAfter"])) < now]
    if not expired:
        return "has expired", "renew it on the server, and the intermediate certificate that the server sends with it"
    names = ", ".join(name(ca["subject"]) for ca in expired[:3])
    successor = f"add the successor of {names} to [xmpp] ca_file, or to the CAs of this machine"
    if len(expired) == len(known):
        return f"can't be trusted any more: the CA certificate {names} has expired", successor
    return "or that of its CA has expired", f"renew it on the server; if it is still valid, {successor}"


def _of_the_handshake(error: OSError | ValueError, domain: str) -> tuple[str, str]:
    if isinstance(error, CLOSED):
        return (
            "closed the connection during the TLS handshake",
            f"it may have no certificate for {domain}; {LOG_ADVICE}",
        )
    if isinstance(error, ssl.SSLError):
        for reasons, what, advice in _OF_THE_HANDSHAKE:
            if any(part in (error.reason or "") for part in reasons):
                return what.format(domain=domain), advice
        return f"and screen_pop can't agree on TLS: {reason(error)}", LOG_ADVICE
    if isinstance(error, (TimeoutError, socket.timeout)):  # the same from Python 3.10 on
        return "doesn't answer during the TLS handshake", LOG_ADVICE
    if isinstance(error, ValueError):  # from Python itself, before anything is sent
        return f"can't be asked for {domain}: that is not a host name", "check the domain of [xmpp] jid"
    return f"is lost during the TLS handshake: {error.strerror}", LOG_ADVICE


def name(distinguished_name: Any) -> str:
    """The organization or common name in an issuer or subject, which has the form that `getpeercert()` returns."""
    pairs = dict(pair for names in distinguished_name for pair in names)
    return str(pairs.get("organizationName") or pairs.get("commonName") or "?")
