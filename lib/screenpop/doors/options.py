"""The sections of the doors that listen: [fastagi]."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..config import Option, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
    from typing import Union

    Network = Union[IPv4Network, IPv6Network]

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", re.ASCII)


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

    @classmethod
    def complaints(cls, given: Mapping[str, Any]) -> Iterator[str]:
        listen = given.get("listen")
        if listen and not _ip(listen[0], "").is_loopback and "allow" not in given:
            yield "allow: missing; who else than this box may connect, such as 192.0.2.0/24"
