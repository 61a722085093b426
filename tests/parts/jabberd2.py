"""A jabberd2 for the tests, in a box. Router, session manager and client manager are separate processes."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path

from parts.box import Box
from parts.certificates import Certificate
from parts.prosody import ACCOUNTS
from parts.server import Server, free_port, give_to_ordinary_user


class Jabberd2(Server):
    """It has no SCRAM. `hashed`: passwords are stored as the MD5 hash of user, domain and password."""

    def __init__(
        self,
        folder: Path,
        certificate: Certificate,
        box: Box,
        domain: str = "screenpop.test",
        accounts: Mapping[str, str] = ACCOUNTS,
        hashed: bool = True,
        direct_tls: bool = False,
    ) -> None:
        super().__init__(folder, certificate, domain, accounts, direct_tls, box)
        self._router_port = free_port()
        self._starts = 0
        self._others: list[subprocess.Popen[bytes]] = []
        packaged = box.path("/etc/jabberd2/sm.xml").read_text()
        (self._modules,) = re.findall("<modules>.*</modules>", packaged, re.DOTALL)
        self._libraries = re.findall("<path>.*?</path>", self._modules)[0]
        (folder / "server.pem").write_bytes(self.cert_file.read_bytes() + self.key_file.read_bytes())
        (folder / "data").mkdir()
        (folder / "router.xml").write_text(self._router())
        (folder / "router-users.xml").write_text(
            "<users><user><name>jabberd</name><secret>secret</secret></user></users>"
        )
        (folder / "sm.xml").write_text(self._session_manager())
        (folder / "c2s.xml").write_text(self._client_manager("a1hash" if hashed else "plaintext"))
        self._write_accounts(hashed)

    def command(self) -> list[str]:
        return self._component("c2s")

    def _component(self, name: str) -> list[str]:
        return [f"/usr/sbin/jabberd2-{name}", "-c", str(self.folder / f"{name}.xml")]

    def start(self) -> None:
        give_to_ordinary_user(self.folder)
        self._starts += 1
        self._others = [self._run(self._component("router")), self._run(self._component("sm"))]
        super().start()

    def ready(self) -> bool:
        return self.output().count("sm ready for sessions") >= self._starts and super().ready()

    def stop(self) -> None:
        super().stop()
        self._end_others()

    def kill(self) -> None:
        super().kill()
        self._end_others()

    def _end_others(self) -> None:
        for process in self._others:
            process.kill()
            process.wait()
        self._others = []

    def log(self) -> str:
        return self.output()

    def sign_in_line(self, jid: str) -> str:
        return rf"authentication succeeded: {jid} "

    def _router(self) -> str:
        return f"""\
<router>
  <id>router</id>
  <log type="stdout"/>
  <local>
    <ip>{self.host}</ip>
    <port>{self._router_port}</port>
    <users>{self.folder}/router-users.xml</users>
    <secret>secret</secret>
  </local>
  <aci><acl type="all"><user>jabberd</user></acl></aci>
</router>
"""

    def _connection(self) -> str:
        """The connection to the router, which may not listen yet."""
        return f"""\
  <router>
    <ip>{self.host}</ip>
    <port>{self._router_port}</port>
    <user>jabberd</user>
    <pass>secret</pass>
    <retry><init>20</init><lost>20</lost><sleep>1</sleep></retry>
  </router>
  <log type="stdout"/>"""

    def _session_manager(self) -> str:
        return f"""\
<sm>
  <id>sm</id>
{self._connection()}
  <local><id>{self.domain}</id></local>
  <storage>
    {self._libraries}
    <driver>fs</driver>
    <fs><path>{self.folder}/data</path></fs>
  </storage>
  {self._modules}
  <user><auto-create/></user>
</sm>
"""

    def _client_manager(self, password_type: str) -> str:
        direct_tls = f"<ssl-port>{self.direct_tls_port}</ssl-port>" if self.direct_tls_port else ""
        return f"""\
<c2s>
  <id>c2s</id>
{self._connection()}
  <local>
    <id pemfile="{self.folder}/server.pem" require-starttls="true">{self.domain}</id>
    <ip>{self.host}</ip>
    <port>{self.port}</port>
    {direct_tls}
    <pemfile>{self.folder}/server.pem</pemfile>
  </local>
  <authreg>
    {self._libraries}
    <module>sqlite</module>
    <ssl-mechanisms><sasl><plain/></sasl></ssl-mechanisms>
    <sqlite>
      <dbname>{self.folder}/accounts.db</dbname>
      <busy-timeout>2000</busy-timeout>
      <password_type><{password_type}/></password_type>
    </sqlite>
  </authreg>
</c2s>
"""

    def _write_accounts(self, hashed: bool) -> None:
        with sqlite3.connect(self.folder / "accounts.db") as database:
            database.execute('create table "authreg" ("username" text, "realm" text, "password" text)')
            for user, password in self.accounts.items():
                stored = hashlib.md5(f"{user}:{self.domain}:{password}".encode()).hexdigest() if hashed else password
                database.execute('insert into "authreg" values (?, ?, ?)', (user, self.domain, stored))
        database.close()
