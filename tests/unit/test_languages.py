"""What a pop says in each language, and that gettext's catalogues are whole."""

from __future__ import annotations

import ast
import functools
import re
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.table import each
from parts.world import World, world
from screenpop import config, settings
from screenpop.call import OUTCOMES, Call
from screenpop.phonebook.countries import NAMES
from screenpop.pop import languages
from screenpop.pop.message import DEFAULTS, LONGEST, PLACEHOLDER, text
from screenpop.text import clean

__all__ = ["world"]

PACKAGE = Path(__file__).parents[2] / "lib" / "screenpop"
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/screen_pop.po"))
TEMPLATE = PACKAGE / "locale" / "screen_pop.pot"
CODES = ["en", *(path.parts[-3] for path in CATALOGUES)]
BEGAN = time.mktime((2026, 1, 2, 10, 42, 0, 0, 0, -1))  # local time, as the pop shows it
ACCOUNT = "[xmpp]\njid = pbx@example.org\npassword = secret\n[pop]\nto = alice@example.org\n"


# The catalogues


@functools.cache
def entries(path: Path) -> dict[tuple[str, ...], list[str]]:
    """The translations in a .po file, by the text in the code, or the singular and plural of it; without the header."""
    found: dict[tuple[str, ...], list[str]] = {}
    for block in path.read_text(encoding="utf-8").split("\n\n")[1:]:
        lines = [line for line in block.splitlines() if not line.startswith("#")]
        parts = [line.split(" ", 1) for line in lines]
        keys = tuple(ast.literal_eval(value) for name, value in parts if name.startswith("msgid"))
        names = ["msgid", "msgid_plural", "msgstr[0]", "msgstr[1]"] if len(keys) == 2 else ["msgid", "msgstr"]
        assert [name for name, _ in parts] == names
        assert keys not in found
        found[keys] = [ast.literal_eval(value) for name, value in parts if name.startswith("msgstr")]
    return found


@pytest.fixture(scope="module")
def texts_of_the_code() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = {(name,) for name in NAMES.values()}
    for source in (path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(source)) if "gettext" in source else ():
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("gettext", "ngettext"):
                arguments = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
                found |= {tuple(map(str, arguments))} if arguments else set()
    return found


def test_these_are_the_languages() -> None:
    assert sorted(CODES) == ["de", "en", "es", "fr", "it", "nl", "pt"]


@pytest.mark.parametrize("path", [*CATALOGUES, TEMPLATE], ids=str)
def test_a_catalogue_has_each_text_of_the_code_and_no_other(
    texts_of_the_code: set[tuple[str, ...]], path: Path
) -> None:
    assert set(entries(path)) == texts_of_the_code


@each("path", CATALOGUES)
def test_each_text_is_translated_with_the_same_placeholders(path: Path) -> None:
    assert "fuzzy" not in path.read_text(encoding="utf-8")
    for originals, translations in entries(path).items():
        for translation in translations:
            assert translation and translation == clean(translation, LONGEST)
            assert sorted(PLACEHOLDER.findall(translation)) == sorted(PLACEHOLDER.findall(originals[-1]))
            assert not set("{}") & set(PLACEHOLDER.sub("", translation))


@each("path", CATALOGUES)
def test_the_compiled_catalogue_is_that_of_the_source(path: Path) -> None:
    texts = languages.load(path.parts[-3])
    expected = entries(path)
    for originals, translations in expected.items():
        one, many = originals[0], originals[-1]
        if one == many:
            assert texts.gettext(one) == translations[0]
        else:
            assert [texts.ngettext(one, many, count) for count in (1, 2)] == translations
    (count,) = struct.unpack_from("<I", path.with_suffix(".mo").read_bytes(), 8)
    assert count == len(expected) + 1  # the header


# The configuration


def load(folder: Path, more: str) -> settings.Settings:
    conf = folder / "screen_pop.conf"
    conf.write_text(ACCOUNT + more)
    return settings.load(str(conf))


@each("language", ["xx", "DE", "de_AT", "../locale/de", "LICENSE.unicode", "screen_pop.pot", "German"])
def test_a_language_that_there_is_not_is_named_with_those_that_there_are(tmp_path: Path, language: str) -> None:
    with pytest.raises(config.ConfigError) as error:
        load(tmp_path, f"language = {language}\n")
    (complaint,) = error.value.complaints
    assert complaint.endswith(f":6: language: {language!r} should be one of the languages de, en, es, fr, it, nl, pt")


