"""Who is told of a call."""

from __future__ import annotations

import pytest

from screenpop.call import Call
from screenpop.pop.routes import recipients

CONFIGURED = ("alice@example.org", "bob@example.org")


@pytest.mark.parametrize("to", ["", "&", " & & "])
def test_a_call_without_recipients_of_its_own_goes_to_the_configured_ones(to: str) -> None:
    """`${A}&${B}` in the dialplan is `&` when both are empty."""
    assert recipients(Call(to=to), CONFIGURED) == (list(CONFIGURED), {})


@pytest.mark.parametrize(
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


def test_a_prefix_says_that_a_recipient_is_a_room() -> None:
    to = "room:Sales@conference.example.org&carol@example.org"
    assert recipients(Call(to=to), CONFIGURED) == (["room:sales@conference.example.org", "carol@example.org"], {})
