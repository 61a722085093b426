"""A certification authority of the tests' own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """What a server is given, and the `ca_file` that a client needs to verify it."""

    cert_file: Path
    key_file: Path
    ca_file: Path


class Authority:
    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, folder: Path, *names: str, expired: bool = False) -> Certificate:
        """Writes the chain and the key for these host names (or IP addresses) into the folder."""
        now = datetime.now(timezone.utc)
        end = now - timedelta(days=1) if expired else now + timedelta(days=30)
        leaf = self._ca.issue_cert(*names, not_before=now - timedelta(days=2), not_after=end)
        certificate = Certificate(folder / "cert.pem", folder / "key.pem", self.ca_file)
        certificate.cert_file.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(str(certificate.key_file))
        return certificate
