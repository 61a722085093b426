"""Whom `introduce` asks, and under which name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screenpop import settings
from screenpop.commands import _contacts
from screenpop.config import ConfigError


def test_each_person_is_asked_once_and_no_room() -> None:
    to = ("Alice@example.org/phone", "room:sales@rooms.example.org", "alice@example.org", "bob@example.net")
    given: Any = SimpleNamespace(pop=SimpleNamespace(to=to))
    assert _contacts.recipients(given) == ["alice@example.org", "bob@example.net"]


def load(folder: Path, name: str) -> settings.Settings:
    conf = folder / "screen_pop.conf"
    conf.write_text(f"[xmpp]\njid = pbx@example.org\npassword = secret\n{name}\n[pop]\nto = alice@example.org\n")
    return settings.load(str(conf))


def test_the_name(tmp_path: Path) -> None:
    assert load(tmp_path, "").xmpp.name == "Phone calls"
    assert load(tmp_path, "name = Zoë & Söhne").xmpp.name == "Zoë & Söhne"


@pytest.mark.parametrize("name", ["x" * 65, "a\u202eb", "a\x07b"])
def test_a_name_that_nobody_could_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="should be a name such as Phone calls, of at most 64 characters"):
        load(tmp_path, f"name = {name}")