def test_a_catalogue_that_is_missing_is_a_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "de").mkdir()
    monkeypatch.setattr(languages, "_FOLDER", str(tmp_path))
    with pytest.raises(config.ConfigError, match=":6: language: the texts in de can't be read: "):
        load(tmp_path, "language = de\n")


def test_the_default_is_english(tmp_path: Path) -> None:
    assert load(tmp_path, "").pop.language is load(tmp_path, "language = en\n").pop.language


# What is said


def said(language: str, template: str = "", after: float = 0, age: float | None = None, **known: Any) -> str:
    """Of a call by Ann Example to 201; `after` that many seconds its outcome, an event of the fields known[outcome]."""
    outcome = Call(time=BEGAN + after, **known.pop("outcome")) if "outcome" in known else None
    facts, contact = known.pop("facts", {"number": "+1 555-123-4567"}), known.pop("contact", None)
    call = Call(**{"time": BEGAN, "number": "+15551234567", "name": "Ann Example", "extension": "201", **known})
    template = template or DEFAULTS[(outcome or call).event]
    return text(call, template, age, facts, contact, outcome, languages.load(language))


ANN = "Ann Example, +1 555-123-4567"
CASES: dict[str, dict[str, Any]] = {
    "ringing": {},
    "withheld": {"number": "", "name": "", "withheld": True},
    "unknown": {"number": "", "name": "", "facts": {}},
    "answered by bob": {"outcome": {"event": "answered", "peer": "bob", "talked": 192.0}},
    "answered by bob, duration unknown": {"outcome": {"event": "answered", "peer": "bob"}},
    "answered after an hour": {"outcome": {"event": "answered", "talked": 3723.0}},
    "answered": {"outcome": {"event": "answered"}},
    "missed": {"outcome": {"event": "missed"}, "after": 20},
    "missed, not known when": {"event": "missed"},
    "busy": {"outcome": {"event": "busy"}},
    "voicemail": {"outcome": {"event": "voicemail"}, "after": 80},
}
SAID = {
    "en": [
        f"Call from {ANN} to 201",
        "Call from number withheld to 201",
        "Call from unknown number to 201",
        f"Call from {ANN} to 201: answered by bob, 3 min 12 s",
        f"Call from {ANN} to 201: answered by bob",
        f"Call from {ANN} to 201: answered, 1 h 2 min",
        f"Call from {ANN} to 201: answered",
        f"Missed call from {ANN} to 201, 10:42, rang 20 s",
        f"Missed call from {ANN} to 201, 10:42",
        f"Call from {ANN} to 201, 10:42, busy",
        f"Missed call from {ANN} to 201, 10:42, rang 1 min 20 s, voicemail",
    ],
    "de": [
        f"Anruf von {ANN} an 201",
        "Anruf von Nummer unterdrückt an 201",
        "Anruf von Nummer unbekannt an 201",
        f"Anruf von {ANN} an 201: angenommen von bob, 3 min 12 s",
        f"Anruf von {ANN} an 201: angenommen von bob",
        f"Anruf von {ANN} an 201: angenommen, 1 h 2 min",
        f"Anruf von {ANN} an 201: angenommen",
        f"Verpasster Anruf von {ANN} an 201, 10:42, klingelte 20 s",
        f"Verpasster Anruf von {ANN} an 201, 10:42",
        f"Anruf von {ANN} an 201, 10:42, besetzt",
        f"Verpasster Anruf von {ANN} an 201, 10:42, klingelte 1 min 20 s, Mailbox",
    ],
    "fr": [
        f"Appel de {ANN} vers 201",
        "Appel de numéro masqué vers 201",
        "Appel de numéro inconnu vers 201",
        f"Appel de {ANN} vers 201 : décroché par bob, 3 min 12 s",
        f"Appel de {ANN} vers 201 : décroché par bob",
        f"Appel de {ANN} vers 201 : décroché, 1 h 2 min",
        f"Appel de {ANN} vers 201 : décroché",
        f"Appel manqué de {ANN} vers 201, 10:42, a sonné 20 s",
        f"Appel manqué de {ANN} vers 201, 10:42",
        f"Appel de {ANN} vers 201, 10:42, occupé",
        f"Appel manqué de {ANN} vers 201, 10:42, a sonné 1 min 20 s, messagerie vocale",
    ],
    "es": [
        f"Llamada de {ANN} a 201",
        "Llamada de número oculto a 201",
        "Llamada de número desconocido a 201",
        f"Llamada de {ANN} a 201: contestada por bob, 3 min 12 s",
        f"Llamada de {ANN} a 201: contestada por bob",
        f"Llamada de {ANN} a 201: contestada, 1 h 2 min",
        f"Llamada de {ANN} a 201: contestada",
        f"Llamada perdida de {ANN} a 201, 10:42, sonó 20 s",
        f"Llamada perdida de {ANN} a 201, 10:42",
        f"Llamada de {ANN} a 201, 10:42, ocupado",
        f"Llamada perdida de {ANN} a 201, 10:42, sonó 1 min 20 s, buzón de voz",
    ],
    "it": [
        f"Chiamata da {ANN} a 201",
        "Chiamata da numero nascosto a 201",
        "Chiamata da numero sconosciuto a 201",
        f"Chiamata da {ANN} a 201: risposta da bob, 3 min 12 s",
        f"Chiamata da {ANN} a 201: risposta da bob",
        f"Chiamata da {ANN} a 201: con risposta, 1 h 2 min",
        f"Chiamata da {ANN} a 201: con risposta",
        f"Chiamata persa da {ANN} a 201, 10:42, ha squillato 20 s",
        f"Chiamata persa da {ANN} a 201, 10:42",
        f"Chiamata da {ANN} a 201, 10:42, occupato",
        f"Chiamata persa da {ANN} a 201, 10:42, ha squillato 1 min 20 s, segreteria telefonica",
    ],
    "nl": [
        f"Oproep van {ANN} naar 201",
        "Oproep van afgeschermd nummer naar 201",
        "Oproep van onbekend nummer naar 201",
        f"Oproep van {ANN} naar 201: beantwoord door bob, 3 min 12 s",
        f"Oproep van {ANN} naar 201: beantwoord door bob",
        f"Oproep van {ANN} naar 201: beantwoord, 1 u 2 min",
        f"Oproep van {ANN} naar 201: beantwoord",
        f"Gemiste oproep van {ANN} naar 201, 10:42, ging 20 s over",
        f"Gemiste oproep van {ANN} naar 201, 10:42",
        f"Oproep van {ANN} naar 201, 10:42, in gesprek",
        f"Gemiste oproep van {ANN} naar 201, 10:42, ging 1 min 20 s over, voicemail",
    ],
    "pt": [
        f"Chamada de {ANN} para 201",
        "Chamada de número oculto para 201",
        "Chamada de número desconhecido para 201",
        f"Chamada de {ANN} para 201: atendida por bob, 3 min 12 s",
        f"Chamada de {ANN} para 201: atendida por bob",
        f"Chamada de {ANN} para 201: atendida, 1 h 2 min",
        f"Chamada de {ANN} para 201: atendida",
        f"Chamada perdida de {ANN} para 201, 10:42, tocou 20 s",
        f"Chamada perdida de {ANN} para 201, 10:42",
        f"Chamada de {ANN} para 201, 10:42, ocupado",
        f"Chamada perdida de {ANN} para 201, 10:42, tocou 1 min 20 s, correio de voz",
    ],
}


