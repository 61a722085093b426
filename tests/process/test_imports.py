"""What an import brings with it, seen in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from screenpop.phonebook.types import Types


def python(code: str, *arguments: str) -> str:
    """What the code prints."""
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path}\n{code}", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize("kind", ["", "csv", "http", "ldap", "sql", "vcard"])
def test_nothing_is_imported_but_the_types_that_the_configuration_has(kind: str, tmp_path: Path) -> None:
    """Of a source, no library."""
    conf = tmp_path / "screen_pop.conf"
    conf.write_text(f"[mine]\ntype = {kind}\n" if kind else "")
    code = (
        "from screenpop import config, settings\n"
        "try: config.read(sys.argv[1], {}, settings.Types(), {})\n"
        "except config.ConfigError: pass\n"
        "print(*sys.modules)"
    )
    imported = set(python(code, str(conf)).split())
    assert {name for name in Types() if f"screenpop.phonebook.{name}" in imported} == ({kind} if kind else set())
    assert not imported & {"urllib3", "ldap3", "sqlalchemy", "vobject", "phonenumbers", "sqlite3"}


def test_the_library_of_a_source_is_imported_when_it_is_needed() -> None:
    assert python("import screenpop.phonebook.ldap; print('ldap3' in sys.modules)") == "False\n"


def test_the_places_are_imported_for_a_place_only() -> None:
    code = (
        "from screenpop.phonebook import numbers\n"
        "number = numbers.parse('+4930123456', 'US')\n"
        "print(numbers.facts(number, 'US')['country'])\n"
        "print({'phonenumbers.geocoder', 'phonenumbers.geodata'} & set(sys.modules))\n"
        "print(numbers.place(number))\n"
    )
    assert python(code) == "Germany\nset()\nBerlin\n"


def test_english_texts_need_no_gettext() -> None:
    code = (
        "from screenpop.pop import languages\n"
        "from screenpop.sender import loop\n"
        "languages.load('en')\n"
        "print('gettext' in sys.modules)\n"
        "print(languages.load('de').gettext('busy'))\n"
    )
    assert python(code) == "False\nbesetzt\n"
