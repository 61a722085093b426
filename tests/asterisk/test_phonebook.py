"""Who is calling, in a real Asterisk: from a CSV file, a slow web service and Asterisk's own database."""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import pytest

from parts.asterisk import CONFIG, Asterisk, watch
from parts.box import PREFIX, Box, box_or_skip
from parts.pbx import in_real_asterisk
from parts.prosody import Prosody
from parts.recipient import Recipient
from parts.waiting import PATIENCE
from parts.web import Exchange, Web

OUTBOX = "/var/spool/asterisk/screen_pop"
LOG = "/var/log/asterisk/screen_pop.log"
CUSTOMERS = "/srv/customers.csv"
# 201: the extension of `screen-pop lookup`
DIALPLAN = """
[test]
exten => 201,1,AGI(screen_pop.py,${CALLERID(num)})
 same => n,NoOp(dialplan: ${AGISTATUS} ${SCREEN_POP_STATUS})
 same => n,Hangup()
"""
SECTIONS = f"""
[customers]
type = csv
file = {CUSTOMERS}
number = phone, mobile
name = full_name
company = company
url = https://crm.example.org/c/{{id}}
"""
HEADER = "id,full_name,company,phone,mobile\n"
ANN = '42,Ann Miller,"Miller, Sons & Co.",(555) 123-4567,+15551234568\n'
ANN_CALLS = """\
Call from Ann Miller, +1 555-123-4567 to 201
Miller, Sons & Co.
https://crm.example.org/c/42"""
SLOW = 0.8  # seconds of the web service
WEB = """
[crm]
type = http
request = {}/contacts?phone={{number}}
name = name
"""


@dataclass
class Running:
    asterisk: Asterisk
    alice: Recipient

    def pop(self, number: str, name: str = "", presentation: str = "allowed") -> str:
        """What the message says about a call."""
        self.asterisk.originate("201", "test", callerid_num=number, callerid_name=name, callerid_pres=presentation)
        return self.alice.wait_for_message().body

    def screen_pop(self, *arguments: str, status: int = 0) -> str:
        command = [f"{PREFIX}/bin/screen-pop", *arguments]
        done = self.asterisk.box.run(command, user="asterisk", env={"AST_CONFIG_DIR": CONFIG}, check=False)
        assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
        return done.stdout.decode()

    def looked_up(self, number: str, name: str = "", known: bool = False) -> str:
        """What the message would say."""
        return str(json.loads(self.screen_pop("lookup", "--json", number, name, status=0 if known else 1))["text"])


def replace_customers(box: Box, text: str) -> None:
    written = box.path("/srv/new.csv")
    written.write_text(text)
    written.rename(box.path("/srv") / "customers.csv")


@contextlib.contextmanager
def running_asterisk(prosody: Prosody, sections: str, customers: str) -> Iterator[Running]:
    """With an index of the customers, and a sender, which has made it."""
    box = box_or_skip()
    with box, in_real_asterisk(box, prosody, DIALPLAN, sections, linger=60) as (asterisk, alice):
        replace_customers(box, HEADER + customers)
        made = Running(asterisk, alice)
        entries = customers.count("\n")
        assert f"entries: {entries}, " in made.screen_pop("index")
        yield made


@pytest.fixture(scope="module")
def running(prosody: Prosody) -> Iterator[Running]:
    with running_asterisk(prosody, SECTIONS, ANN) as made:
        yield made


def test_somebody_in_the_csv_file(running: Running) -> None:
    assert running.pop("+15551234567", "MILLER A") == ANN_CALLS
    # as a trunk may have it
    assert running.pop("5551234567") == running.pop("15551234567") == ANN_CALLS
    assert running.pop("+15551234568") == ANN_CALLS.replace("4567", "4568")
    assert running.looked_up("+15551234567", "MILLER A", known=True) == ANN_CALLS


def test_a_stranger_abroad(running: Running) -> None:
    said = "Call from +49 30 1234567 to 201\nGermany"
    assert running.pop("+49301234567") == running.pop("0049301234567") == said
    assert running.looked_up("+49301234567") == said


