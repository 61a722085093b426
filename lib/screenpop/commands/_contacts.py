"""The recipients as contacts of the account."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..settings import Settings


def recipients(given: Settings) -> list[str]:
    """The bare JIDs of the people that the configuration names. Rooms have no contact list."""
    from ..pop import routes
    from ..xmpp import jid

    found = [routes.split(recipient) for recipient in given.routes.recipients()]
    people = [jid.parse(address) for is_room, address in found if not is_room]
    return list(dict.fromkeys(str(person._replace(resource="")) for person in people))
