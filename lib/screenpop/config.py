"""The configuration file: sections and `name = value`, with `;` comments as in Asterisk's own files.

It is checked whole at once; each complaint names the file, the line, and what would be right.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .pop import message
from .xmpp import jid, resolver


def path_from_environment() -> Path:
    """`$SCREEN_POP_CONF`, or `screen_pop.conf` in Asterisk's configuration directory."""
    folder = os.environ.get("AST_CONFIG_DIR") or "/etc/asterisk"
    return Path(os.environ.get("SCREEN_POP_CONF") or f"{folder}/screen_pop.conf").absolute()


LATE_AFTER, GIVE_UP_AFTER = 30.0, 86400.0  # seconds
CALLS, MEGABYTES = 10_000, 64


class ConfigError(Exception):
    """What is wrong with the configuration: `complaints`, a line each."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = complaints


@dataclass(frozen=True)
class Config:
    """All of the configuration, the defaults filled in. Times in seconds."""

    path: Path
    jid: jid.JID
    password: str = field(repr=False)
    password_file: Path | None
    servers: tuple[tuple[str, int], ...]  # host and port; empty: the domain's SRV records
    ca_file: Path | None
    to: tuple[str, ...]
    message: str
    country: str
    late_after: float
    give_up_after: float
    linger: float
    calls: int
    megabytes: int
    log_file: Path
    read_from: tuple[tuple[str, float, int], ...]  # the files, with the time and size that they had

    def is_stale(self) -> bool:
        """Whether a file that it was read from has changed since."""
        return _signature(Path(name) for name, _, _ in self.read_from) != self.read_from


def _signature(paths: Any) -> tuple[tuple[str, float, int], ...]:
    found = []
    for path in paths:
        try:
            state = path.stat()
            found.append((str(path), state.st_mtime, state.st_size))
        except OSError:
            found.append((str(path), 0.0, -1))
    return tuple(found)


# The values, each by a function that takes the text and raises ValueError with what would be right.


def _account(text: str) -> jid.JID:
    address = jid.parse(text)
    if not address.local or address.resource:
        raise ValueError("should be an account such as pbx@example.org, with nothing behind the domain")
    return address


def _recipients(text: str) -> tuple[str, ...]:
    return tuple(str(jid.parse(part.strip())) for part in text.split("&"))


def _servers(text: str) -> tuple[tuple[str, int], ...]:
    servers = []
    for part in text.split():
        try:
            name, port = resolver.name_and_port(part)
        except ValueError:
            port = None
        if not port:
            raise ValueError(f"{part!r} should be host:port, such as xmpp.example.org:5222 or [2001:db8::1]:5222")
        servers.append((name, port))
    return tuple(servers)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
        raise ValueError(f"{text!r} should be a number of seconds, such as 30")
    return float(text)


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ValueError(f"{text!r} should be a number, such as 1000")
    return int(text)


def _country(text: str) -> str:
    if not re.fullmatch("[A-Z]{2}", text):
        raise ValueError(f"{text!r} should be two capital letters, such as US")
    return text


def _path(text: str) -> Path:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} should be a whole path, such as /etc/asterisk/{text}")
    return Path(text)


def _template(text: str) -> str:
    unknown = set(message.PLACEHOLDER.findall(text)) - set(message.PLACEHOLDERS)
    if unknown:
        known = " ".join(f"{{{name}}}" for name in message.PLACEHOLDERS)
        raise ValueError(f"{{{min(unknown)}}} is not known; there are {known}")
    return text


_OPTIONS: dict[tuple[str, str], tuple[Callable[[str], Any], Any]] = {
    # section, option: (how to read it, its default)
    ("xmpp", "jid"): (_account, None),
    ("xmpp", "password"): (str, ""),
    ("xmpp", "password_file"): (_path, None),
    ("xmpp", "server"): (_servers, ()),
    ("xmpp", "ca_file"): (_path, None),
    ("pop", "to"): (_recipients, None),
    ("pop", "message"): (_template, message.DEFAULT),
    ("pop", "country"): (_country, "US"),
    ("pop", "late_after"): (_seconds, LATE_AFTER),
    ("pop", "give_up_after"): (_seconds, GIVE_UP_AFTER),
    ("pop", "linger"): (_seconds, 300.0),
    ("outbox", "calls"): (_number, CALLS),
    ("outbox", "megabytes"): (_number, MEGABYTES),
    ("log", "file"): (_path, None),
}


def default_log_file() -> Path:
    return Path(os.environ.get("AST_LOG_DIR") or "/var/log/asterisk", "screen_pop.log")


def load(path: Path) -> Config:
    """Read the file and check it. Raises ConfigError with all that is wrong."""
    complaints: list[str] = []
    lines: dict[tuple[str, str], int] = {}
    values = {option: default for option, (_, default) in _OPTIONS.items()}

    before = _signature([path])
    for number, section, name, text in _parse(path, complaints):
        option = (section, name)
        where = f"{path}:{number}:"
        if option not in _OPTIONS:
            complaints.append(f"{where} [{section}] has no option {name!r}; {_what_is_there(section)}")
        elif option in lines:
            complaints.append(f"{where} {name} is set again; it stands in line {lines[option]} already")
        elif not text:
            complaints.append(f"{where} {name} has no value: give one, or take the line out")
            lines[option] = number
        else:
            lines[option] = number
            try:
                values[option] = _OPTIONS[option][0](text)
            except ValueError as error:
                complaints.append(f"{where} {name}: {error}")

    def there(section: str, name: str) -> bool:
        # an option with a wrong value has had its complaint
        return (section, name) in lines

    if not there("xmpp", "jid"):
        complaints.append(f"{path}: [xmpp] jid is missing: the account that sends, such as pbx@example.org")
    if not there("pop", "to"):
        complaints.append(f"{path}: [pop] to is missing: who is told, such as alice@example.org")
    if there("xmpp", "password") == there("xmpp", "password_file"):
        which = "both are there" if there("xmpp", "password") else "missing"
        complaints.append(f"{path}: [xmpp] password or password_file: {which}; one of them is needed")

    password, password_file = values["xmpp", "password"], values["xmpp", "password_file"]
    ca_file = values["xmpp", "ca_file"]
    if password_file:
        password = _first_line(password_file, f"{path}:{lines['xmpp', 'password_file']}: password_file:", complaints)
    if ca_file and not os.access(ca_file, os.R_OK):
        complaints.append(f"{path}:{lines['xmpp', 'ca_file']}: ca_file: {ca_file} isn't there or can't be read")
    if complaints:
        raise ConfigError(complaints)
    return Config(
        path=path,
        jid=values["xmpp", "jid"],
        password=password,
        password_file=password_file,
        servers=values["xmpp", "server"],
        ca_file=ca_file,
        to=values["pop", "to"],
        message=values["pop", "message"],
        country=values["pop", "country"],
        late_after=values["pop", "late_after"],
        give_up_after=values["pop", "give_up_after"],
        linger=values["pop", "linger"],
        calls=values["outbox", "calls"],
        megabytes=values["outbox", "megabytes"],
        log_file=values["log", "file"] or default_log_file(),
        read_from=before + _signature(filter(None, (password_file, ca_file))),
    )


def _parse(path: Path, complaints: list[str]) -> list[tuple[int, str, str, str]]:
    """Each setting with its line number and section."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        advice = {
            errno.ENOENT: "copy screen_pop.conf.sample there and fill it in",
            errno.EACCES: "owner root, Asterisk's group and mode 0640 let Asterisk's user read it, and nobody else",
        }.get(error.errno or 0, "it should be a file")
        raise ConfigError([f"{path}: {error.strerror}; {advice}"]) from error
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{number}: not UTF-8: save the file in that encoding"]) from error
    section, settings = "", []
    for number, raw in enumerate(content.split("\n"), 1):
        line = re.sub(r"(^|\s);.*", "", raw).strip()  # a ; within a word is part of it
        if not line:
            continue
        if heading := re.fullmatch(r"\[\s*(\w+)\s*\]", line):
            section = heading[1].lower()
            if section not in _SECTIONS:
                complaints.append(f"{path}:{number}: no section [{section}] is known; there are {_listed(_SECTIONS)}")
        elif setting := re.fullmatch(r"(\w+)\s*=>?\s*(.*)", line):
            text = setting[2]
            if setting[1].lower() == "password" and line != raw.strip():
                text = raw  # it has its complaint
                complaints.append(
                    f"{path}:{number}: password: a ; behind a blank begins a comment; put the comment into a line of"
                    " its own, or such a password into password_file"
                )
            if not section:
                complaints.append(f"{path}:{number}: {setting[1]} stands before the first section, such as [xmpp]")
            elif section in _SECTIONS:
                settings.append((number, section, setting[1].lower(), text))
        else:
            complaints.append(f"{path}:{number}: neither a [section] nor a setting such as name = value")
    return settings


_SECTIONS = tuple(dict.fromkeys(section for section, _ in _OPTIONS))


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"[{name}]" for name in names)


def _what_is_there(section: str) -> str:
    return "there are " + ", ".join(name for its, name in _OPTIONS if its == section)


def _first_line(path: Path, where: str, complaints: list[str]) -> str:
    try:
        line = path.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        complaints.append(f"{where} {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}")
        return ""
    if not line:
        complaints.append(f"{where} {path} is empty; its first line should be the password")
    return line
