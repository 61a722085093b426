"""The sign-in (RFC 6120 section 6): SCRAM, with channel binding if the server supports it; PLAIN if it has no SCRAM.

It is done only over verified TLS. DIGEST-MD5 and XEP-0078 are never used.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ..text import clean
from . import channel_binding, scram
from .errors import LOG_ADVICE
from .saslprep import SASLprepError
from .xmpppy import auth, protocol

NS_CHANNEL_BINDING = "urn:xmpp:sasl-cb:0"  # XEP-0440

ACCOUNT_ADVICE = "check [xmpp] jid and password"
_CONDITIONS = {
    # RFC 6120 section 6.5: condition, meaning, advice
    "not-authorized": ("the server does not accept this name and password", ACCOUNT_ADVICE),
    "account-disabled": ("the account is disabled", "enable it on the server"),
    "credentials-expired": ("the password has expired", "set a new one"),
    "encryption-required": ("the server does not take this connection for encrypted", LOG_ADVICE),
    "invalid-mechanism": ("the server offers this mechanism but does not accept it", "switch it off on the server"),
    "mechanism-too-weak": ("the server offers this mechanism but finds it too weak", "switch it off on the server"),
    "temporary-auth-failure": ("the server can't check passwords at the moment", LOG_ADVICE),
}
_ABOUT_THE_ACCOUNT = ("not-authorized", "account-disabled", "credentials-expired", "temporary-auth-failure")


class SASL(auth.SASL):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """xmpppy's SASL with other mechanisms. `startsasl` is its state: "in-process", "success" or "failure".

    `refused`: mechanisms that were refused before. After a failure, `what` is what the server did and `advice` what
    the administrator can do. `may_try_another`: the server refused the mechanism, not the password, and offers another
    one. `temporary`: the server may accept the same later.
    """

    def __init__(self, username: str, password: str, certificate: bytes, refused: frozenset[str]) -> None:
        super().__init__(username, password)
        self.certificate, self.refused = certificate, refused
        self.mechanism = self.what = self.advice = ""
        self.others: list[str] = []  # mechanisms that could be used instead
        self.scram: scram.Client | None = None
        self.proof_sent = self.verified = self.may_try_another = self.temporary = False

    def plugin(self, owner: Any) -> None:
        # xmpppy calls this only if the class itself defines it
        super().plugin(owner)

    def FeaturesHandler(self, conn: Any, feats: Any) -> None:
        for name in ("challenge", "failure", "success"):
            self._owner.RegisterHandler(name, self.SASLHandler, xmlns=protocol.NS_SASL)
        self.startsasl = "in-process"
        offer = _offer(feats)
        usable = self._usable(offer)
        if not usable:
            offered = clean(", ".join(offer.mechanisms), limit=200) or "no mechanism"
            self._fail(f"the server offers {offered}, neither SCRAM nor PLAIN", "switch SCRAM on on the server")
            return
        self.mechanism, *self.others = usable
        try:
            self._send("auth", self._initial_response(offer), mechanism=self.mechanism)
        except SASLprepError as error:
            self._fail(f"the password can't be used: {error}", "set another password")

    def _usable(self, offer: scram.Offer) -> list[str]:
        """The mechanisms that may be used, the best first: SCRAM with channel binding, SCRAM, PLAIN."""
        self.binding = channel_binding.of(self.certificate) or b""
        bound = [f"{name}-PLUS" for name in scram.HASHES]
        if not self.binding or channel_binding.NAME not in offer.bindings or not self.refused.isdisjoint(bound):
            bound = []
        known = [*bound, *scram.HASHES]
        if not any(name in offer.mechanisms for name in known):
            known = ["PLAIN"]
        return [name for name in known if name in offer.mechanisms and name not in self.refused]

    def _initial_response(self, offer: scram.Offer) -> str:
        if self.mechanism == "PLAIN":
            self.verified = True  # by the server's certificate; PLAIN has no proof of its own
            return f"\0{self.username}\0{self.password}"
        flag = self._flag(offer)
        binding = self.binding if flag.startswith("p=") else b""
        self.scram = scram.Client(self.mechanism, self.username, self.password, offer, flag, binding)
        return self.scram.first()

    def _flag(self, offer: scram.Offer) -> str:
        """The channel-binding flag (RFC 5802 section 6). "y" means: we support channel binding and the server seems not
        to. A server that supports it then knows that its offer was changed on the way. A server that offers only
        bindings that we don't support gets "n".
        """
        if self.mechanism.endswith("-PLUS"):
            return f"p={channel_binding.NAME}"
        can_bind = offer.bindings or any(name.endswith("-PLUS") for name in offer.mechanisms)
        return "n" if can_bind or not self.binding else "y"

    def SASLHandler(self, conn: Any, challenge: Any) -> None:
        name = challenge.getName()
        try:
            if name == "failure":
                self._handle_failure(challenge)
            elif name == "challenge":
                self._handle_challenge(_decode(challenge))
            elif name == "success":
                self._handle_success(challenge)
        except scram.SCRAMError as error:
            self._fail(str(error), LOG_ADVICE)
        raise protocol.NodeProcessed

    def _handle_challenge(self, message: str) -> None:
        if self.scram is None or self.verified:
            raise scram.SCRAMError("the server sent a challenge that this mechanism does not have")
        if not self.proof_sent:
            self._send("response", self.scram.final(message))
            self.proof_sent = True
        else:
            self.scram.verify(message)
            self.verified = True
            self._send("response", "")

    def _handle_success(self, success: Any) -> None:
        if self.scram and not self.verified:
            if not self.proof_sent:
                raise scram.SCRAMError("the server did not ask for a proof of the password")
            self.scram.verify(_decode(success))
        self.startsasl = "success"

    def _handle_failure(self, failure: Any) -> None:
        conditions = [tag.getName() for tag in failure.getChildren() if tag and tag.getName() != "text"]
        condition = clean((conditions or ["failure"])[0], limit=100)
        text = clean(failure.getTagData("text") or "", limit=300)
        about_binding = "channel" in text.lower() and "binding" in text.lower()
        what, advice = _CONDITIONS.get(condition, ("the server refuses the sign-in", LOG_ADVICE))
        if about_binding:
            what, advice = "the server refuses the channel binding", LOG_ADVICE
        self._fail(f"{what} ({condition}: {text})" if text else f"{what} ({condition})", advice)
        self.temporary = condition == "temporary-auth-failure"
        about_mechanism = about_binding or condition not in _ABOUT_THE_ACCOUNT
        self.may_try_another = bool(self.scram and self.others and about_mechanism)

    def _send(self, name: str, message: str, **attributes: str) -> None:
        data = base64.b64encode(message.encode()).decode()
        self._owner.send(str(protocol.Node(name, attrs={"xmlns": protocol.NS_SASL, **attributes}, payload=[data])))

    def _fail(self, what: str, advice: str) -> None:
        self.startsasl, self.what, self.advice = "failure", what, advice


def _offer(feats: Any) -> scram.Offer:
    mechanisms = feats.getTag("mechanisms", namespace=protocol.NS_SASL)
    bindings = feats.getTag("sasl-channel-binding", namespace=NS_CHANNEL_BINDING)
    return scram.Offer(
        [tag.getData().strip() for tag in (mechanisms.getTags("mechanism") if mechanisms else ())],
        [tag.getAttr("type") or "" for tag in (bindings.getTags("channel-binding") if bindings else ())],
    )


def _decode(challenge: Any) -> str:
    """Raises SCRAMError."""
    try:
        return base64.b64decode(challenge.getData().strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise scram.SCRAMError("what the server sent is not Base64") from None
