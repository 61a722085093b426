"""Whom `introduce` asks, and under which name."""

from __future__ import annotations

from pathlib import Path

import pytest

from parts.table import each
from screenpop import settings
from screenpop.commands import _contacts
from screenpop.config import ConfigError


def load(folder: Path, name: str, routes: str = "") -> settings.Settings:
    conf = folder / "screen_pop.conf"
    conf.write_text(
        f"[xmpp]\njid = pbx@example.org\npassword = secret\n{name}\n[pop]\nto = alice@example.org\n{routes}"
    )
    return settings.load(str(conf))


def test_each_person_of_the_configuration_is_asked_once_and_no_room(tmp_path: Path) -> None:
    routes = "[routes]\n201 = room:sales@rooms.example.org & Alice@example.org/phone\n_2XX = bob@example.net\n"
    routes += "202 = board@rooms.example.org\n[board]\ntype = room\nroom = board@rooms.example.org\npassword = secret\n"
    more = "[support]\ntype = route\nextension = 300\nto = carol@example.org & bob@example.net\n"
    given = load(tmp_path, "", routes + more)
    assert sorted(_contacts.recipients(given)) == ["alice@example.org", "bob@example.net", "carol@example.org"]


def test_the_name(tmp_path: Path) -> None:
    assert load(tmp_path, "").xmpp.name == "Phone calls"
    assert load(tmp_path, "name = Zoë & Söhne").xmpp.name == "Zoë & Söhne"


@each("name", ["x" * 65, "a\u202eb", "a\x07b"])
def test_a_name_that_nobody_could_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="should be a name such as Phone calls, of at most 64 characters"):
        load(tmp_path, f"name = {name}")
