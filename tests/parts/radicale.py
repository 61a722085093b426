"""A Radicale of the tests' own, with TLS on a loopback port, and vdirsyncer; both run as an ordinary user.

Both come from PyPI, in an environment of their own, which is made once and kept in the tests' cache.
"""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from urllib.request import HTTPBasicAuthHandler, HTTPPasswordMgrWithPriorAuth, HTTPSHandler, Request, build_opener

from parts import documents
from parts.certificates import Certificate
from parts.debs import NotAvailable
from parts.server import Server, as_ordinary_user, give_to_ordinary_user

CHECKOUT = Path(__file__).parents[2]
DOMAIN = "localhost"
USER, PASSWORD = "alice", "alice's secret"
ADDRESS_BOOK = """<?xml version="1.0" encoding="utf-8"?>
<mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><set><prop>
<resourcetype><collection/><C:addressbook/></resourcetype><displayname>Customers</displayname>
</prop></set></mkcol>"""  # RFC 6352 section 6.3.1.1


class Radicale(Server):
    """With one address book, `customers`. `certificate`: for DOMAIN."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        super().__init__(folder, certificate, DOMAIN, {USER: PASSWORD}, direct_tls=False, box=None)
        self._programs = _environment() / "bin"
        self.url = f"https://{DOMAIN}:{self.port}/{USER}/customers"
        (folder / "users").write_text(f"{USER}:{PASSWORD}\n")
        (folder / "config").write_text(f"""\
[server]
hosts = {self.host}:{self.port}
ssl = True
certificate = {self.cert_file}
key = {self.key_file}
[auth]
type = htpasswd
htpasswd_filename = {folder}/users
htpasswd_encryption = plain
[storage]
filesystem_folder = {folder}/collections
""")

    def command(self) -> list[str]:
        return [str(self._programs / "radicale"), "--config", str(self.folder / "config")]

    def log(self) -> str:
        return self.output()

    def start(self) -> None:
        super().start()
        self._request("MKCOL", self.url, ADDRESS_BOOK)

    def put(self, name: str, card: str) -> None:
        self._request("PUT", f"{self.url}/{name}.vcf", card, {"Content-Type": "text/vcard; charset=utf-8"})

    def delete(self, name: str) -> None:
        self._request("DELETE", f"{self.url}/{name}.vcf")

    def _request(self, method: str, url: str, body: str = "", headers: dict[str, str] | None = None) -> None:
        passwords = HTTPPasswordMgrWithPriorAuth()
        passwords.add_password(None, url, USER, PASSWORD, is_authenticated=True)
        tls = HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file))
        opener = build_opener(HTTPBasicAuthHandler(passwords), tls)
        with opener.open(Request(url, body.encode(), headers or {}, method=method), timeout=10):
            pass

    def sync(self) -> Path:
        """As docs/phonebook.md has it. Returns the folder with the cards."""
        here = self.folder / "contacts"
        if not here.exists():
            here.mkdir()
            (self.folder / "ca.pem").write_bytes(self.ca_file.read_bytes())
            (self.folder / "password").write_text(f"{PASSWORD}\n")
            (text,) = [one for one in documents.blocks("") if one.startswith("[general]\n")]
            for documented, ours in (
                ("/var/lib/asterisk/contacts", str(here)),
                ("https://cloud.example.org/remote.php/dav/", f"https://{DOMAIN}:{self.port}/"),
                ('"pbx"', f'"{USER}"'),
                ("/etc/asterisk/carddav.password", f"{self.folder}/password"),
            ):
                assert documented in text
                text = text.replace(documented, ours)
            (self.folder / "vdirsyncer.conf").write_text(f'{text}verify = "{self.folder}/ca.pem"\n')
            give_to_ordinary_user(self.folder)
            self._vdirsyncer("discover", "contacts", answer="y\n")
        self._vdirsyncer("sync")
        return here

    def _vdirsyncer(self, *arguments: str, answer: str = "") -> None:
        done = subprocess.run(
            [self._programs / "vdirsyncer", "-v", "ERROR", "-c", self.folder / "vdirsyncer.conf", *arguments],
            input=answer,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self.environment(), "HOME": str(self.folder)},
            cwd=self.folder,
            timeout=60,
            **as_ordinary_user(),
        )
        if done.returncode:
            raise RuntimeError(f"vdirsyncer {arguments[0]}: {done.stdout}")


def _environment() -> Path:
    made = subprocess.run(
        ["tests/venv.sh", "tests/carddav-requirements.txt"], cwd=CHECKOUT, capture_output=True, text=True
    )
    if made.returncode:
        raise NotAvailable(f"it can't be had from PyPI: {made.stderr.strip().rpartition(chr(10))[2]}")
    return Path(made.stdout.strip())
