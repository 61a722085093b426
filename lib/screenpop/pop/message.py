"""The text of a pop."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from functools import lru_cache

from ..call import EVENTS, OUTCOMES, Call
from ..text import clean
from .languages import ENGLISH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .languages import Texts

_MORE = "\n{company}\n{place}\n{country}\n{url}"


def _default(event: str, texts: Texts) -> str:
    """The template of an event, if the configuration has none."""
    if event == "answered":
        return texts.gettext("Call from {caller} to {extension}: {outcome}") + _MORE
    if event in ("missed", "voicemail"):
        return texts.gettext("Missed call from {caller} to {extension}, {outcome}") + _MORE
    if event == "busy":
        return texts.gettext("Call from {caller} to {extension}, {outcome}") + _MORE
    return texts.gettext("Call from {caller} to {extension}") + _MORE


DEFAULTS = {event: _default(event, ENGLISH) for event in (EVENTS[0], *OUTCOMES)}
DEFAULT = DEFAULTS[EVENTS[0]]
PLACEHOLDER = re.compile(r"\{(\w+)\}")
LONGEST = 2000  # characters of a text
LONGEST_FIELD = 500
_LINK = re.compile(r"https?://[^\s/?#]\S*")
_PLAIN = re.compile(r"[\w.+*#@:;=~%!$&'/-]+|[0-9+*#\s().\-/\u2010-\u2015]+")  # SIP user names, numbers
_QUOTES = str.maketrans(dict.fromkeys('"\u201c\u201d\u201e\u201f\u2033\u2036\u3003\uff02\xab\xbb', "'"))
_BETWEEN_DIGITS = str.maketrans("", "", "+ -./()")
# Extensions that nobody dialled: where the call started, ended, or went wrong (pbx.c)
_SPECIAL = ("s", "h", "i", "t", "T", "o", "a", "e")


def text(
    call: Call,
    template: str,
    age: float | None = None,
    facts: Mapping[str, str] | None = None,
    contact: Mapping[str, str] | None = None,
    outcome: Call | None = None,
    texts: Texts = ENGLISH,
) -> str:
    """The text of a pop; `age`: seconds since the call, if it should say so. `outcome`: the event that ended the call.

    `facts`: what the number itself tells: `number` for reading, `country`, `place`. `contact`: the fields that the
    phone book has of the caller, empty for a stranger; None without a phone book. Each line of the template is filled
    in one pass: a caller whose name is `{number}` stays that. A line all of whose placeholders are empty is left out.
    `texts`: the language. Of a template, only the values of the placeholders are in it, unless it is the default.
    """
    last = outcome or call
    if template == DEFAULTS.get(last.event, DEFAULT):
        template = _default(last.event, texts)
    if call.withheld:
        facts = contact = None
    values = _values(call, facts or {}, contact, last, texts)
    lines = [line for line in (_fill(line, values) for line in template.split("\n")) if line]
    while len("\n".join(lines)) > LONGEST:
        lines.pop()
    if not lines or lines == [values["url"]]:  # clients don't show an empty message, and take a mere link for a file
        return text(call, DEFAULTS.get(last.event, DEFAULT), age, facts, contact, outcome, texts)
    if age is not None:
        first = 1 if lines[0] == values["url"] else 0  # a link stays alone in its line
        lines[first] += f" ({_clock(time.time() - age)}, {ago(age, texts)})"
    return "\n".join(lines)


def summary(count: int, seconds: float, texts: Texts = ENGLISH) -> str:
    """The template of a message about calls that were only counted (flood.py), in this language."""
    template = texts.ngettext(
        "{caller} called {count} more time in {duration}", "{caller} called {count} more times in {duration}", count
    )
    minutes = max(1, math.ceil(seconds / 60))
    duration = texts.ngettext("{count} minute", "{count} minutes", minutes).format(count=minutes)
    return template.replace("{count}", str(count)).replace("{duration}", duration)


def dialled(call: Call) -> str:
    """The extension, or the number that was dialled where nobody dialled the extension; empty if neither is known."""
    nobody_dialled = call.extension in _SPECIAL or call.context == "screen_pop"  # the context of the hang-up handler
    return (call.dnid or call.extension) if nobody_dialled else call.extension


def _values(
    call: Call, facts: Mapping[str, str], contact: Mapping[str, str] | None, last: Call, texts: Texts
) -> dict[str, str]:
    """What each placeholder stands for: clean text in one line."""
    known = contact or {}
    number = facts.get("number") or _number(call.number) or texts.gettext("unknown number")
    if call.withheld:
        number = texts.gettext("number withheld")
    country = facts.get("country", "")
    values = {
        **facts,
        "country": texts.gettext(country) if country else "",
        **known,
        "event": texts.gettext("Missed call") if last.event in ("missed", "voicemail") else texts.gettext("Call"),
        "number": number,
        "name": known.get("name") or _as_said(clean(call.name), call.number, contact),
        "extension": dialled(call) or "?",
        "dnid": call.dnid,
        "time": _clock(call.time),
        "peer": last.peer,
        "duration": _duration(last.talked, texts) if last.talked >= 0 else "",
        "rang": _rang(call, last, texts),
    }
    values["outcome"] = _outcome(last.event, values, texts)
    values = {placeholder: clean(value, LONGEST_FIELD) for placeholder, value in values.items()}
    values["caller"] = ", ".join(filter(None, (values["name"], values["number"])))
    values["url"] = _link(known.get("url", ""))
    return values


def _rang(call: Call, last: Call, texts: Texts) -> str:
    """For how long it has rung, if nobody has answered."""
    if last is call or last.event not in ("missed", "voicemail"):
        return ""
    return _duration(call.seconds_until(last), texts)


def _outcome(event: str, values: Mapping[str, str], texts: Texts) -> str:
    """What became of the call, in a few words that need no other message."""
    if event == "answered":
        peer, duration = values["peer"], values["duration"]
        if peer and duration:
            answered = texts.gettext("answered by {peer}, {duration}")
        elif peer:
            answered = texts.gettext("answered by {peer}")
        elif duration:
            answered = texts.gettext("answered, {duration}")
        else:
            answered = texts.gettext("answered")
        return answered.format(peer=peer, duration=duration)
    rang = texts.gettext("rang {duration}").format(duration=values["rang"]) if values["rang"] else ""
    end = {"busy": texts.gettext("busy"), "voicemail": texts.gettext("voicemail")}.get(event, "")
    return ", ".join(filter(None, (values["time"], rang, end)))


def _link(url: str) -> str:
    """The link, or empty if it is none or is too long: a link that is cut would lead elsewhere."""
    return url if url == clean(url, LONGEST_FIELD) and _LINK.fullmatch(url) else ""


def _as_said(name: str, number: str, contact: Mapping[str, str] | None) -> str:
    """A name that the caller has chosen: it must look neither like one of the phone book, nor like a number. FreeSWITCH
    and some trunks repeat the number in place of a name; that is no name.
    """
    if name.translate(_BETWEEN_DIGITS) == number.translate(_BETWEEN_DIGITS):
        return ""
    if contact is None and not any(character.isdigit() for character in name):
        return name
    return _quoted(name)


def _number(text: str) -> str:
    """A SIP user name may be "Alice Example, +1 555-123-4567" (RFC 3261 section 25.1, escaped)."""
    return text if _PLAIN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    """With no other mark in it that could be read as the end."""
    return f'"{text.translate(_QUOTES)}"' if text else ""


def _fill(line: str, values: Mapping[str, str]) -> str:
    between, names = _split(line)
    filled = [values.get(name, "") for name in names]
    if names and not any(filled):
        return ""
    return clean("".join(part for pair in zip(between, (*filled, "")) for part in pair), LONGEST)


@lru_cache(maxsize=200)
def _split(line: str) -> tuple[list[str], list[str]]:
    """What is between the placeholders of a line of a template, and the names of these."""
    parts = PLACEHOLDER.split(line)
    return parts[::2], [name.lower() for name in parts[1::2]]


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M", time.localtime(seconds))


def _duration(seconds: float, texts: Texts) -> str:
    """In its two largest units."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return texts.gettext("{hours} h {minutes} min").format(hours=hours, minutes=minutes)
    if minutes:
        return texts.gettext("{minutes} min {seconds} s").format(minutes=minutes, seconds=rest)
    return texts.gettext("{seconds} s").format(seconds=rest)


def ago(seconds: float, texts: Texts = ENGLISH) -> str:
    """When it was, in the largest unit."""
    count = int(seconds)
    if count < 60:
        return texts.ngettext("{count} second ago", "{count} seconds ago", count).format(count=count)
    count //= 60
    if count < 60:
        return texts.ngettext("{count} minute ago", "{count} minutes ago", count).format(count=count)
    count //= 60
    if count < 24:
        return texts.ngettext("{count} hour ago", "{count} hours ago", count).format(count=count)
    count //= 24
    return texts.ngettext("{count} day ago", "{count} days ago", count).format(count=count)
