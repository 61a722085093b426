"""The server side of SCRAM (RFC 5802) for the tests. It shares no code with the client side."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping


class Refused(Exception):
    """The text is the server-error-value of RFC 5802 section 7."""


class Server:
    """`passwords`: by user. `bindings`: the data of each channel binding that the server supports.

    `alter`: changes the server's first message before the signatures are computed.
    """

    def __init__(
        self,
        algorithm: str,
        passwords: Mapping[str, str],
        bindings: Mapping[str, bytes] | None = None,
        iterations: int = 4096,
        salt: bytes = b"\x00salt\xff,=",
        alter: Callable[[str], str] = str,
        nonce: str = "",
    ) -> None:
        self.algorithm, self.passwords, self.bindings = algorithm, passwords, bindings or {}
        self.iterations, self.salt, self.alter = iterations, salt, alter
        self.nonce = nonce or secrets.token_urlsafe(18)
        self.user = ""

    def first(self, client_first: str) -> str:
        self.flag, authzid, self.client_bare = client_first.split(",", 2)
        assert authzid == ""
        user, nonce = self.client_bare.split(",")
        assert user.startswith("n=") and nonce.startswith("r=")
        self.user = user[2:].replace("=2C", ",").replace("=3D", "=")
        if self.flag == "y" and self.bindings:
            raise Refused("server-does-support-channel-binding")
        if self.user not in self.passwords:
            raise Refused("unknown-user")
        self.full_nonce = nonce[2:] + self.nonce
        salt = base64.b64encode(self.salt).decode()
        self.server_first = self.alter(f"r={self.full_nonce},s={salt},i={self.iterations}")
        return self.server_first

    def final(self, client_final: str) -> str:
        without_proof, _, proof = client_final.rpartition(",p=")
        channel, nonce = without_proof.split(",")
        name = self.flag[2:] if self.flag.startswith("p=") else ""
        expected = f"{self.flag},,".encode() + (self.bindings[name] if name else b"")
        if base64.b64decode(channel[2:]) != expected:
            raise Refused("channel-bindings-dont-match")
        if nonce != f"r={self.full_nonce}":
            raise Refused("other-error")
        message = f"{self.client_bare},{self.server_first},{without_proof}".encode()
        password = self.passwords[self.user].encode()
        salted = hashlib.pbkdf2_hmac(self.algorithm, password, self.salt, self.iterations)
        stored_key = hashlib.new(self.algorithm, self._hmac(salted, b"Client Key")).digest()
        signature = self._hmac(stored_key, message)
        client_key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if hashlib.new(self.algorithm, client_key).digest() != stored_key:
            raise Refused("invalid-proof")
        return "v=" + base64.b64encode(self._hmac(self._hmac(salted, b"Server Key"), message)).decode()

    def _hmac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self.algorithm).digest()
