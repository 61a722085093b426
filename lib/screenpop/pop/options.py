"""The section [pop]: recipients, texts and times; and the routes: recipients and texts for an extension."""

from __future__ import annotations

from ..config import Option, Required, Section, positive_number, seconds, yes_or_no
from ..phonebook.countries import NAMES
from ..xmpp import jid
from . import languages
from .message import DEFAULT, DEFAULTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .languages import Texts
    from .patterns import Pattern


def _recipients(text: str) -> tuple[str, ...]:
    return tuple(jid.recipient(part.strip()) for part in text.split("&"))


def _template(text: str) -> str:
    r"""With lines in place of `\n`. Any placeholder is right, as a source of the phone book may have any field."""
    lines = text.replace(r"\n", "\n").split("\n")
    if any("{url}" in line.lower() and line.strip().lower() != "{url}" for line in lines):
        raise ValueError(r"{url} needs a line of its own: put \n before it, and behind it if something follows")
    return "\n".join(lines)


def _country(text: str) -> str:
    if text not in NAMES:
        raise ValueError(f"{text!r} should be a country's two capital letters, such as US or GB")
    return text


def _limit(text: str) -> int:
    """0: no limit."""
    return 0 if text in ("no", "0") else positive_number(text)


def _events(text: str) -> tuple[str, ...]:
    events = tuple(part.strip() for part in text.split(","))
    if not set(events) <= set(DEFAULTS):
        raise ValueError(f"{text!r} should be some of {', '.join(DEFAULTS)}")
    return events


def _patterns(text: str) -> tuple[Pattern, ...]:
    from . import patterns  # here: most installations have no routes

    return tuple(map(patterns.Pattern, patterns.split(text)))


class RecipientsAndTemplates(Section):
    """`message_…`: a template for a later event; None: the built-in text."""

    to = Required(_recipients, "a recipient, such as alice@example.org")
    message: Option[str | None] = Option(_template, None)
    message_answered: Option[str | None] = Option(_template, None)
    message_missed: Option[str | None] = Option(_template, None)
    message_busy: Option[str | None] = Option(_template, None)
    message_voicemail: Option[str | None] = Option(_template, None)


class RouteOptions(RecipientsAndTemplates):
    """A section of `type = route`. Without a template, that of [pop] is used."""

    extension = Required(_patterns, "an extension or a pattern, or several separated by commas, such as 201, _3XX")


class RoutesOptions(Section):
    """The section [routes]: each of its options is `extension = recipients`."""

    is_open = True

    @classmethod
    def read_name(cls, text: str) -> str:
        from .patterns import Pattern

        return Pattern(text).text

    @classmethod
    def read_other(cls, text: str) -> tuple[str, ...]:
        return _recipients(text)

    def routes(self) -> list[tuple[Pattern, tuple[str, ...]]]:
        if not self._values:
            return []
        from .patterns import Pattern

        return [(Pattern(name), to) for name, to in self._values.items()]


class PopOptions(RecipientsAndTemplates):
    message: Option[str] = Option(_template, DEFAULT)
    language: Option[Texts] = Option(languages.load, languages.ENGLISH)
    events = Option(_events, tuple(DEFAULTS))
    corrections = Option(yes_or_no, True)
    flood_limit = Option(_limit, 10)
    country = Option(_country, "US")
    places = Option(yes_or_no, False)
    late_after = Option(seconds, 30.0)
    give_up_after = Option(seconds, 86400.0)
    linger = Option(seconds, 300.0)
    remember = Option(seconds, 86400.0)
    lookup_wait = Option(seconds, 1.0)
