"""A Prosody for the tests, with configuration, data, log and loopback ports of its own, run as an ordinary user.

Without a box, the machine's Prosody is used, but not its configuration or service. If it has none, the distribution's
package is unpacked into a folder and run from there. It works with Prosody 0.11, 0.12 and 13.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from parts import debs
from parts.box import Box
from parts.certificates import Certificate
from parts.server import Server

ACCOUNTS = {"pbx": "pbx's secret", "alice": "alice's secret"}
MECHANISMS = ("PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER")


class Prosody(Server):
    """`mechanisms`: the SASL mechanisms to offer, of those that the storage allows (default: all but DIGEST-MD5).

    `hashed`: passwords are stored as in Prosody's default, which allows SCRAM-SHA-1 and PLAIN; in the clear they allow
    SCRAM-SHA-256, too. Prosody 0.11 has no other SCRAM than SCRAM-SHA-1.
    `federated`: it connects to the servers of other domains. `extra`: text for the configuration of the virtual host.
    """

    def __init__(
        self,
        folder: Path,
        certificate: Certificate,
        domain: str = "screenpop.test",
        accounts: Mapping[str, str] = ACCOUNTS,
        mechanisms: Sequence[str] | None = None,
        hashed: bool = True,
        direct_tls: bool = False,
        offline: bool = False,
        debug: bool = False,
        federated: bool = False,
        extra: str = "",
        box: Box | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(folder, certificate, domain, accounts, direct_tls, box, port)
        self._program = _Installed("prosody") if box else _program(folder)
        self._log_file = folder / "prosody.log"
        self._config_file = folder / "prosody.cfg.lua"
        self._config_file.write_text(self._configuration(mechanisms, hashed, offline, debug, federated, extra))
        self._write_accounts()

    def command(self) -> list[str]:
        return [*self._program.command(self.folder), "--config", str(self._config_file)]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self._program.environment()}

    def log(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def sign_in_line(self, jid: str) -> str:
        return rf"Authenticated as {jid}\b"

    def _configuration(
        self, mechanisms: Sequence[str] | None, hashed: bool, offline: bool, debug: bool, federated: bool, extra: str
    ) -> str:
        disabled = [name for name, wanted in (("s2s", federated), ("offline", offline)) if not wanted]
        refused = ["DIGEST-MD5", *(name for name in MECHANISMS if mechanisms is not None and name not in mechanisms)]
        return f"""\
interfaces = {{ "{self.host}" }}
c2s_ports = {{ {self.port} }}
c2s_direct_tls_ports = {{ }}
legacy_ssl_ports = {{ {self.direct_tls_port or ""} }} -- the older name, which all versions know
daemonize = false
certificates = "{self.folder}"
pidfile = "{self.folder}/prosody.pid"
data_path = "{self.folder}/data"
log = {{ {{ levels = {{ min = "{"debug" if debug else "info"}" }}, to = "file", filename = "{self._log_file}" }} }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "carbons", "posix" }}
modules_disabled = {{ {", ".join(f'"{name}"' for name in disabled)} }}
s2s_ports = {{ }}
c2s_require_encryption = true
ssl = {{ certificate = "{self.cert_file}", key = "{self.key_file}" }}
authentication = "{"internal_hashed" if hashed else "internal_plain"}"
disable_sasl_mechanisms = {{ {", ".join(f'"{name}"' for name in refused)} }}

VirtualHost "{self.domain}"
{extra}
"""

    def _write_accounts(self) -> None:
        """Prosody's storage. internal_hashed replaces a password by its hash when it first uses it."""
        folder = self.folder / "data" / _encoded(self.domain) / "accounts"
        folder.mkdir(parents=True, exist_ok=True)
        for user, password in self.accounts.items():
            quoted = password.replace("\\", "\\\\").replace('"', '\\"')
            (folder / f"{_encoded(user)}.dat").write_text(f'return {{ ["password"] = "{quoted}" }};\n')


def _encoded(name: str) -> str:
    """Encodes a file name as util/datamanager.lua does."""
    return re.sub(r"[^A-Za-z0-9]", lambda other: f"%{ord(other[0]):02x}", name)


class _Installed:
    def __init__(self, path: str) -> None:
        self._path = path

    def command(self, folder: Path) -> list[str]:
        return [self._path]

    def environment(self) -> dict[str, str]:
        return {}


class _Unpacked:
    """Runs an unpacked Prosody: a launcher that knows the folder of its sources, a Lua interpreter, libraries in C."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._launcher = (root / "usr/bin/prosody").read_text()
        self._lua = re.findall(r"lua[0-9.]+", self._launcher.splitlines()[0])[0]

    def command(self, folder: Path) -> list[str]:
        launcher = folder / "prosody"
        launcher.write_text(self._launcher.replace("/usr/lib/prosody", f"{self._root}/usr/lib/prosody"))
        lua = self._root / "usr/bin" / self._lua
        return [str(lua) if lua.exists() else self._lua, str(launcher)]

    def environment(self) -> dict[str, str]:
        version = self._lua[len("lua") :]
        share = f"{self._root}/usr/share/lua/{version}"
        libraries = [str(path) for path in (*self._root.glob("usr/lib/*-linux-*"), *self._root.glob("lib/*-linux-*"))]
        return {
            "LUA_PATH": f"{share}/?.lua;{share}/?/init.lua;;",
            "LUA_CPATH": "".join(f"{path}/lua/{version}/?.so;" for path in libraries) + ";",
            "LD_LIBRARY_PATH": ":".join(libraries),
        }


def _program(folder: Path) -> _Installed | _Unpacked:
    installed = shutil.which("prosody")
    if installed:
        return _Installed(installed)
    return _Unpacked(debs.fetch("prosody", Path(os.environ.get("SCREEN_POP_CACHE", folder), "prosody-unpacked")))
