"""The doors of `screen-pop serve` when the configuration changes, or has errors: where they listen, and for whom."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_agi import Channel
from parts.server import free_port
from parts.spool import calls, outbox
from screenpop.commands import _doors
from screenpop.commands._doors import CannotListen, Doors, configured
from screenpop.doors.options import FastagiOptions
from screenpop.log import Log
from screenpop.spool.outbox import Outbox

__all__ = ["outbox"]

ACCOUNT = "[xmpp]\njid = pbx@example.org\npassword = x\n[pop]\nto = alice@example.org\n"
TOKEN = "0123456789abcdef"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"  # both are addresses of this box


class Box:
    """The doors, and their configuration."""

    def __init__(self, folder: Path, outbox: Outbox) -> None:
        self.conf, self.outbox = folder / "screen_pop.conf", outbox
        self.told: list[str] = []
        self.listening = Doors(outbox, self.told.append, Log(str(folder / "screen_pop.log")).write)

    def load(self, doors: str, account: str = ACCOUNT) -> None:
        """As at the start; and as SIGHUP does, if the configuration is right. Raises CannotListen."""
        self.conf.write_text(f"{account}{doors}")
        self.listening.open(configured(str(self.conf)))

    @property
    def doors(self) -> list[str]:
        return self.listening.addresses()


@pytest.fixture
def box(tmp_path: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    monkeypatch.setattr(_doors, "FREEPBX", str(tmp_path / "freepbx.conf"))
    made = Box(tmp_path, outbox)
    yield made
    made.listening.close()


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port that is free here, in place of 4573."""
    port = free_port()
    monkeypatch.setattr(FastagiOptions.__dict__["listen"], "default", (HERE, port))
    return port


def fastagi(host: str, port: int, allow: str = "") -> str:
    return f"[fastagi]\nlisten = {host}:{port}\n" + (f"allow = {allow}\n" if allow else "")


def http_door(host: str, port: int, token: str = TOKEN) -> str:
    return f"[http]\nlisten = {host}:{port}\ntoken = {token}\n"


def call(host: str, port: int, *to: str) -> str:
    """SCREEN_POP_STATUS; or empty if nobody listens."""
    channel = Channel(callerid="+15551234567", extension="123")
    return channel.run([f"agi://{host}:{port}/x", "+15551234567", *to]).variables.get("SCREEN_POP_STATUS", "")


def get(host: str, port: int, token: str = TOKEN) -> int:
    """The status; or 0 if nobody listens."""
    client = http.client.HTTPConnection(host, port, timeout=20)
    try:
        client.request("GET", "/?ani=1", headers={"Authorization": f"Bearer {token}"})
        return client.getresponse().status
    except ConnectionRefusedError:
        return 0
    finally:
        client.close()


def test_a_door_for_a_network_becomes_one_for_this_box_when_its_lines_are_deleted(box: Box, default: int) -> None:
    box.load(fastagi("0.0.0.0", default, "192.0.2.0/24"))
    assert call(ELSEWHERE, default) == "FAILED"
    box.load("")
    assert call(ELSEWHERE, default) == ""
    assert call(HERE, default, "eve@example.net") == "QUEUED"
    assert [call.to for call in calls(box.outbox)] == ["eve@example.net"]  # this box may name everybody


def test_doors_move_to_another_address_with_the_same_port(box: Box) -> None:
    agi, web = free_port(), free_port()
    box.load(fastagi(HERE, agi) + http_door(HERE, web))
    box.load(fastagi("0.0.0.0", agi, "127.0.0.0/8") + http_door("0.0.0.0", web))
    assert (call(ELSEWHERE, agi), get(ELSEWHERE, web)) == ("QUEUED", 200)
    box.load(fastagi(HERE, agi) + http_door(HERE, web))
    assert (call(ELSEWHERE, agi), get(ELSEWHERE, web)) == ("", 0)
    assert (call(HERE, agi), get(HERE, web)) == ("QUEUED", 200)


def test_doors_exchange_their_ports(box: Box) -> None:
    one, other = free_port(), free_port()
    box.load(fastagi(HERE, one) + http_door(HERE, other))
    box.load(fastagi(HERE, other) + http_door(HERE, one))
    assert (call(HERE, other), get(HERE, one)) == ("QUEUED", 200)


