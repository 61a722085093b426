"""What the phone book costs a call in a real Asterisk 22, with a real Prosody and slixmpp; part of bench/phonebook.py.

Bursts of calls at once, without a source and with two: a CSV file that has every second caller, and a web service that
takes 800 ms. A pop is the time from before AGI() to the arrival of the message at the recipient's client. Each round
has a burst with and one without sources, so that both have the same conditions.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from parts.asterisk import CONFIG
from parts.box import INSTALLED, PREFIX
from parts.web import Exchange, Web
from real import PATIENCE, SCREEN_POP, Calls, Held, number, numbers_in, real_calls

CALLS, ROUNDS = 60, 3
WARM_UP = 3  # calls
SLOW = 0.8  # seconds of the web service
QUESTIONS = 500  # to Asterisk's database
LONGEST_BURST, LONGEST_QUESTION = 2500.0, 0.5  # targets, both in ms
CUSTOMERS = "/srv/customers.csv"
SECTIONS = f"""
[customers]
type = csv
file = {CUSTOMERS}
number = phone
name = full_name
[crm]
type = http
request = {{url}}/contacts?phone={{{{number}}}}
name = name
"""
ASK = f"{INSTALLED}/ask.py"
ASKED = "/tmp/asked"
# As the door asks, in one conversation; the file gets the milliseconds of each question.
SCRIPT = f"""#!{INSTALLED}/venv/bin/python3 -I
import sys, time
from screenpop.doors.conversation import AGI
from screenpop.doors.protocol import Command
NAME, took = "DB(cidname/+15551230000)", []
def questions():
    for question in range({QUESTIONS}):
        began = time.perf_counter()
        command = Command(names=[NAME])
        yield command
        assert command.values()[NAME] == ("Front Desk" if "known" in sys.argv else "")
        took.append((time.perf_counter() - began) * 1000)
AGI(sys.stdin.buffer, sys.stdout.buffer).send_all(questions())
with open("{ASKED}", "w") as file:
    print(*took, file=file)
"""


def questions(calls: Calls, is_known: bool) -> list[float]:
    """Milliseconds of each question to Asterisk's database."""
    calls.make(f"{ASK},known" if is_known else ASK)
    return [float(took) for took in calls.asterisk.box.path(ASKED).read_text().split()]


def burst(calls: Calls) -> tuple[list[tuple[Held, float]], float]:
    """Each call with the milliseconds of its pop; milliseconds from the first call to the last pop."""
    held = {call.number: call for call in calls.make(SCREEN_POP, CALLS)}
    arrived: dict[str, float] = {}
    while len(arrived) < CALLS:
        message = calls.alice.wait_for_message(PATIENCE)
        arrived.update((number, message.at / 1000) for number in numbers_in(message.body) if number in held)
    pops = [(call, (arrived[number] - call.before) / 1000) for number, call in held.items()]
    return pops, (max(arrived.values()) - min(call.before for call in held.values())) / 1000


def slowly(exchange: Exchange) -> None:
    exchange.server.stopped.wait(SLOW)
    exchange.json({"name": "Web"})


def use(calls: Calls, conf: Path, text: str) -> None:
    """A sender that has this configuration is up, and its index is made."""
    conf.write_text(text)
    if "[customers]" in text:
        calls.asterisk.box.run([f"{PREFIX}/bin/screen-pop", "index"], user="asterisk", env={"AST_CONFIG_DIR": CONFIG})
    for _ in range(WARM_UP):
        (call,) = calls.make(SCREEN_POP)
        calls.message_about(call.number)


def is_known(call: Held) -> bool:
    return int(call.number[-1]) % 2 == 1


def measure() -> list[str]:
    """Prints the table. Returns the targets that were missed."""
    pops: dict[str, list[float]] = {"without a source": [], "known by the index": [], "not known by it": []}
    lasts: dict[str, list[float]] = {"without": [], "with": []}
    with Web() as web, real_calls() as calls:
        web.behaves(slowly)
        box = calls.asterisk.box
        box.add_package("urllib3")
        customers = (f"{number(which)},Person {which}\n" for which in range(1, 10_000, 2))
        box.path("/srv/customers.csv").write_text("phone,full_name\n" + "".join(customers))
        box.path(ASK).write_text(SCRIPT)
        box.path(ASK).chmod(0o755)
        asked = {"a stranger": questions(calls, is_known=False)}
        calls.asterisk.rx('database put cidname +15551230000 "Front Desk"')
        asked["somebody known"] = questions(calls, is_known=True)
        conf = box.path(f"{CONFIG}/screen_pop.conf")
        without = conf.read_text()
        for done in range(ROUNDS):
            use(calls, conf, without)
            made, last = burst(calls)
            pops["without a source"] += [pop for _, pop in made]
            lasts["without"].append(last)
            use(calls, conf, without + SECTIONS.format(url=web.url))
            made, last = burst(calls)
            pops["known by the index"] += [pop for call, pop in made if is_known(call)]
            pops["not known by it"] += [pop for call, pop in made if not is_known(call)]
            lasts["with"].append(last)
            print(f"\rround {done + 1} of {ROUNDS}", end="", file=sys.stderr)

    print(f"\n\n{'question to DB(cidname/…), ms':40}{'median':>10}{'worst':>10}")
    for what, took in asked.items():
        print(f"{what:40}{statistics.median(took):10.2f}{max(took):10.2f}")
    print(f"\n{f'burst of {CALLS} with a slow source, pop in ms':40}{'median':>10}{'worst':>10}{'/ without':>10}")
    least = statistics.median(pops["without a source"])
    for what, took in pops.items():
        median = statistics.median(took)
        print(f"{what:40}{median:10.0f}{max(took):10.0f}{median / least:10.2f}")
    for kind, took in lasts.items():
        what = f"first call to last pop, {kind} sources"
        print(f"{what:40}{statistics.median(took):10.0f}{max(took):10.0f}")
    wrong = {
        f"a question to Asterisk's database takes {LONGEST_QUESTION} ms or more": max(
            map(statistics.median, asked.values())
        )
        >= LONGEST_QUESTION,
        f"a burst takes {LONGEST_BURST:.0f} ms or more": statistics.median(lasts["with"]) >= LONGEST_BURST,
    }
    return [what for what, is_so in wrong.items() if is_so]