@each("language", CODES)
def test_each_language_says_it_in_its_own_words(language: str) -> None:
    assert [said(language, **known) for known in CASES.values()] == SAID[language]


AGES = (31, 60, 180, 3600, 7300, 86400, 172800)
AGO = {
    "en": "31 seconds ago|1 minute ago|3 minutes ago|1 hour ago|2 hours ago|1 day ago|2 days ago",
    "de": "vor 31 Sekunden|vor 1 Minute|vor 3 Minuten|vor 1 Stunde|vor 2 Stunden|vor 1 Tag|vor 2 Tagen",
    "fr": "il y a 31 secondes|il y a 1 minute|il y a 3 minutes|"
    "il y a 1 heure|il y a 2 heures|il y a 1 jour|il y a 2 jours",
    "es": "hace 31 segundos|hace 1 minuto|hace 3 minutos|hace 1 hora|hace 2 horas|hace 1 día|hace 2 días",
    "it": "31 secondi fa|1 minuto fa|3 minuti fa|1 ora fa|2 ore fa|1 giorno fa|2 giorni fa",
    "nl": "31 seconden geleden|1 minuut geleden|3 minuten geleden|"
    "1 uur geleden|2 uur geleden|1 dag geleden|2 dagen geleden",
    "pt": "há 31 segundos|há 1 minuto|há 3 minutos|há 1 hora|há 2 horas|há 1 dia|há 2 dias",
}