def test_a_number_that_may_not_be_shown(running: Running) -> None:
    said = "Call from number withheld to 201"
    assert running.pop("+15551234567", "Ann Miller", "prohib") == said
    assert running.pop("anonymous", "Anonymous") == said
    assert running.looked_up("anonymous", "Anonymous") == said


def test_a_name_that_the_caller_has_chosen(running: Running) -> None:
    said = 'Call from "Mallory Bank", +1 555-999-0000 to 201'
    assert running.pop("+15559990000", "Mallory Bank") == said
    assert running.looked_up("+15559990000", "Mallory Bank") == said


def test_asterisks_own_database(running: Running) -> None:
    running.asterisk.rx('database put cidname +15551230000 "Front Desk of Example Inc."')
    assert running.pop("+15551230000", "ODD NAME") == "Call from Front Desk of Example Inc., +1 555-123-0000 to 201"
    # files come first
    running.asterisk.rx('database put cidname +15551234567 "Somebody else"')
    assert running.pop("+15551234567") == ANN_CALLS


def test_a_file_that_is_replaced_while_the_sender_is_up(running: Running) -> None:
    box = running.asterisk.box
    running.pop("+15551234567")
    senders, index = box.processes("screenpop.sender"), box.path(f"{OUTBOX}/index.sqlite")
    changes, before = watch(index.parent), index.stat().st_ino
    try:
        replace_customers(box, HEADER + ANN.replace("Ann Miller", "Ann Smith"))
        while index.stat().st_ino == before:
            assert select.select([changes], [], [], PATIENCE)[0], "there is no new index"
            os.read(changes, 65536)
    finally:
        os.close(changes)
    assert running.pop("+15551234567") == ANN_CALLS.replace("Miller,", "Smith,", 1)
    assert box.processes("screenpop.sender") == senders
    assert running.looked_up("+15551234567", known=True).startswith("Call from Ann Smith, ")


def test_sixty_calls_at_once_with_a_slow_source(prosody: Prosody) -> None:
    """The file knows every second caller, and the web service everybody."""
    numbers = [f"+1555777{call:04}" for call in range(60)]
    customers = "".join(f"{call},Person {call},,{number},\n" for call, number in enumerate(numbers) if call % 2)

    with Web() as web, running_asterisk(prosody, SECTIONS + WEB.format(web.url), customers) as running:
        box, asterisk = running.asterisk.box, running.asterisk
        box.add_package("urllib3")

        def slowly(exchange: Exchange) -> None:
            number = unquote(exchange.path).rpartition("=")[2]
            exchange.server.stopped.wait(SLOW)
            exchange.json({"name": f"Web {number}"})

        an_answer_that_is_late_is_there_for_the_next_call(running, web)
        web.behaves(slowly)
        asterisk.come_in(*[asterisk.call_file("201", "test", callerid_num=number) for number in numbers])
        said = [running.alice.wait_for_message().body for _ in numbers]
        for call, number in enumerate(numbers):
            caller = f"+1 555-777-{call:04} to 201"
            customer = f"Call from Person {call}, {caller}\nhttps://crm.example.org/c/{call}"
            stranger = {f"Call from {caller}", f"Call from Web {number}, {caller}"}  # the answer was late, or in time
            assert {customer} <= {*said} if call % 2 else stranger & {*said}
        (told,) = [line for line in box.path(LOG).read_text().splitlines() if "phone book" in line]
        assert "phone book [crm]: it answers after lookup_wait" in told  # once, and it is asked all the time


def an_answer_that_is_late_is_there_for_the_next_call(running: Running, web: Web) -> None:
    gate = threading.Event()

    def late(exchange: Exchange) -> None:
        gate.wait(PATIENCE)
        exchange.json({"name": "Late Answer"})

    web.behaves(late)
    assert running.pop("+15557780000") == "Call from +1 555-778-0000 to 201"
    web.behaves(lambda exchange: exchange.body(b"", 404))
    gate.set()
    assert running.pop("+15557780000") == "Call from Late Answer, +1 555-778-0000 to 201"
