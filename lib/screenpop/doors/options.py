"""The sections of the doors that listen: [fastagi], [http]."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..config import Option, SecretFile, Section, secret_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Union

    Network = Union[IPv4Network, IPv6Network]

SHORTEST_TOKEN = 16  # characters
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)
_TOKEN = re.compile(rf"[!-~]{{{SHORTEST_TOKEN},200}}")


def address(text: str) -> tuple[str, int]:
    """Host and port to listen on."""
    found = _ADDRESS.fullmatch(text)
    if not found or not 0 < int(found[3]) < 65536:
        raise ValueError(f"{text!r} should be host:port, such as 127.0.0.1:8088 or [::1]:8088")
    return found[1] or found[2], int(found[3])


def _listen(text: str) -> tuple[str, int] | None:
    if text == "no":
        return None
    host, port = address(text)
    return str(_ip(host, text)), port


def _ip(host: str, text: str) -> IPv4Address | IPv6Address:
    import ipaddress  # here: most installations have the default

    try:
        return ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"{text!r} should be an IP address of this box, and a port") from None


def _networks(text: str) -> tuple[Network, ...]:
    import ipaddress

    networks = []
    for part in text.split(","):
        try:
            networks.append(ipaddress.ip_network(part.strip()))
        except ValueError:
            raise ValueError(f"{part.strip()!r} should be a network or an address, such as 192.0.2.0/24") from None
    return tuple(networks)


class FastagiOptions(Section):
    """`listen`: None: not at all. `allow`: the networks that may connect; empty: all that can."""

    listen: Option[tuple[str, int] | None] = Option(_listen, ("127.0.0.1", 4573))
    allow: Option[tuple[Network, ...]] = Option(_networks, ())

    @property
    def is_default(self) -> bool:
        """Whether the file doesn't set `listen`."""
        return "listen" not in self._values

    @classmethod
    def complaints(cls, given: Mapping[str, Any]) -> Iterator[str]:
        listen = given.get("listen")
        if listen and not _ip(listen[0], "").is_loopback and "allow" not in given:
            yield "allow: missing; who else than this box may connect, such as 192.0.2.0/24"


def _token(text: str) -> str:
    """No complaint repeats the text."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(
            f"should be at least {SHORTEST_TOKEN} characters, in ASCII and without spaces, such as those that"
            " `openssl rand -hex 16` prints"
        )
    return text


def _token_file(text: str) -> SecretFile:
    file = secret_file(text)
    try:
        _token(file.secret)
    except ValueError as error:
        raise ValueError(f"the first line of {text} {error}") from error
    return file


class HttpOptions(Section):
    """`token` is the content of token_file if that is set."""

    listen: Option[tuple[str, int] | None] = Option(address, None)
    token = Option(_token, "", secret=True)
    token_file: Option[SecretFile | None] = Option(_token_file, None)

    def __init__(self, values: Mapping[str, Any]) -> None:
        file = values.get("token_file")
        super().__init__({**values, "token": file.secret} if file else values)

    @classmethod
    def complaints(cls, given: Collection[str]) -> Iterator[str]:
        if "token" in given and "token_file" in given:
            yield "token or token_file: both are set; set one of them"
        if "listen" in given and not ("token" in given or "token_file" in given):
            yield "token or token_file: missing; each request needs it"
