"""A certification authority for the tests, and certificates that no client should accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """The files of a server, and the `ca_file` that a client needs to verify it."""

    cert_file: Path
    key_file: Path
    ca_file: Path


class Authority:
    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, folder: Path, *names: str, expired: bool = False) -> Certificate:
        """Writes the chain and the key for these host names or IP addresses into the folder."""
        now = datetime.now(timezone.utc)
        end = now - timedelta(days=1) if expired else now + timedelta(days=30)
        leaf = self._ca.issue_cert(*names, not_before=now - timedelta(days=2), not_after=end)
        certificate = Certificate(folder / "cert.pem", folder / "key.pem", self.ca_file)
        certificate.cert_file.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(certificate.key_file))
        return certificate


class Signed:
    """A certificate and its key, signed by `issuer` or by itself. `days`: its validity, in days from now."""

    def __init__(
        self,
        common_name: str,
        issuer: Signed | None = None,
        alternative_names: Sequence[str] = (),
        days: tuple[int, int] = (-2, 30),
        is_ca: bool = False,
        bits: int = 2048,
    ) -> None:
        now = datetime.now(timezone.utc)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        self.key = rsa.generate_private_key(65537, bits)
        signer = issuer or self
        builder = (
            x509.CertificateBuilder(signer.name, self.name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if alternative_names:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in alternative_names])
            builder = builder.add_extension(names, critical=False)
        self.pem = builder.sign(signer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def for_a_server(self, folder: Path, ca: Signed, *chain: Signed) -> Certificate:
        """Writes the chain that the server sends (this certificate and `chain`), and the CA that the client trusts."""
        certificate = Certificate(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
        certificate.cert_file.write_bytes(b"".join(one.pem for one in (self, *chain)))
        certificate.key_file.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        certificate.ca_file.write_bytes(ca.pem)
        return certificate
