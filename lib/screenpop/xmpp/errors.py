"""What can keep a session from its work."""

from __future__ import annotations


class SessionError(Exception):
    """Why there is no session: never the fault of a single pop, so none is given up because of it.

    `step`: what was being done ("DNS", "connection", "certificate", …); `advice`: what the administrator can do.
    """

    def __init__(self, step: str, what: str, advice: str) -> None:
        super().__init__(f"{step}: {what}; {advice}")
        self.step, self.what, self.advice = step, what, advice
        self.refused = False


class SeeOtherHost(SessionError):
    """The server sends us to another host (RFC 6120 section 4.9.3.19); `host`: as it stands in its error."""

    def __init__(self, step: str, host: str) -> None:
        super().__init__(step, f"the server says see-other-host: {host}", "look into its log")
        self.host = host


class MechanismRefused(SessionError):
    """The server refused a SASL mechanism that it offers, for another reason than the password."""

    def __init__(self, mechanism: str, what: str, advice: str) -> None:
        super().__init__("sign-in", what, advice)
        self.mechanism = mechanism
