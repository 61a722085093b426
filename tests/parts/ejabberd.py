"""An ejabberd for the tests: the program of the machine or of a box, with its own configuration, data, log and ports.

It runs as an Erlang node that isn't distributed, so no node names collide and no epmd is left behind. `ejabberdctl` is
not used: it would run only as the user of the machine's own ejabberd.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from parts.box import Box
from parts.certificates import Certificate
from parts.prosody import ACCOUNTS
from parts.server import Server

MECHANISMS = (
    "PLAIN",
    "DIGEST-MD5",
    "X-OAUTH2",
    *(f"SCRAM-SHA-{size}{binding}" for size in (1, 256, 512) for binding in ("", "-PLUS")),
)
READY = "accounts are ready in process"


class NotInstalled(Exception):
    pass


class Ejabberd(Server):
    """`mechanisms`: the SASL mechanisms to offer, of those that the storage allows, instead of PLAIN and SCRAM.

    `hashed`: passwords are stored as in Debian's configuration, which allows SCRAM-SHA-1 only; in the clear they allow
    SCRAM with any hash. `rate`: bytes a second that it reads of each client. `most_sessions`: of one account; one more
    ends the oldest. `modules`: more modules, with their options.
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
        rate: int | None = None,
        most_sessions: int = 1000,
        modules: Mapping[str, object] | None = None,
        box: Box | None = None,
        port: int = 0,
    ) -> None:
        self._libraries = _libraries(box)
        super().__init__(folder, certificate, domain, accounts, direct_tls, box, port)
        configuration = self._configuration(mechanisms, hashed, offline, rate, most_sessions, modules or {})
        (folder / "ejabberd.yml").write_text(json.dumps(configuration, indent=2))  # JSON is valid YAML
        # Erlang's resolver: names from /etc/hosts only, not from the network
        (folder / "inetrc").write_text("{lookup, [file]}.\n")

    def command(self) -> list[str]:
        mnesia = f'"{self.folder}/data"'
        return ["erl", "-noinput", "-mnesia", "dir", mnesia, "-s", "ejabberd", "-eval", self._when_started()]

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "HOME": str(self.folder),
            "ERL_LIBS": str(self._libraries),
            "ERL_INETRC": str(self.folder / "inetrc"),
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
        }

    def ready(self) -> bool:
        return f"{READY} {self.pid}\n" in self.output() and super().ready()

    def log(self) -> str:
        """The output on its console; it writes its log file with a delay."""
        return self.output()

    def sign_in_line(self, jid: str) -> str:
        return rf"Accepted c2s \S+ authentication for {jid}\b"

    def _configuration(
        self,
        mechanisms: Sequence[str] | None,
        hashed: bool,
        offline: bool,
        rate: int | None,
        most_sessions: int,
        more: Mapping[str, object],
    ) -> dict[str, object]:
        c2s = {"ip": self.host, "module": "ejabberd_c2s", **({"shaper": "c2s_shaper"} if rate else {})}
        listen = [{**c2s, "port": self.port, "starttls_required": True}]
        if self.direct_tls_port:
            listen.append({**c2s, "port": self.direct_tls_port, "tls": True})
        modules = ["mod_carboncopy", "mod_disco", "mod_ping", "mod_roster", "mod_stream_mgmt"]
        refused = ["DIGEST-MD5", "X-OAUTH2"] if mechanisms is None else sorted(set(MECHANISMS) - set(mechanisms))
        return {
            "hosts": [self.domain],
            "loglevel": "info",
            "certfiles": [str(self.cert_file), str(self.key_file)],
            "listen": listen,
            "auth_method": "internal",
            "auth_password_format": "scram" if hashed else "plain",
            "disable_sasl_mechanisms": refused,
            "shaper_rules": {"max_user_sessions": most_sessions, **({"c2s_shaper": "slow"} if rate else {})},
            **({"shaper": {"slow": {"rate": rate, "burst_size": rate}}} if rate else {}),
            "modules": {**{name: {} for name in [*modules, *(["mod_offline"] if offline else [])]}, **more},
        }

    def _when_started(self) -> str:
        """Erlang code that makes the accounts. After a restart they exist already and stay as they are."""
        registered = [
            f"ejabberd_auth:try_register({_erlang(user)}, {_erlang(self.domain)}, {_erlang(password)})"
            for user, password in self.accounts.items()
        ]
        return ", ".join([*registered, f'io:format("{READY} ~s~n", [os:getpid()])']) + "."


def _erlang(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'<<"{escaped}"/utf8>>'


def _libraries(box: Box | None) -> Path:
    """The path of Erlang's libraries, as the program sees it."""
    root = box.path("/") if box else Path("/")
    found = sorted(root.glob("usr/lib/*/ejabberd-*/ebin"))
    if not (found and (box or shutil.which("erl"))):
        raise NotInstalled("ejabberd is not installed (apt-get install ejabberd)")
    return "/" / found[-1].parent.parent.relative_to(root)