def test_a_door_that_cannot_move_stays_with_its_limits_and_the_other_moves(box: Box) -> None:
    old, web, moved = free_port(), free_port(), free_port()
    box.load(fastagi(HERE, old, "192.0.2.0/24") + http_door(HERE, web))
    with socket.create_server((HERE, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as failed:
            box.load(fastagi(HERE, port) + http_door(HERE, moved, f"{TOKEN}2"))
    assert str(failed.value) == (
        f"[fastagi] listen = {HERE}:{port}: Address already in use; it stays at {HERE}:{old}, as it was"
    )
    assert call(HERE, old) == "FAILED"
    assert (get(HERE, web), get(HERE, moved), get(HERE, moved, f"{TOKEN}2")) == (0, 401, 200)
    assert box.doors == [f"fastagi {HERE}:{old}", f"http {HERE}:{moved}"]


def test_a_call_that_waits_does_not_notice_that_its_door_cannot_move(box: Box) -> None:
    port = free_port()
    box.load(fastagi(HERE, port))
    with socket.create_connection((HERE, port), timeout=20) as client:
        client.sendall(b"agi_network: yes\n")
        with pytest.raises(CannotListen):
            box.load(fastagi("192.0.2.1", free_port(), "192.0.2.0/24"))
        client.sendall(b"agi_callerid: 1\n\n")
        assert client.recv(1000).startswith(b"GET FULL VARIABLE ")


def test_the_http_door_that_cannot_move_stays_and_the_other_has_its_new_limits(box: Box) -> None:
    agi, web = free_port(), free_port()
    box.load(fastagi(HERE, agi) + http_door(HERE, web))
    with pytest.raises(CannotListen) as failed:
        box.load(fastagi(HERE, agi, "192.0.2.0/24") + http_door("192.0.2.1", web))
    assert str(failed.value) == (
        f"[http] listen = 192.0.2.1:{web}: Cannot assign requested address; it stays at {HERE}:{web}, as it was"
    )
    assert (call(HERE, agi), get(HERE, web)) == ("FAILED", 200)


def test_a_door_whose_old_port_has_been_given_to_the_other_one_is_closed(box: Box) -> None:
    agi, web = free_port(), free_port()
    box.load(fastagi(HERE, agi) + http_door(HERE, web))
    with pytest.raises(CannotListen) as failed:
        box.load(fastagi(HERE, web) + http_door("192.0.2.1", web))
    assert "it is closed, as it can't be opened again" in str(failed.value)
    assert box.doors == [f"fastagi {HERE}:{web}"]


def test_without_the_default_port_there_is_no_fastagi_any_more(box: Box, default: int) -> None:
    old, web = free_port(), free_port()
    box.load(fastagi(HERE, old))
    with socket.create_server((HERE, default)):
        box.load(http_door(HERE, web))
    assert f"{default}: Address already in use: there is no FastAGI until" in box.told[0]
    assert (call(HERE, old), get(HERE, web)) == ("", 200)
    assert box.doors == [f"http {HERE}:{web}"]


# A configuration with errors, at the start

WRONG = f"{ACCOUNT}flood_limit = lots\n"


def test_doors_listen_where_a_configuration_with_an_error_elsewhere_says(box: Box, default: int) -> None:
    agi, web = free_port(), free_port()
    box.load(fastagi(HERE, agi) + http_door(HERE, web), WRONG)
    assert (call(HERE, agi), call(HERE, default), get(HERE, web)) == ("QUEUED", "", 200)


def test_an_error_elsewhere_opens_no_door_that_is_not_wanted(box: Box) -> None:
    box.load("[fastagi]\nlisten = no\n", WRONG)
    assert box.doors == []


def test_an_error_elsewhere_lets_nobody_in(box: Box) -> None:
    port = free_port()
    box.load(fastagi(HERE, port, "192.0.2.0/24"), WRONG)
    assert call(HERE, port) == "FAILED"


def test_while_the_recipients_are_not_known_another_box_can_name_none(box: Box) -> None:
    port = free_port()
    box.load(fastagi(HERE, port, "127.0.0.0/8"), WRONG)
    assert call(HERE, port, "eve@example.net") == "QUEUED"
    assert [call.to for call in calls(box.outbox)] == [""]


@pytest.mark.parametrize(
    "wrong",
    [
        "[fastagi]\nlisten = nowhere:1\n",
        "[fastagi]\nlisten no\n",
        "[fastagi]\nlistn = no\n",
        "[fastagi]\nlisten = 0.0.0.0:{port}\n",
        "[fastagi]\nlisten = no\nlisten = 127.0.0.1:{port}\n",
    ],
)
def test_an_error_in_its_own_section_opens_no_door(box: Box, default: int, wrong: str) -> None:
    web = free_port()
    box.load(wrong.replace("{port}", str(default)) + http_door(HERE, web))
    assert box.doors == [f"http {HERE}:{web}"]


def test_an_error_in_its_own_section_leaves_a_door_as_it_is(box: Box, default: int) -> None:
    port = free_port()
    box.load(fastagi(HERE, port, "192.0.2.0/24"))
    box.load(fastagi("0.0.0.0", port))
    assert call(HERE, port) == "FAILED"


def test_an_unreadable_file_opens_no_door_and_a_missing_one_the_default_one(box: Box, default: int) -> None:
    box.conf.mkdir()
    box.listening.open(configured(str(box.conf)))
    assert box.doors == []
    os.rmdir(box.conf)
    box.listening.open(configured(str(box.conf)))
    assert call(HERE, default) == "QUEUED"
