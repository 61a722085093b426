"""The recipients as contacts of the account."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def recipients(given: Settings) -> list[str]:
    """The bare JIDs of the people that the configuration names. Rooms have no contact list."""
    from ..xmpp import jid

    found = [jid.parse(to) for to in given.routes.recipients() if not to.startswith(jid.ROOM)]
    bare = dict.fromkeys(str(one._replace(resource="")) for one in found)
    return [address for address in bare if address not in given.rooms]
