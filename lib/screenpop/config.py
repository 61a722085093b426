"""The configuration file: sections with `name = value`, and `;` comments as in Asterisk's own files.

This module has the grammar. Each package declares its options in a subclass of Section (`xmpp/options.py`,
`pop/options.py`, …), and settings.py lists these sections. The whole file is checked at once. Each complaint names the
file, the line, and what is expected.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, NoReturn, TypeVar

T = TypeVar("T")


class ConfigError(Exception):
    """The file can't be used. `complaints`: a line for each error in it. `right`: the sections without an error."""

    def __init__(self, complaints: list[str], right: Mapping[str, Section] | None = None) -> None:
        super().__init__("; ".join(complaints))
        self.complaints, self.right = complaints, right or {}


_NEITHER = "neither a [section] nor a setting such as name = value"

# Declaring options


class Option(Generic[T]):
    """An attribute of a Section: `section.name` is the value in use, `Section.name` the default.

    `read` converts the text of the file. It raises ValueError with what is expected. `secret`: a comment after the
    value is an error, because it may be a part of the value.
    """

    def __init__(self, read: Callable[[str], T], default: T, secret: bool = False) -> None:
        self.read, self.default, self.secret = read, default, secret

    def __set_name__(self, owner: type[Section], name: str) -> None:
        self.name = name

    def __get__(self, section: Section | None, owner: type[Section]) -> T:
        value: T = self.default if section is None else section._values.get(self.name, self.default)
        return value

    def __set__(self, section: Section, value: T) -> NoReturn:
        raise AttributeError(f"{self.name} is read from the file and can't be set")


class Required(Option[T]):
    """An option without a default. `what` describes the value, for the complaint if the file doesn't set it."""

    def __init__(self, read: Callable[[str], T], what: str) -> None:
        self.read, self.what, self.secret = read, what, False

    def __get__(self, section: Section | None, owner: type[Section]) -> T:
        if section is None:
            raise AttributeError(f"{self.name} has no default")
        value: T = section._values[self.name]
        return value


