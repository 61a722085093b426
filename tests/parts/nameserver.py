"""A DNS server for the tests, on a UDP port of loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Records = Mapping[tuple[str, str], Sequence[str]]


class Nameserver:
    """`records` as in a zone file: {("_xmpp-client._tcp.screenpop.test", "SRV"): ["5 0 5222 xmpp.screenpop.test."]}.

    The answer for an unknown name is NXDOMAIN. `fault` is None, "silent" or "servfail", and may be changed.
    """

    host = "127.0.0.1"

    def __init__(self, records: Records, fault: str | None = None) -> None:
        self.records = records
        self.fault = fault
        self.questions: list[tuple[str, str]] = []

    def __enter__(self) -> Nameserver:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name="nameserver")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", (self.host, self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            datagram, client = self._socket.recvfrom(65535)
            if not datagram:  # from __exit__
                return
            answer = self._answer(dns.message.from_wire(datagram))
            if self.fault != "silent":
                self._socket.sendto(answer.to_wire(), client)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        if self.fault == "servfail":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self.records:
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, self.records[name, kind]))
        elif name not in {known for known, _ in self.records}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer
