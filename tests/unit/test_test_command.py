"""`screen-pop test`, with a sender that is played."""

from __future__ import annotations

import threading
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from screenpop.commands import test
from screenpop.sender import replies
from screenpop.spool import records, trigger
from screenpop.spool.outbox import Outbox

CONFIGURATION = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n"
DELIVERED = {"status": "DELIVERED"}
RECEIPT = {"receipt": "alice@example.org/phone"}


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    conf = tmp_path / "screen_pop.conf"
    conf.write_text(CONFIGURATION)
    monkeypatch.setenv("SCREEN_POP_CONF", str(conf))
    outbox = Outbox(str(tmp_path / "outbox"))
    monkeypatch.setenv("SCREEN_POP_SPOOL", outbox.path)
    outbox.make()
    return outbox


def run(outbox: Outbox, monkeypatch: pytest.MonkeyPatch, *said: dict[str, Any]) -> int:
    """With a sender that says this, one after the other."""

    def play(path: str) -> None:
        (file,) = Path(path, "new").iterdir()
        for reply in said:
            replies.tell(outbox.reply_fifo(records.read_call(str(file)).id), **reply)

    def ring(path: str) -> None:
        players.append(threading.Thread(target=play, args=(path,)))
        players[-1].start()

    players: list[threading.Thread] = []
    monkeypatch.setattr(trigger, "ring", ring)
    status = test.run(Namespace(number="+1 555", name="Bob"))
    for player in players:
        player.join()
    return status


@pytest.mark.parametrize("said", [(DELIVERED, RECEIPT), (RECEIPT, DELIVERED)], ids=["server first", "client first"])
def test_delivered_and_confirmed_by_the_client(
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: tuple[dict[str, Any], ...],
) -> None:
    assert run(outbox, monkeypatch, *said) == 0
    printed = capsys.readouterr().out
    assert "DELIVERED" in printed and "alice@example.org/phone has it" in printed
    assert "PROBLEM" not in printed and "no receipt" not in printed


def test_a_client_that_says_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(test, "RECEIPT_TIMEOUT", 0.0)
    assert run(outbox, monkeypatch, DELIVERED) == 0
    assert "no receipt" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ({"status": "FAILED", "reason": "no such account"}, "PROBLEM  not delivered: no such account"),
        ({"status": "QUEUED", "reason": "the server is down"}, "PROBLEM  not sent yet; it stays in the spool"),
    ],
)
def test_what_keeps_it_is_said_at_once(
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    said: dict[str, Any],
    printed: str,
) -> None:
    assert run(outbox, monkeypatch, said) == 1
    assert printed in capsys.readouterr().out


def test_a_sender_that_says_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(test, "TIMEOUT", 0.0)
    assert run(outbox, monkeypatch) == 1
    assert "PROBLEM  no reply from the sender" in capsys.readouterr().out
    assert list(Path(outbox.path, "tmp").iterdir()) == []  # nobody waits any more
