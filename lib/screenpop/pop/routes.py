"""Who is told of a call, and by which template: the dialplan says it, else the route of the extension, else [pop]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..call import Call
from ..xmpp import jid
from .message import dialled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .options import PopOptions, RouteOptions, RoutesOptions
    from .patterns import Pattern


def recipients(call: Call, configured: Sequence[str], notify: str = "") -> tuple[list[str], dict[str, str]]:
    """The recipients that the dialplan gives (joined by `&`, as in `Dial()`), else the configured ones; and in both
    cases those of the phone book's field `notify`.

    Returns the recipients, each once, and a dictionary of the texts that are not JIDs, each with the reason.
    """
    given = _texts(call.to)
    valid = dict.fromkeys(() if given else configured)
    invalid = {}
    for text in (*given, *_texts(notify)):
        try:
            valid[jid.recipient(text)] = None
        except ValueError as error:
            invalid[text] = str(error)
    return [to for to in valid if f"{jid.ROOM}{to}" not in valid], invalid


def names_recipients(call: Call) -> bool:
    """Whether it has its own."""
    return bool(_texts(call.to))


def _texts(joined: str) -> list[str]:
    return [text for text in (part.strip() for part in joined.split("&")) if text]


def permitted(to: str, configured: Iterable[str]) -> tuple[str, str]:
    """`to`: recipients joined by `&`. Returns those that are configured, with any resource, and a text about the
    others, empty if there are none.
    """
    accounts = {jid.folded(jid.address(one)) for one in configured}
    told: list[str] = []
    others: list[str] = []
    for text in _texts(to):
        try:
            is_configured = jid.folded(jid.address(jid.recipient(text))) in accounts
        except ValueError:
            is_configured = False
        (told if is_configured else others).append(text)
    return "&".join(told), f"not told, as they are not configured: {', '.join(others)}" if others else ""


class Route:
    """`why`: which route applies, as one sentence. `to`: the recipients, each once. `invalid`: what is given as a
    recipient and isn't one, with the reasons.
    """

    def __init__(self, why: str, to: list[str], invalid: dict[str, str]) -> None:
        self.why, self.to, self.invalid = why, to, invalid


class _Entry:
    """A pattern of [routes], or of a section of type route (`options`)."""

    def __init__(
        self, pattern: Pattern, to: Sequence[str], section: str, line: int, options: RouteOptions | None = None
    ) -> None:
        self.pattern, self.to, self.section, self.line, self.options = pattern, to, section, line, options


class Routes:
    """All routes of the configuration. `complaints`: of routes that can never apply, each with its line.

    `lines`: those in which the options of each section stand.
    """

    def __init__(
        self,
        pop: PopOptions,
        short: RoutesOptions,
        sections: Mapping[str, RouteOptions],
        lines: Mapping[str, Mapping[str, int]],
    ) -> None:
        self._pop = pop
        found = [_Entry(pattern, to, "routes", lines["routes"][pattern.text]) for pattern, to in short.routes()]
        for name, options in sections.items():
            line = lines[name]["extension"]
            found += [_Entry(pattern, options.to, name, line, options) for pattern in options.extension]
        self._entries = sorted(found, key=lambda entry: (entry.pattern.rank, entry.line))
        self._patterns = [entry for entry in self._entries if entry.pattern.is_pattern]
        self._extensions = {
            entry.pattern.text.replace("-", ""): entry for entry in self._entries if not entry.pattern.is_pattern
        }
        self.complaints = sorted(self._hidden())

    def __len__(self) -> int:
        return len(self._entries)

    def _hidden(self) -> Iterator[tuple[int, str]]:
        """Routes that one other route hides. Those that only several others together hide are not found."""
        seen: dict[object, _Entry] = {}
        for place, entry in enumerate(self._entries):
            first: _Entry | None = seen.setdefault(entry.pattern.rank, entry)
            if first is not entry:
                reason = "is the same"
            elif entry.pattern.is_pattern:  # nothing else ranks before an extension
                first = next((other for other in self._entries[:place] if other.pattern.hides(entry.pattern)), None)
                reason = "goes before it and matches all that it matches"
            if first and first is not entry:
                text = f"{entry.pattern.text} can never apply: {first.pattern.text} in line {first.line} {reason}"
                yield entry.line, text

    def route(self, call: Call, contact: Mapping[str, str] | None = None) -> Route:
        """`contact`: what the phone book has of the caller; its field `notify` adds recipients."""
        entry = self._match(call) if self._entries else None
        if entry:
            why = f"[{entry.section}] {entry.pattern.text}"
        elif self._entries:
            why = f"[pop] to: no route matches {' or '.join(_candidates(call)) or 'a call without an extension'}"
        else:
            why = "[pop] to"
        if names_recipients(call):
            why = "given by the dialplan"
        return Route(why, *recipients(call, entry.to if entry else self._pop.to, (contact or {}).get("notify", "")))

    def template(self, call: Call, event: str) -> str | None:
        """Of a message about this event: of `message` for ringing, of `message_answered`, …: that of its route, or else
        that of [pop]; None: the built-in one.
        """
        entry = self._match(call) if self._entries else None
        sections = [entry.options, self._pop] if entry and entry.options else [self._pop]
        name = "message" if event == "ringing" else f"message_{event}"
        found = (getattr(section, name, None) for section in sections)
        return next((template for template in found if template), None)

    def recipients(self) -> list[str]:
        """All that the configuration names, each once."""
        return list(dict.fromkeys([*self._pop.to, *(to for entry in self._entries for to in entry.to)]))

    def _match(self, call: Call) -> _Entry | None:
        """Extensions rank before patterns, and the patterns are in the order of their ranks."""
        for extension in _candidates(call):
            found = self._extensions.get(extension.replace("-", ""))
            found = found or next((entry for entry in self._patterns if entry.pattern.matches(extension)), None)
            if found:
                return found
        return None


def _candidates(call: Call) -> list[str]:
    """What a route may match: the extension, then the number that was dialled."""
    return [text for text in dict.fromkeys((dialled(call), call.dnid)) if text]
