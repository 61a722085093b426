"""An OpenLDAP server of the tests' own: private configuration and data, loopback ports, an ordinary user.

Its program is the machine's slapd, or the distribution's package is unpacked into a folder and run from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from parts import debs
from parts.certificates import Certificate
from parts.server import Server, as_ordinary_user, free_port, give_to_ordinary_user

SUFFIX = "dc=example,dc=org"
READER = f"cn=screen_pop,{SUFFIX}"
PASSWORD = "reader's secret"


class Slapd(Server):
    """`entries`: LDIF, below SUFFIX and READER, who may read all of it; nobody else may, unless `anonymous`.

    It has the attributes of Active Directory, too. `port` is for StartTLS, and `ldaps_port` has TLS from the start.
    `tls`: whether it has a certificate at all.
    """

    def __init__(
        self, folder: Path, certificate: Certificate, entries: str, anonymous: bool = False, tls: bool = True
    ) -> None:
        super().__init__(folder, certificate, SUFFIX, {READER: PASSWORD}, direct_tls=False, box=None)
        self._root = _root(folder)
        self.ldaps_port = free_port()
        self._tls = tls
        # A copy, as a Debian may confine the one that is installed (AppArmor) to the folders of its service.
        self._program = str(shutil.copy(self._root / "usr/sbin/slapd", folder / "slapd"))
        self._config_file = folder / "slapd.conf"
        self._config_file.write_text(self._configuration(anonymous))
        (folder / "data").mkdir()
        (folder / "entries.ldif").write_text(f"{_TOP}\n{entries}")
        give_to_ordinary_user(folder)
        self._add_entries()

    def command(self) -> list[str]:
        urls = f"ldap://{self.host}:{self.port}/"
        if self._tls:
            urls += f" ldaps://{self.host}:{self.ldaps_port}/"
        return [self._program, "-d", "stats", "-f", str(self._config_file), "-h", urls]

    def environment(self) -> dict[str, str]:
        libraries = ":".join(str(path) for path in self._root.glob("usr/lib/*-linux-*"))
        return {**super().environment(), "LD_LIBRARY_PATH": libraries}

    def log(self) -> str:
        """A line for each operation."""
        return self.output()

    def _add_entries(self) -> None:
        command = [self._program, "-Tadd", "-f", str(self._config_file), "-l", str(self.folder / "entries.ldif")]
        done = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, cwd=self.folder, **as_ordinary_user()
        )
        if done.returncode:
            raise RuntimeError(f"slapadd: {done.stderr}")

    def _configuration(self, anonymous: bool) -> str:
        names = ("core", "cosine", "inetorgperson", "nis", "msuser")
        schemas = "\n".join(f"include {self._root}/etc/ldap/schema/{name}.schema" for name in names)
        tls = f"TLSCertificateFile {self.cert_file}\nTLSCertificateKeyFile {self.key_file}" if self._tls else ""
        return f"""\
{schemas}
modulepath {self._root}/usr/lib/ldap
moduleload back_mdb
pidfile {self.folder}/slapd.pid
{tls}
database mdb
suffix "{SUFFIX}"
directory {self.folder}/data
maxsize 33554432
dbnosync
index objectClass eq
index telephoneNumber,mobile eq,sub
access to attrs=userPassword by anonymous auth
access to * by {"*" if anonymous else "users"} read
"""


_TOP = f"""\
dn: {SUFFIX}
objectClass: domain
dc: example

dn: {READER}
objectClass: person
cn: screen_pop
sn: screen_pop
userPassword: {PASSWORD}
"""


def _root(folder: Path) -> Path:
    if Path("/usr/sbin/slapd").exists():
        return Path("/")
    return debs.fetch("slapd", Path(os.environ.get("SCREEN_POP_CACHE", folder), "slapd-unpacked"))
