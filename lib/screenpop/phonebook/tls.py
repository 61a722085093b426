"""TLS for the sources ldap and http, always with a verified certificate."""

from __future__ import annotations

import ssl

from .source import SourceError


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's CAs, or the configured one. Raises SourceError."""
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError, too
        raise SourceError(f"{ca_file} has no CA certificate; ca_file should be a PEM file") from error
    if ca_file:  # Python 3.13 asks of each CA what those made by hand rarely have (RFC 5280, key identifiers)
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False  # RFC 9525 section 2
    return made
