"""Who is told of a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from parts.table import each
from screenpop import settings
from screenpop.call import Call
from screenpop.config import ConfigError
from screenpop.pop.message import DEFAULT
from screenpop.pop.routes import Routes, recipients

CONFIGURED = ("alice@example.org", "bob@example.org")


@each("to", ["", "&", " & & "])
def test_a_call_without_recipients_of_its_own_goes_to_the_configured_ones(to: str) -> None:
    """`${A}&${B}` in the dialplan is `&` when both are empty."""
    assert recipients(Call(to=to), CONFIGURED) == (list(CONFIGURED), {})


@each(
    ("to", "told"),
    [
        ("carol@example.org", ["carol@example.org"]),
        ("dave@example.org&carol@example.org", ["dave@example.org", "carol@example.org"]),
        (" carol@example.org & dave@example.org/desk 1&", ["carol@example.org", "dave@example.org/desk 1"]),
        ("carol@example.org&Carol@EXAMPLE.org", ["carol@example.org"]),
    ],
)
def test_the_dialplan_can_name_others_each_of_whom_is_told_once(to: str, told: list[str]) -> None:
    assert recipients(Call(to=to), CONFIGURED) == (told, {})


def test_what_is_no_address_comes_with_the_reason_and_keeps_nobody_else_from_being_told() -> None:
    told, wrong = recipients(Call(to="@example.org&carol@example.org&Dave Example"), CONFIGURED)
    assert told == ["carol@example.org"]
    assert list(wrong) == ["@example.org", "Dave Example"]
    assert "nothing before the @" in wrong["@example.org"]


def test_a_recipient_that_is_said_to_be_a_room_keeps_its_prefix() -> None:
    told, wrong = recipients(Call(to="room: Sales@Conference.Example.org&room:&Room:a@example.org"), CONFIGURED)
    assert told == ["room:sales@conference.example.org"]
    assert list(wrong) == ["room:", "Room:a@example.org"]


def test_a_room_is_told_once_with_and_without_its_prefix() -> None:
    told, _ = recipients(Call(to="r@rooms.example.org&alice@example.org&room:r@rooms.example.org"), CONFIGURED)
    assert told == ["alice@example.org", "room:r@rooms.example.org"]


def test_the_phone_book_adds_recipients() -> None:
    notify = "carol@example.org & bob@example.org&room:r@example.org & nobody at all"
    told, wrong = recipients(Call(), CONFIGURED, notify)
    assert told == [*CONFIGURED, "carol@example.org", "room:r@example.org"]
    assert list(wrong) == ["nobody at all"]
    assert recipients(Call(to="dave@example.org"), CONFIGURED, notify)[0][:2] == [
        "dave@example.org",
        "carol@example.org",
    ]


# Routes

ACCOUNT = """\
[xmpp]
jid = pbx@example.org
password = secret
[pop]
to = alice@example.org
"""
START = ACCOUNT.count("\n") + 1
ROUTES = """\
[Routes]
_. = anybody@example.org
_2XX => sales@example.org & room:sales@conference.example.org
201 = bob@example.org
_2[1-3]X = west@example.org
_+49. = germany@example.org
Alice = alice@example.net
"""
SECTION = """\
[support]
type = route
Extension = 300, _3[1,5]X
to = support@example.org
message = Support: {caller}
message_missed = Missed: {caller}
"""


def routes(folder: Path, text: str) -> Routes:
    path = folder / "screen_pop.conf"
    path.write_text(ACCOUNT + text)
    return settings.load(str(path)).routes


@each(
    ("extension", "told", "why"),
    [
        ("201", ["bob@example.org"], "[routes] 201"),
        ("2-01", ["bob@example.org"], "[routes] 201"),
        ("202", ["sales@example.org", "room:sales@conference.example.org"], "[routes] _2XX"),
        ("212", ["west@example.org"], "[routes] _2[1-3]X"),
        ("+4930123", ["germany@example.org"], "[routes] _+49."),
        ("Alice", ["alice@example.net"], "[routes] Alice"),
        ("alice", ["anybody@example.org"], "[routes] _."),
        ("3,0", ["support@example.org"], "[support] _3[1,5]X"),
        ("320", ["anybody@example.org"], "[routes] _."),
        ("350", ["support@example.org"], "[support] _3[1,5]X"),
        ("300", ["support@example.org"], "[support] 300"),
    ],
)
def test_the_most_specific_route_applies(tmp_path: Path, extension: str, told: list[str], why: str) -> None:
    route = routes(tmp_path, ROUTES + SECTION).route(Call(extension=extension))
    assert (route.to, route.invalid, route.why) == (told, {}, why)


@each(
    ("call", "why"),
    [
        (Call(extension="201", dnid="202"), "[routes] 201"),
        (Call(extension="s", dnid="201"), "[routes] 201"),
        (Call(extension="h", dnid="202", context="incoming"), "[routes] _2XX"),
        (Call(extension="ended", dnid="201", context="screen_pop"), "[routes] 201"),
        (Call(extension="ended", dnid="201"), "[routes] 201"),  # no route matches it, and then the number does
        (Call(extension="room-service", dnid="+49301"), "[routes] _+49."),
        (Call(extension="s"), "[routes] s"),
        (Call(extension="999", dnid="998"), "[pop] to: no route matches 999 or 998"),
        (Call(extension="999", dnid="999"), "[pop] to: no route matches 999"),
        (Call(), "[pop] to: no route matches a call without an extension"),
    ],
)
def test_the_extension_is_matched_and_then_the_number_that_was_dialled(tmp_path: Path, call: Call, why: str) -> None:
    text = "".join(line for line in ROUTES.splitlines(keepends=True) if not line.startswith("_."))
    route = routes(tmp_path, f"{text}s = carol@example.org\n").route(call)
    assert route.why == why
    assert (route.to == ["alice@example.org"]) == why.startswith("[pop]")


def test_the_extension_of_the_hang_up_handler_is_not_the_one_that_was_dialled(tmp_path: Path) -> None:
    made = routes(tmp_path, ROUTES)  # _. would match "ended"
    assert made.route(Call(extension="ended", dnid="201", context="screen_pop")).why == "[routes] 201"
    assert made.route(Call(extension="ended", dnid="201", context="incoming")).why == "[routes] _."


def test_without_routes_everybody_in_pop_is_told(tmp_path: Path) -> None:
    made, call = routes(tmp_path, ""), Call(extension="201")
    assert (made.route(call).to, made.route(call).why) == (["alice@example.org"], "[pop] to")
    assert made.template(call, "ringing") == DEFAULT


def test_the_dialplan_goes_before_a_route_whose_templates_stay(tmp_path: Path) -> None:
    made = routes(tmp_path, ROUTES + SECTION)
    call = Call(extension="300", to="dave@example.org&Dave D")
    route = made.route(call, {"notify": "carol@example.org"})
    assert (route.to, list(route.invalid)) == (["dave@example.org", "carol@example.org"], ["Dave D"])
    assert route.why == "given by the dialplan" and made.template(call, "ringing") == "Support: {caller}"
    assert made.route(Call(extension="300", to=" & ")).why == "[support] 300"
    assert made.route(Call(extension="201"), {"notify": "carol@example.org"}).to == [
        "bob@example.org",
        "carol@example.org",
    ]


def test_a_template_is_that_of_the_route_or_else_that_of_pop_or_else_the_built_in_one(tmp_path: Path) -> None:
    made = routes(tmp_path, "message_missed = {name}\nmessage_busy = Busy\n" + ROUTES + SECTION)

    def templates(extension: str) -> list[str | None]:
        events = ("ringing", "answered", "missed", "busy", "voicemail", "ended")
        return [made.template(Call(extension=extension), event) for event in events]

    assert templates("300") == ["Support: {caller}", None, "Missed: {caller}", "Busy", None, None]
    assert templates("201") == [DEFAULT, None, "{name}", "Busy", None, None]


def test_a_section_of_a_route_is_no_source_of_the_phone_book(tmp_path: Path) -> None:
    path = tmp_path / "screen_pop.conf"
    path.write_text(f"{ACCOUNT}{SECTION}[crm]\ntype = csv\nfile = /a\nnumber = n\nname = name\n")
    given = settings.load(str(path))
    assert list(given.sources) == ["crm"] and len(given.routes) == 2


@each(
    ("text", "line", "wrong"),
    [
        ("[routes]\n_[2- = a@b\n", 1, "'_[2-' is not a pattern: the [ has no ]"),
        ("[routes]\n\n_2[9-1] = a@b\n", 2, "'_2[9-1]' is not a pattern: 9-1 should be 1-9"),
        ("[routes]\n_2[]X = a@b\n", 1, "nothing can match []"),
        ("[routes]\n_2 XX = a@b\n", 1, "'_2 XX' is not an extension: it has a space in it"),
        ("[routes]\n = a@b\n", 1, "'' is not an extension"),
        ("[routes]\n_2XX\n", 1, "neither a [section] nor a setting such as name = value"),
        ("[routes]\n_2XX =\n", 1, "_2XX has no value: add one, or remove the line"),
        ("[routes]\n_2XX = sales\nto = Bob B\n", 2, "to: 'Bob B' is not a JID, which looks like alice@example.org"),
        ("[routes]\n_2XX = a@b & room:\n", 1, "_2XX: '' is not a JID"),
        ("[routes]\n_2XX = a@b\n_2XX = c@d\n", 2, "_2XX is set twice; the first time in line 7"),
        ("[routes]\n_2XX = a@b\n_2[0-9]x = c@d\n", 2, "_2[0-9]x can never apply: _2XX in line 7 is the same"),
        ("[routes]\n201 = a@b\n2-01 = c@d\n", 2, "2-01 can never apply: 201 in line 7 is the same"),
        (
            "[routes]\n_2XX = a@b\n_2XX! = c@d\n",
            1,
            "_2XX can never apply: _2XX! in line 8 goes before it and matches all that it matches",
        ),
        (
            "[one]\ntype = route\nto = a@b\nextension = 201, _3X\n[routes]\n_3x = c@d\n",
            5,
            "_3x can never apply: _3X in line 9 is the same",
        ),
        ("[one]\ntype = route\nto = a@b\nextension = 201,\n", 3, "extension: '' is not an extension"),
        ("[one]\ntype = route\nto = a@b\nextension = 201,_2.2\n", 3, "extension: '_2.2' is not a pattern"),
        ("[one]\ntype = route\nextension = 1\n", 0, "[one] to is missing; it should be a recipient"),
        ("[one]\ntype = route\nto = a@b\n", 0, "[one] extension is missing; it should be an extension or a pattern"),
        ("[one]\ntype = route\nto = a@b\nextension = 1\nlinger = 1\n", 4, "[one] has no option 'linger'"),
        ("message_missed = {name} {url}\n", 0, "{url} needs a line of its own"),
        ("_2.X = a@b\n", 0, "neither a [section] nor a setting such as name = value"),
    ],
)
def test_what_is_wrong_with_a_route_is_told_with_its_line(tmp_path: Path, text: str, line: int, wrong: str) -> None:
    with pytest.raises(ConfigError) as error:
        routes(tmp_path, text)
    (complaint,) = error.value.complaints
    assert wrong in complaint
    if "is missing" not in wrong:
        assert complaint.startswith(f"{tmp_path}/screen_pop.conf:{START + line}: ")
