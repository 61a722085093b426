"""Proving who we are: SCRAM by `scramp` (RFC 5802, RFC 7677), bound to the channel where the server can, else PLAIN.

Only over verified TLS; DIGEST-MD5 and XEP-0078 never.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import scramp
from scramp.core import saslprep

from .xmpppy import auth, protocol

NS_CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"  # XEP-0440
CHANNEL_BINDING = "tls-server-end-point"  # RFC 5929; for TLS 1.3, too. Python gives no tls-exporter
FEWEST_ITERATIONS = 4096  # RFC 7677 section 4: fewer, and who reads along can guess the password
MOST_ITERATIONS = 1_000_000  # a second or two; more would be the server's way of keeping us busy

_SCRAM = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")


class SASL(auth.SASL):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """xmpppy's SASL with other mechanisms. `startsasl` tells how it stands: "in-process", "success" or "failure".

    After a failure `condition` is the server's word for it (RFC 6120 section 6.5), or `wrong` says what is wrong here.
    """

    def __init__(self, username: str, password: str, tls: Any) -> None:
        super().__init__(username, password)
        self.tls = tls
        self.mechanism = self.condition = self.wrong = ""
        self.scram: Any = None
        self.verified = False

    def plugin(self, owner: Any) -> None:
        # xmpppy calls this only when it stands in the class itself
        super().plugin(owner)

    def FeaturesHandler(self, conn: Any, feats: Any) -> None:
        offer = feats.getTag("mechanisms", namespace=protocol.NS_SASL)
        offered = [mechanism.getData().strip() for mechanism in offer.getTags("mechanism")] if offer else []
        for name in ("challenge", "failure", "success"):
            self._owner.RegisterHandler(name, self.SASLHandler, xmlns=protocol.NS_SASL)
        try:
            saslprep(self.password)
        except scramp.ScramException as error:
            self._fail(f"the password has characters that none may have: {error}")
            return
        first = self._choose(offered, feats)
        if first is None:
            self._fail(f"the server offers {', '.join(offered) or 'nothing'}: neither SCRAM nor PLAIN")
            return
        self.startsasl = "in-process"
        self._send("auth", first, mechanism=self.mechanism)

    def _choose(self, offered: list[str], feats: Any) -> str | None:
        """Set `mechanism` to the best one offered; returns its first message."""
        usable = [name for name in offered if name in _SCRAM]
        bound = [name for name in offered if name.endswith("-PLUS") and name[:-5] in _SCRAM]
        # RFC 5802 section 6: a client that could bind says so ("y") where no -PLUS is offered, which lets a server that
        # did offer it find out that somebody took it away; where our kind of binding isn't taken, we can't bind ("n").
        no_plus = not any(name.endswith("-PLUS") for name in offered)
        binding = self._channel_binding() if no_plus or _takes_our_binding(feats) else None
        if bound and binding:
            usable = bound
        if usable:
            username = self.username.replace("=", "=3D").replace(",", "=2C")  # RFC 5802 section 5.1
            self.scram = scramp.ScramClient(usable, username, self.password, channel_binding=binding)
            self.mechanism = self.scram.mechanism_name
            return str(self.scram.get_client_first())
        if "PLAIN" in offered:
            self.mechanism, self.verified = "PLAIN", True
            return f"\0{self.username}\0{self.password}"
        return None

    def _channel_binding(self) -> tuple[str, bytes] | None:
        try:
            return scramp.make_channel_binding(CHANNEL_BINDING, self.tls)  # type: ignore[no-any-return]
        except (
            ValueError,
            scramp.ScramException,
        ):  # a signature without a hash (Ed25519): RFC 5929 leaves it undefined
            return None

    def SASLHandler(self, conn: Any, challenge: Any) -> None:
        name = challenge.getName()
        try:
            if name == "failure":
                conditions = [tag.getName() for tag in challenge.getChildren() if tag and tag.getName() != "text"]
                self.startsasl, self.condition = "failure", (conditions or ["failure"])[0]
            elif name == "challenge":
                self._answer(_decode(challenge))
            elif challenge.getData().strip() and self.scram and not self.verified:
                self._verify(_decode(challenge))
            if name == "success":
                if not self.verified:
                    raise ValueError("the server didn't prove that it knows the password")
                self.startsasl = "success"
        except (ValueError, scramp.ScramException) as error:
            self._fail(f"the server's part of {self.mechanism} is wrong: {error}")
        raise protocol.NodeProcessed

    def _answer(self, message: str) -> None:
        if self.scram is None:
            raise ValueError("a challenge that PLAIN doesn't have")
        if self.scram.stage == 1:  # client-first has been sent
            self.scram.set_server_first(message)
            if not FEWEST_ITERATIONS <= self.scram.iterations <= MOST_ITERATIONS:
                raise ValueError(f"{self.scram.iterations} iterations")
            self._send("response", self.scram.get_client_final())
        else:
            self._verify(message)
            self._send("response", "")

    def _verify(self, message: str) -> None:
        self.scram.set_server_final(message)
        self.verified = True

    def _send(self, name: str, message: str, **attributes: str) -> None:
        data = base64.b64encode(message.encode()).decode()
        self._owner.send(str(protocol.Node(name, attrs={"xmlns": protocol.NS_SASL, **attributes}, payload=[data])))

    def _fail(self, wrong: str) -> None:
        self.startsasl, self.wrong = "failure", wrong


def _takes_our_binding(feats: Any) -> bool:
    """A server says which channel bindings its -PLUS mechanisms take (XEP-0440); the wrong one is refused."""
    taken = feats.getTag("sasl-channel-binding", namespace=NS_CHANNEL_BINDING)
    return bool(taken and taken.getTag("channel-binding", attrs={"type": CHANNEL_BINDING}))


def _decode(challenge: Any) -> str:
    """Raises ValueError."""
    try:
        return base64.b64decode(challenge.getData(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not Base64") from error
