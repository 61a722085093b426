"""Show what the phone book's sources say of a number, who would be told of the call, and the message."""

from __future__ import annotations

import json
import select
import sys

from ..text import clean
from . import _spool
from ._terminal import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..phonebook.lookup import Lookup
    from ..phonebook.source import Number
    from ..pop.routes import Route


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", metavar="NUMBER", type=_number, help="the caller's number")
    parser.add_argument("name", metavar="NAME", nargs="?", default="", help="the name in the caller ID")
    parser.add_argument(
        "extension", metavar="EXTENSION", nargs="?", default="201", help="the extension that is called (default: 201)"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _number(text: str) -> str:
    from argparse import ArgumentTypeError

    if number := clean(text):
        return number
    raise ArgumentTypeError("a number is needed; anonymous stands for one that is withheld")


def run(arguments: argparse.Namespace) -> int:
    """Asks the sources as the sender does, and waits for as long. Returns the exit status: 0 when a name is known."""
    from ..call import Call, stands_for_no_number
    from ..phonebook import numbers
    from ..phonebook.book import Book
    from ..pop import message
    from . import _settings

    spool = _spool.path()
    given = _settings.load()
    if given is None:
        return 1
    number, name, extension = arguments.number, clean(arguments.name), clean(arguments.extension)
    withheld = stands_for_no_number(number)
    call = Call(
        number="" if withheld else number, name="" if withheld else name, withheld=withheld, extension=extension
    )
    pop = given.pop
    book = Book(given.sources, spool, pop.country, pop.places, pop.lookup_wait)
    lookup = book.ask(call)
    sent = lookup.contact() if lookup.is_ready() else None  # the pop doesn't wait for the others
    while not lookup.is_complete():
        select.select([book], [], [], max(0.0, lookup.seconds_left()))
        book.read()
    book.close()
    parsed, facts, contact = numbers.parse(call.number, pop.country), book.facts(call), sent or lookup.contact()
    route = given.routes.route(call, contact)
    template = given.routes.template(call, call.event) or message.DEFAULT
    text = message.text(call, template, None, facts, contact, None, pop.language)
    if arguments.json:
        json.dump(_as_json(parsed, facts, lookup, contact, route, text), sys.stdout, indent=2)
        print()
    else:
        if book.number_problem:
            show(book.number_problem, label="PROBLEM  ")
        _print(parsed, lookup, route, text)
    return 0 if contact and contact.get("name") else 1


def _print(number: Number, lookup: Lookup, route: Route, text: str) -> None:
    as_written = "no telephone number: looked up as it is written" if number.written else "withheld: not looked up"
    show(number.e164 or as_written, label=f"{'number':15}")
    for name in lookup.asked if number.written else []:
        took = "from the cache" if name in lookup.cached else f"{lookup.seconds.get(name, 0.0) * 1000:.1f} ms"
        if name in lookup.answers:
            said = ", ".join(f"{field} = {value}" for field, value in lookup.answers[name].items()) or "unknown"
        else:
            said = lookup.problems.get(name, "no answer in time")
        show(f"{said} ({took})", label=f"{name:15}")
    show(route.why, label=f"{'route':15}")
    for recipient in route.to:
        show(recipient, label=f"{'to':15}")
    for reason in route.invalid.values():
        show(reason, label=f"{'PROBLEM':15}")
    for line in text.split("\n"):
        show(line, label=f"{'message':15}")


def _as_json(
    number: Number,
    facts: dict[str, str],
    lookup: Lookup,
    contact: dict[str, str] | None,
    route: Route,
    text: str,
) -> dict[str, Any]:
    return {
        "number": number._asdict(),
        "facts": facts,
        "sources": [
            {
                "name": name,
                "answer": lookup.answers.get(name),
                "problem": lookup.problems.get(name),
                "seconds": lookup.seconds.get(name),
                "cached": name in lookup.cached,
            }
            for name in lookup.asked
        ],
        "contact": contact,
        "route": {"why": route.why, "to": route.to, "invalid": route.invalid},
        "text": text,
    }
