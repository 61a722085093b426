"""The section [pop]: recipients, text and times."""

from __future__ import annotations

import re

from ..config import Option, Required, Section, seconds
from ..xmpp import jid
from . import message


def _recipients(text: str) -> tuple[str, ...]:
    return tuple(str(jid.parse(part.strip())) for part in text.split("&"))


def _template(text: str) -> str:
    unknown = set(message.PLACEHOLDER.findall(text)) - set(message.PLACEHOLDERS)
    if unknown:
        known = " ".join(f"{{{name}}}" for name in message.PLACEHOLDERS)
        raise ValueError(f"{{{min(unknown)}}} is unknown; there are {known}")
    return text


def _country(text: str) -> str:
    if not re.fullmatch("[A-Z]{2}", text):
        raise ValueError(f"{text!r} should be two capital letters, such as US")
    return text


class PopOptions(Section):
    to = Required(_recipients, "a recipient, such as alice@example.org")
    message = Option(_template, message.DEFAULT)
    country = Option(_country, "US")
    late_after = Option(seconds, 30.0)
    give_up_after = Option(seconds, 86400.0)
    linger = Option(seconds, 300.0)
    remember = Option(seconds, 86400.0)
