"""tls-server-end-point, on certificates with all kinds of signatures (RFC 5929 section 4.1)."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from parts.table import each
from screenpop.xmpp import channel_binding

RSA = rsa.generate_private_key(65537, 1024)  # 2048 bits take a quarter of a second
EC = ec.generate_private_key(ec.SECP256R1())
SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()


def certificate(key: Any, algorithm: Any, **how: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "screenpop.test")])
    now = datetime.datetime(2026, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    return builder.sign(key, algorithm, **how).public_bytes(Encoding.DER)


@each(
    ("key", "algorithm", "how", "expected"),
    [
        (RSA, SHA256, {}, "sha256"),
        (RSA, SHA384, {}, "sha384"),
        (RSA, SHA512, {}, "sha512"),
        (RSA, hashes.SHA224(), {}, "sha224"),
        (EC, SHA256, {}, "sha256"),
        (EC, SHA384, {}, "sha384"),
        (RSA, SHA384, {"rsa_padding": padding.PSS(padding.MGF1(SHA384), 48)}, "sha384"),
        (RSA, SHA256, {"rsa_padding": padding.PSS(padding.MGF1(SHA256), 32)}, "sha256"),
    ],
)
def test_the_hash_is_that_of_the_signature(key: Any, algorithm: Any, how: Any, expected: str) -> None:
    der = certificate(key, algorithm, **how)
    assert channel_binding.of(der) == hashlib.new(expected, der).digest()


def test_there_is_none_where_the_signature_has_no_hash() -> None:
    assert channel_binding.of(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None


def test_what_is_no_certificate_has_none() -> None:
    der = certificate(EC, SHA256)
    for length in range(len(der)):
        assert channel_binding.of(der[:length]) is None
    for garbage in (b"", b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x00", bytes(range(256))):
        assert channel_binding.of(garbage) is None
