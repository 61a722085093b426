"""The examples of docs/http.md, with the programs that they are for: curl, Kamailio and nginx."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts import debs
from parts.certificates import Certificate
from parts.debs import NotAvailable
from parts.nginx import Nginx
from parts.server import LOOPBACK, free_port
from parts.spool import calls, outbox
from parts.waiting import PATIENCE, eventually
from screenpop.doors.fields import NAMES
from screenpop.doors.http import Application
from screenpop.doors.http_server import HttpDoor
from screenpop.spool.outbox import Outbox

__all__ = ["outbox"]

DOCUMENT = (Path(__file__).parents[2] / "docs/http.md").read_text(encoding="utf-8")
TOKEN = "0123456789abcdef"


@pytest.fixture
def door(outbox: Outbox) -> Iterator[HttpDoor]:
    made = HttpDoor((LOOPBACK, 0), Application(outbox, lambda: TOKEN, print))
    yield made
    made.close()


def example(kind: str, door: HttpDoor) -> str:
    """The example of that kind in the document, for this door."""
    (text,) = re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(text).replace("127.0.0.1:8088", f"{LOOPBACK}:{door.port}").replace("TOKEN", TOKEN)


def test_curl(door: HttpDoor, outbox: Outbox) -> None:
    if not shutil.which("curl"):
        pytest.skip("this machine has no curl")
    line = example("sh", door).replace(f"${TOKEN}", TOKEN)
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert said == "screen_pop.queued\nid=7\nstatus=QUEUED\n"
    assert [(call.number, call.extension, call.uniqueid) for call in calls(outbox)] == [("+15551234567", "201", "7")]


CONFIGURATION = """\
#!KAMAILIO
log_stderror=yes
children=1
listen=udp:{host}:{port}
mpath="{modules}/"
loadmodule "pv.so"
loadmodule "sl.so"
loadmodule "http_client.so"
request_route {{
    {line}
    sl_send_reply("486", "Busy");
}}
"""


def test_kamailio(door: HttpDoor, outbox: Outbox, tmp_path: Path) -> None:
    try:
        root = debs.fetch("kamailio-utils-modules", Path(os.environ["SCREEN_POP_CACHE"], "kamailio-unpacked"))
    except NotAvailable as why:
        pytest.skip(f"Kamailio: {why}")
    (modules,) = root.glob("usr/lib/*/kamailio/modules")
    port = free_port()
    text = CONFIGURATION.format(host=LOOPBACK, port=port, modules=modules, line=example("kamailio", door))
    (tmp_path / "kamailio.cfg").write_text(text)
    command = [str(root / "usr/sbin/kamailio"), "-DD", "-E", "-m", "32", "-M", "8"]
    with subprocess.Popen(
        [*command, "-f", str(tmp_path / "kamailio.cfg"), "-Y", str(tmp_path)],
        env={**os.environ, "LD_LIBRARY_PATH": f"{modules.parent}:{modules.parent.parent}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as kamailio:
        try:
            for caller in ('"Zoë & B=b+%" <sip:+15551234567@example.org>', "<sip:anonymous@anonymous.invalid>"):
                invite(port, caller)
        finally:
            kamailio.terminate()
    known, withheld = calls(outbox)
    assert (known.number, known.name, known.extension) == ("+15551234567", "Zoë & B=b+%", "201")
    assert known.uniqueid == "a&c=d@192.0.2.1"
    assert (withheld.number, withheld.name, withheld.withheld) == ("", "", True)


def invite(port: int, caller: str) -> None:
    """A call by SIP (RFC 3261), and its answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((LOOPBACK, 0))
        phone.connect((LOOPBACK, port))
        phone.settimeout(0.5)  # T1, after which a request is sent again
        here = f"{LOOPBACK}:{phone.getsockname()[1]}"
        lines = [
            f"INVITE sip:201@{LOOPBACK}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {here};branch=z9hG4bK{port}",
            f"From: {caller};tag=1",
            f"To: <sip:201@{LOOPBACK}>",
            "Call-ID: a&c=d@192.0.2.1",
            "CSeq: 1 INVITE",
            "Max-Forwards: 70",
            f"Contact: <sip:{here}>",
            "Content-Length: 0",
        ]
        request = "\r\n".join([*lines, "", ""]).encode()

        def answer() -> bytes:
            try:
                phone.send(request)
                return phone.recv(4096)
            except OSError:  # it isn't up yet
                return b""

        assert eventually(answer).startswith(b"SIP/2.0 486 ")


class Proxy(Nginx):
    """In front of the door, with TLS, by the example."""

    def __init__(self, folder: Path, certificate: Certificate, location: str) -> None:
        self.location = location
        super().__init__(folder, certificate, {})

    def _configuration(self) -> str:
        whole = super()._configuration()
        locations = whole[whole.index("        if ($http_authorization") : whole.rindex("    }\n}")]
        return whole.replace(locations, self.location)


def test_nginx(door: HttpDoor, outbox: Outbox, certificate: Certificate, new_server_folder: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("this machine has no curl")
    try:
        proxy = Proxy(new_server_folder / "nginx", certificate, example("nginx", door))
    except NotAvailable as why:
        pytest.skip(f"nginx: {why}")
    curl = ["curl", "-sS", "-m", str(PATIENCE), "--cacert", str(certificate.ca_file), "-w", "%{http_code}"]
    curl += [
        "--resolve",
        f"screenpop.test:{proxy.port}:{proxy.host}",
        f"https://screenpop.test:{proxy.port}/screen_pop.php",
    ]
    with proxy:
        said = [
            subprocess.run([*curl, *more], capture_output=True, text=True).stdout
            for more in (
                ["-H", f"Authorization: Bearer {TOKEN}", "-d", "ani=1"],
                ["-G", "-d", f"ani=2&token={TOKEN}"],
                ["-d", "ani=3&token=wrong"],
                ["-d", "x" * 70_000],
            )
        ]
    assert [text[-3:] for text in said] == ["200", "200", "401", "413"]
    assert said[0].startswith("screen_pop.queued\n")
    assert [call.number for call in calls(outbox)] == ["1", "2"]
    assert TOKEN not in proxy.log()


@pytest.mark.parametrize("kind", ["xml", "kamailio", "sh"])
def test_each_field_of_an_example_is_one_of_the_doors(kind: str) -> None:
    for text in re.findall(rf"^```{kind}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE):
        plain = str(ET.fromstring(text).attrib) if kind == "xml" else text
        names = set(re.findall(r"(?:[?& |]|-urlencode \")([a-z]+)=", plain))
        assert names and names <= {*NAMES, "token"}, names


def test_freeswitch_gets_no_text_of_a_caller_where_it_decodes_it() -> None:
    """mod_curl decodes what stands after `post`, so that a `&` in a name would end its field there."""
    lines = re.findall(r'^<action application="[a-z]+" data="(.*)"/>$', DOCUMENT, re.MULTILINE)
    assert [line.partition("^^|")[2].partition("|post|")[2] for line in lines] == ["token=TOKEN", "token=TOKEN"]