@each("language", CODES)
def test_each_language_says_how_late_it_is(monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    for age, ago in zip(AGES, AGO[language].split("|")):
        monkeypatch.setattr(time, "time", lambda age=age: BEGAN + age)
        assert said(language, age=age) == f"{SAID[language][0]} (10:42, {ago})"


def test_of_a_template_of_the_administrator_only_the_values_are_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: BEGAN + 180)
    own = "Call: {event} {number}\nbusy {outcome} {country}"
    missed: dict[str, Any] = {"outcome": {"event": "missed"}, "after": 20, "age": 180}
    assert said("de", own, withheld=True, **missed) == (
        "Call: Verpasster Anruf Nummer unterdrückt (10:42, vor 3 Minuten)\nbusy 10:42, klingelte 20 s"
    )
    for template in ("Missed call", "Call", "busy", "Germany", DEFAULTS["missed"].split("\n")[0]):
        assert said("de", template) == said("en", template)  # also one that is a text in the catalogue


def test_a_template_that_is_empty_gives_way_to_the_default_in_the_language() -> None:
    assert said("de", "{company}") == f"Anruf von {ANN} an 201"


def test_the_country_is_in_the_language_but_not_one_of_the_phone_book() -> None:
    facts = {"number": "+49 30 123456", "country": "Germany"}
    assert said("fr", "{country}", facts=facts) == "Allemagne"
    assert said("fr", "{country}", facts=facts, contact={"country": "Austria"}) == "Austria"


@each("language", CODES)
def test_a_name_is_neither_translated_nor_a_placeholder(language: str) -> None:
    for name in ("Call", "busy", "Germany", "{caller}", "{peer}", "{0.__class__}", "%s"):
        outcome = {"event": "answered", "peer": name, "talked": 1.0}
        assert said(language, "{peer}|{name}|{company}", name=name, contact={"company": name, "name": name}) == (
            f"|{name}|{name}"
        )
        assert said(language, outcome=outcome) == said(language, outcome={**outcome, "peer": "bob"}).replace(
            "bob", name
        )


@given(
    language=st.sampled_from(CODES),
    event=st.sampled_from(["", *OUTCOMES]),
    template=st.none() | st.text(st.sampled_from("{}eventcallroum\n \\") | st.characters()),
    name=st.text(),
    number=st.text(),
    peer=st.text(),
    facts=st.dictionaries(st.sampled_from(["number", "country", "place"]), st.text()),
    contact=st.none() | st.dictionaries(st.sampled_from(["name", "country", "url"]), st.text()),
    seconds=st.floats(-1, 1e8),
)
def test_any_text_gives_clean_lines_in_any_language(
    language: str,
    event: str,
    template: str | None,
    name: str,
    number: str,
    peer: str,
    facts: Mapping[str, str],
    contact: Mapping[str, str] | None,
    seconds: float,
) -> None:
    more = {"outcome": {"event": event, "peer": clean(peer), "talked": seconds}} if event else {}
    lines = said(
        language,
        DEFAULTS[event or "ringing"] if template is None else template,
        after=seconds,
        age=seconds,
        name=clean(name),
        number=clean(number),
        facts=facts,
        contact=contact,
        **more,
    ).split("\n")
    assert all(line and line == clean(line, LONGEST + 100) for line in lines)
    assert re.search(r" \(\d\d:\d\d, [^()]+\)$", lines[0])


# The sender


def test_a_pop_and_its_correction_are_in_the_configured_language(world: World) -> None:
    world.write_configuration(f"{ACCOUNT}language = de\n")
    call = world.call("1", extension="201")
    world.at(10, lambda: world.call("1", event="answered", context="screen_pop", peer="bob", follows=call.id))
    world.at(20, lambda: world.write_configuration(f"{ACCOUNT}language = nl\n"))
    world.at(30, lambda: world.call("2", extension="201"))
    world.run(60)
    assert [message.body for message in world.server.taken] == [
        "Anruf von 1 an 201",
        "Anruf von 1 an 201: angenommen von bob",
        "Oproep van 2 naar 201",
    ]
