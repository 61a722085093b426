"""The client side of SCRAM (RFC 5802, RFC 7677), with the downgrade protection of XEP-0474."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import time
from collections.abc import Sequence

from ..text import clean
from . import saslprep

HASHES = {"SCRAM-SHA-512": "sha512", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}  # the strongest first
FEWEST_ITERATIONS = 4096  # RFC 7677 section 4; with fewer, the password is too cheap to guess from a recorded sign-in
MOST_ITERATIONS = 10_000_000
LONGEST_COMPUTATION = 1.0  # seconds of computation that the server may demand for one sign-in
_SAMPLE = 10_000  # iterations that measure the speed of this machine


class SCRAMError(ValueError):
    """What the server did wrong. The text is a clause that follows the name of the mechanism."""


class Offer:
    """What the server offered before the sign-in: its mechanisms, and its channel bindings (XEP-0440)."""

    def __init__(self, mechanisms: Sequence[str], bindings: Sequence[str]) -> None:
        self.mechanisms, self.bindings = mechanisms, bindings

    def digest(self, algorithm: str) -> str:
        """The downgrade protection hash (XEP-0474 section 4.1) in Base64."""
        text = "\x1e".join(sorted(self.mechanisms))
        if self.bindings:
            text += "\x1f" + "\x1e".join(sorted(self.bindings))
        return base64.b64encode(hashlib.new(algorithm, text.encode()).digest()).decode()


class Client:
    """One sign-in: `first()`, then `final(server-first)`, then `verify(server-final)`.

    `flag`: the channel-binding flag of RFC 5802 section 7 ("n", "y", or "p=" and the name of the binding), `binding`:
    the data of that binding. Raises SASLprepError when the password can't be used.
    """

    def __init__(
        self,
        mechanism: str,
        username: str,
        password: str,
        offer: Offer,
        flag: str,
        binding: bytes = b"",
        nonce: str = "",
    ) -> None:
        self._algorithm = HASHES[mechanism.removesuffix("-PLUS")]
        self._password = saslprep.stored(password).encode()
        self._offer = offer
        self._header = f"{flag},,"
        self._binding = binding
        self._nonce = nonce or base64.b64encode(os.urandom(24)).decode()
        name = saslprep.query(username).replace("=", "=3D").replace(",", "=2C")
        self._first_bare = f"n={name},r={self._nonce}"

    def first(self) -> str:
        return self._header + self._first_bare

    def final(self, server_first: str) -> str:
        """The proof that we know the password. If it raises SCRAMError, nothing derived from the password was sent."""
        nonce, salt, iterations = self._parse(server_first)
        channel = base64.b64encode(self._header.encode() + self._binding).decode()
        without_proof = f"c={channel},r={nonce}"
        signed = f"{self._first_bare},{server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac(self._algorithm, self._password, salt, iterations)
        client_key = self._hmac(salted, b"Client Key")
        signature = self._hmac(hashlib.new(self._algorithm, client_key).digest(), signed)
        proof = bytes(key ^ sign for key, sign in zip(client_key, signature))
        self._server_signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        return f"{without_proof},p={base64.b64encode(proof).decode()}"

    def verify(self, server_final: str) -> None:
        """Raises SCRAMError if the server doesn't prove that it also knows the password."""
        value = server_final.partition(",")[0]
        if value.startswith("e="):
            raise SCRAMError(f"the server says {clean(value[2:], limit=100)}")
        if not value.startswith("v="):
            raise SCRAMError("the server sent no signature")
        if not hmac.compare_digest(_decode(value[2:], "signature"), self._server_signature):
            raise SCRAMError("the server did not prove that it knows the password")

    def _parse(self, server_first: str) -> tuple[str, bytes, int]:
        """The nonce, the salt and the iterations. Unknown extensions are ignored (RFC 5802 section 5.1)."""
        parts = [part.partition("=") for part in server_first.split(",")]
        values = {name: value for name, _, value in parts}
        if "m" in values:
            raise SCRAMError("the server demands an extension that screen_pop does not know")
        if "e" in values:
            raise SCRAMError(f"the server says {clean(values['e'], limit=100)}")
        if [name for name, _, _ in parts[:3]] != ["r", "s", "i"] or len(values) != len(parts):
            raise SCRAMError("the server's first message is not nonce, salt and iteration count")
        nonce, salt, iterations = values["r"], _decode(values["s"], "salt"), values["i"]
        if not nonce.startswith(self._nonce) or not re.fullmatch("[!-~]+", nonce):
            raise SCRAMError("the server's nonce does not begin with ours")
        if len(nonce) == len(self._nonce):
            raise SCRAMError("the server added nothing to our nonce")
        if not salt:
            raise SCRAMError("the server's salt is empty")
        if not re.fullmatch("[0-9]{1,12}", iterations):
            raise SCRAMError("the server's iteration count is not a number")
        if "h" in values and values["h"] != self._offer.digest(self._algorithm):
            raise SCRAMError(
                "the list of mechanisms that arrived is not the one that the server sent (XEP-0474): somebody on the"
                " network path may have changed it"
            )
        self._check_cost(int(iterations))
        return nonce, salt, int(iterations)

    def _check_cost(self, iterations: int) -> None:
        if not FEWEST_ITERATIONS <= iterations <= MOST_ITERATIONS:
            raise SCRAMError(
                f"the server asks for {iterations:,} iterations;"
                f" {FEWEST_ITERATIONS:,} to {MOST_ITERATIONS:,} are accepted"
            )
        if iterations <= _SAMPLE:
            return
        began = time.perf_counter()
        hashlib.pbkdf2_hmac(self._algorithm, b"sample", b"sample", _SAMPLE)
        seconds = (time.perf_counter() - began) * iterations / _SAMPLE
        if seconds > LONGEST_COMPUTATION:
            raise SCRAMError(
                f"the server asks for {iterations:,} iterations, which take this machine {seconds:.1f} s;"
                f" at most {LONGEST_COMPUTATION:.0f} s is accepted"
            )

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._algorithm).digest()


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        raise SCRAMError(f"the server's {what} is not Base64") from None