class Section:
    """The values of one section of the file. A subclass has an Option for each name that the section may set.

    `is_open`: it may also have options of any other name (`others`), whose values `read_other` reads. `read_name`
    reads the names of all options.
    """

    is_open: ClassVar[bool] = False
    _options: ClassVar[dict[str, Option[Any]]] = {}

    def __init_subclass__(cls) -> None:
        cls._options = {
            name: option
            for base in reversed(cls.__mro__)
            for name, option in vars(base).items()
            if isinstance(option, Option)
        }

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    @property
    def others(self) -> dict[str, Any]:
        """The values of the options that are not declared, by name, in the order of the file."""
        declared = {*self.options(), "type"}
        return {name: value for name, value in self._values.items() if name not in declared}

    @classmethod
    def read_name(cls, text: str) -> str:
        """Raises ValueError, saying what would be right."""
        if not re.fullmatch(r"\w+", text):
            raise ValueError(_NEITHER)
        return text.lower()

    @classmethod
    def read_other(cls, text: str) -> Any:
        """Raises ValueError, saying what would be right."""
        return text

    @classmethod
    def options(cls) -> dict[str, Option[Any]]:
        return dict(cls._options)

    @classmethod
    def complaints(cls, given: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with the combination of options. `given`: those that the file sets, with their values; None for
        a wrong one.
        """
        yield from ()


# Files


class File:
    """A file of the configuration. `has_changed` compares it with its state when this object was made."""

    def __init__(self, path: str) -> None:
        self.path, self.state = path, _state(path)

    def has_changed(self) -> bool:
        return _state(self.path) != self.state


class SecretFile(File):
    """A file whose first line is a secret. The constructor raises ValueError."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        try:
            with open(path, encoding="utf-8") as file:
                self.secret = file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
        if not self.secret:
            raise ValueError(f"{path} is empty; its first line should be the password")


def _state(path: str) -> tuple[float, int] | None:
    """The time of the last change, and the size in bytes."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_mtime, state.st_size


# Reading values: each function converts the text, and raises ValueError with what is expected.


def seconds(text: str) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text):
        raise ValueError(f"{text!r} should be a number of seconds, such as 30")
    return float(text)


def positive_number(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ValueError(f"{text!r} should be a number, such as 1000")
    return int(text)


def one_of(values: Mapping[str, T]) -> Callable[[str], T]:
    """The function that reads one of these words."""

    def read(text: str) -> T:
        if text not in values:
            raise ValueError(f"{text!r} should be one of the words {', '.join(values)}")
        return values[text]

    return read


yes_or_no = one_of({"yes": True, "no": False})


def absolute_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} should be an absolute path, such as /etc/asterisk/{text}")
    return text


def readable_file(text: str) -> File:
    file = File(absolute_path(text))
    if not os.access(file.path, os.R_OK):
        raise ValueError(f"{text} doesn't exist or can't be read")
    return file


def secret_file(text: str) -> SecretFile:
    return SecretFile(absolute_path(text))


# Reading the file


class Document(NamedTuple):
    """What a file contains: `sections` by name, those with a type in the order of the file. `files`: all files read.
    `lines`: of the options, by section and name.
    """

    sections: dict[str, Section]
    files: tuple[File, ...]
    lines: dict[str, dict[str, int]]


class _Setting(NamedTuple):
    line: int
    section: str
    name: str
    text: str
    had_comment: bool  # which was removed


def read(
    path: str,
    sections: Mapping[str, type[Section]],
    types: Mapping[str, type[Section]],
    former_names: Mapping[str, str],
) -> Document:
    """Read the file and check it. Raises ConfigError with all errors.

    `sections`: the sections that every configuration has, by name. A section with another name sets `type = …` to one
    of `types`, as in pjsip.conf. `former_names`: former names of sections, and their present names.
    """
    file = File(path)  # before it is read, so that a later change is noticed
    complaints: list[tuple[int, str]] = []  # with the line; 0: about the whole file
    headings, settings = _parse(_content(path), complaints)
    headings = [(line, former_names.get(name, name)) for line, name in headings]
    kinds = {**sections, **_of_a_type(headings, settings, sections, types, complaints)}
    values: dict[str, dict[str, Any]] = {name: {} for name in kinds}
    lines: dict[str, dict[str, int]] = {name: {} for name in kinds}  # by section and option
    for setting in settings:
        section = former_names.get(setting.section, setting.section)
        if not section:
            where = f"before the first section, such as [{next(iter(sections))}]"
            complaints.append((setting.line, f"{setting.name} is {where}"))
        elif section in kinds:
            try:
                setting = setting._replace(name=kinds[section].read_name(setting.name))
            except ValueError as error:
                complaints.append((setting.line, str(error)))
                continue
            options = kinds[section].options()
            if section not in sections:
                options["type"] = Option(str, "")
            if kinds[section].is_open and setting.name not in options:
                options[setting.name] = Option(kinds[section].read_other, None)
            _take(setting, options, values[section], lines[section], complaints)
    complaints.sort(key=lambda complaint: complaint[0])
    wrong = {_section_of(line, headings) for line, _ in complaints}
    for name, kind in kinds.items():
        for option in kind.options().values():
            if isinstance(option, Required) and option.name not in lines[name]:
                complaints.append((0, f"[{name}] {option.name} is missing; it should be {option.what}"))
                wrong.add(name)
    for name, kind in kinds.items():
        given = {option: values[name].get(option) for option in lines[name]}
        for complaint in kind.complaints(given):
            complaints.append((0, f"[{name}] {complaint}"))
            wrong.add(name)
    found = {name: kind(values[name]) for name, kind in kinds.items() if name not in wrong}
    if complaints:
        raise ConfigError([f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in complaints], found)
    others = (value for section in values.values() for value in section.values() if isinstance(value, File))
    return Document(found, (file, *others), lines)


def _section_of(line: int, headings: list[tuple[int, str]]) -> str:
    """The section in which a line is."""
    return next((name for heading, name in reversed(headings) if heading <= line), "")


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        advice = {
            errno.ENOENT: "copy screen_pop.conf.sample there and fill it in",
            errno.EACCES: "it should have owner root, Asterisk's group and mode 0640",
        }.get(error.errno or 0, "it should be a file")
        raise ConfigError([f"{path}: {error.strerror}; {advice}"]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8: save the file in that encoding"]) from error


def _parse(content: str, complaints: list[tuple[int, str]]) -> tuple[list[tuple[int, str]], list[_Setting]]:
    """The headings with their lines, and the settings."""
    section = ""
    headings: list[tuple[int, str]] = []
    settings: list[_Setting] = []
    for number, raw in enumerate(content.split("\n"), 1):
        line = re.sub(r"(^|\s);.*", "", raw).strip()  # a ; inside a word doesn't begin a comment
        if not line:
            continue
        if heading := re.fullmatch(r"\[\s*([\w-]+)\s*\]", line):
            section = heading[1].lower()
            headings.append((number, section))
        elif found := re.fullmatch(r"([^=]*?)\s*=>?\s*(.*)", line):
            settings.append(_Setting(number, section, found[1], found[2], line != raw.strip()))
        else:
            complaints.append((number, _NEITHER))
    return headings, settings


def _of_a_type(
    headings: list[tuple[int, str]],
    settings: list[_Setting],
    sections: Mapping[str, type[Section]],
    types: Mapping[str, type[Section]],
    complaints: list[tuple[int, str]],
) -> dict[str, type[Section]]:
    """The sections that set `type`, by name."""
    found = {}
    for line, name in headings:
        if name in sections or name in found:
            continue
        own = (setting for setting in settings if setting.section == name)
        setting = next((setting for setting in own if setting.name.lower() == "type"), None)
        if setting and setting.text in types:
            found[name] = types[setting.text]
        elif setting and types:
            complaints.append((setting.line, f"type: {setting.text!r} is unknown; there are {', '.join(types)}"))
        else:
            there_are = ", ".join(f"[{name}]" for name in sections)
            other = f", and sections with a type: {', '.join(types)}" if types else ""
            complaints.append((line, f"[{name}] is unknown; there are {there_are}{other}"))
    return found


def _take(
    setting: _Setting,
    options: Mapping[str, Option[Any]],
    values: dict[str, Any],
    lines: dict[str, int],
    complaints: list[tuple[int, str]],
) -> None:
    """Add the value to `values` and its line to `lines`, or add a complaint."""
    name, option = setting.name, options.get(setting.name)
    complaint = ""
    if not option:
        complaint = f"[{setting.section}] has no option {name!r}; there are {', '.join(options)}"
    elif name in lines:
        complaint = f"{name} is set twice; the first time in line {lines[name]}"
    elif option.secret and setting.had_comment:
        complaint = (
            f"{name}: a ; after a space begins a comment; put the comment on a line of its own;"
            f" for a {name} that contains it, use {name}_file"
        )
    elif not setting.text:
        complaint = f"{name} has no value: add one, or remove the line"
    else:
        try:
            values[name] = option.read(setting.text)
        except ValueError as error:
            complaint = f"{name}: {error}"
    if complaint:
        complaints.append((setting.line, complaint))
    if option:
        lines.setdefault(name, setting.line)
