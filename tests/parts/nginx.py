"""An nginx of the tests' own that serves JSON files over TLS to those who have the token.

Its program is the machine's nginx, or the distribution's package is unpacked into a folder and run from there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from parts import debs
from parts.certificates import Certificate
from parts.server import Server

TOKEN = "nginx's secret"


class Nginx(Server):
    """`contacts`: JSON by the number that is asked for; at /slow/ each answer takes some seconds."""

    def __init__(self, folder: Path, certificate: Certificate, contacts: Mapping[str, str]) -> None:
        super().__init__(folder, certificate, "localhost", {}, direct_tls=False, box=None)
        self._root = _root(folder)
        (folder / "contacts").mkdir()
        for number, text in contacts.items():
            (folder / "contacts" / number).write_text(text)
        (folder / "nginx.conf").write_text(self._configuration())

    def command(self) -> list[str]:
        program = self._root / "usr/sbin/nginx"
        return [str(program), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def environment(self) -> dict[str, str]:
        libraries = ":".join(str(path) for path in self._root.glob("usr/lib/*-linux-*"))
        return {**super().environment(), "LD_LIBRARY_PATH": libraries}

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def log(self) -> str:
        path = self.folder / "access.log"
        return path.read_text() if path.exists() else ""

    def connections(self) -> list[str]:
        """The connection that each answered request came over."""
        return re.findall("^connection (\\d+)", self.log(), re.MULTILINE)

    def _configuration(self) -> str:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        folders = "\n".join(f"    {kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        return f"""
daemon off;
error_log stderr;
worker_processes 1;
pid {self.folder}/nginx.pid;
events {{}}
http {{
{folders}
    log_format connections 'connection $connection: $status $request';
    access_log {self.folder}/access.log connections;
    gzip on;
    gzip_types *;
    gzip_min_length 0;
    default_type application/json;
    server {{
        listen {self.host}:{self.port} ssl;
        ssl_certificate {self.cert_file};
        ssl_certificate_key {self.key_file};
        if ($http_authorization != "Bearer {TOKEN}") {{ return 401; }}
        location /contacts/ {{ root {self.folder}; }}
        location /slow/ {{ alias {self.folder}/contacts/; limit_rate 8; }}
        location /old/ {{ rewrite ^/old/(.*)$ /contacts/$1 redirect; }}
    }}
}}
"""


def _root(folder: Path) -> Path:
    """Raises debs.NotAvailable."""
    if Path("/usr/sbin/nginx").exists():
        return Path("/")
    return debs.fetch("nginx", Path(os.environ.get("SCREEN_POP_CACHE", folder), "nginx-unpacked"))
