"""The channel binding `tls-server-end-point`: the hash of the server's certificate (RFC 5929 section 4).

It works with TLS 1.2 and 1.3. Python's ssl module gives no access to `tls-exporter` (RFC 9266).
"""

from __future__ import annotations

import hashlib

NAME = "tls-server-end-point"

_RSA, _ECDSA, _SHA2 = "2a864886f70d0101", "2a8648ce3d04", "6086480165030402"  # object identifiers, in DER
_HASH_OF_SIGNATURE = {
    # RFC 5929: SHA-256 takes the place of MD5 and SHA-1
    **dict.fromkeys((f"{_RSA}04", f"{_RSA}05", f"{_ECDSA}01"), "sha256"),
    **dict.fromkeys((f"{_RSA}0e", f"{_ECDSA}0301"), "sha224"),
    **dict.fromkeys((f"{_RSA}0b", f"{_ECDSA}0302"), "sha256"),
    **dict.fromkeys((f"{_RSA}0c", f"{_ECDSA}0303"), "sha384"),
    **dict.fromkeys((f"{_RSA}0d", f"{_ECDSA}0304"), "sha512"),
}
_RSASSA_PSS = f"{_RSA}0a"  # names its hash in its parameters; SHA-1 when it names none (RFC 4055 section 3.1)
_HASH_OF_PSS = {
    "2b0e03021a": "sha256",  # SHA-1
    f"{_SHA2}01": "sha256",
    f"{_SHA2}02": "sha384",
    f"{_SHA2}03": "sha512",
    f"{_SHA2}04": "sha224",
}


def of(certificate: bytes) -> bytes | None:
    """The binding for a certificate in DER. None where RFC 5929 defines none, e.g. for a signature without a hash."""
    try:
        _, fields, _ = _element(certificate)  # tbsCertificate, signatureAlgorithm, signature (RFC 5280 section 4.1)
        _, _, rest = _element(fields)
        _, algorithm, _ = _element(rest)
        _, identifier, parameters = _element(algorithm)
        signature = identifier.hex()
        hash_name = _hash_of_pss(parameters) if signature == _RSASSA_PSS else _HASH_OF_SIGNATURE.get(signature)
    except IndexError:
        return None
    return hashlib.new(hash_name, certificate).digest() if hash_name else None


def _hash_of_pss(parameters: bytes) -> str | None:
    _, fields, _ = _element(parameters)
    tag, hash_algorithm, _ = _element(fields) if fields else (0, b"", b"")
    if tag != 0xA0:
        return "sha256"
    _, algorithm, _ = _element(hash_algorithm)
    return _HASH_OF_PSS.get(_element(algorithm)[1].hex())


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first element, and the bytes that follow it (X.690 section 8.1). Raises IndexError."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    if start + length > len(der):
        raise IndexError
    return der[0], der[start : start + length], der[start + length :]
