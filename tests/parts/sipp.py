"""SIP calls by sipp: callers behind a trunk, and phones. Asterisk tells them apart by their loopback addresses."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

ASTERISK, TRUNK = "127.0.0.1", "127.0.0.2"  # the phones have the next ones
TRANSFERRED_TO = "202"
PATIENCE = 30  # seconds for a call
MODULES = """
res_timing_timerfd res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb res_pjsip res_pjsip_pubsub
res_pjsip_session res_pjsip_sdp_rtp res_pjsip_caller_id res_pjsip_endpoint_identifier_ip res_pjsip_authenticator_digest
res_pjsip_refer res_rtp_asterisk chan_pjsip
bridge_simple bridge_holding bridge_builtin_features func_cdr func_dialplan app_queue app_voicemail format_gsm codec_gsm
"""
SDP = """
v=0
o=- 1 1 IN IP4 [media_ip]
s=-
c=IN IP4 [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000"""


def send(*lines: str, sdp: bool = False, again: bool = False) -> str:
    """`again`: until there is an answer."""
    head = [*lines, "Contact: <sip:sipp@[local_ip]:[local_port]>", "Content-Length: [len]"]
    head += ["Content-Type: application/sdp", SDP] if sdp else ["\n"]
    attribute = ' retrans="500"' if again else ""
    text = "\n".join(head)
    return f"<send{attribute}><![CDATA[\n{text}\n]]></send>\n"


def receive(*what: object) -> str:
    """The last of these requests and responses, perhaps after some of the others."""
    kinds = [f'{"response" if isinstance(one, int) else "request"}="{one}"' for one in what]
    optional = [f'<recv {kind} optional="true"/>\n' for kind in kinds[:-1]]
    return "".join([*optional, f"<recv {kinds[-1]}/>\n"])


def pause(seconds: float) -> str:
    return f'<pause milliseconds="{seconds * 1000:.0f}"/>\n'


def of_caller(method: str, cseq: int, branch: str, sdp: bool = False) -> str:
    """A request; CALLER is put in."""
    tag = "" if method in ("INVITE", "CANCEL") else "[peer_tag_param]"
    return send(
        f"{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0",
        f"Via: SIP/2.0/UDP [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-{branch}",
        "From: CALLER;tag=[pid]-[call_number]",
        f"To: <sip:[service]@[remote_ip]:[remote_port]>{tag}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {method}",
        "Max-Forwards: 70",
        sdp=sdp,
        again=method != "ACK",
    )


def of_phone(method: str, *lines: str) -> str:
    """A request in the call; 1 and 2 are the caller's and the phone's header (NOTE)."""
    return send(
        f"{method} sip:asterisk@[remote_ip]:[remote_port] SIP/2.0",
        "Via: SIP/2.0/UDP [local_ip]:[local_port];branch=[branch]",
        "From:[$2]",
        "To:[$1]",
        "Call-ID: [call_id]",
        f"CSeq: 1 {method}",
        "Max-Forwards: 70",
        *lines,
        again=True,
    )


def reply(status: str, cseq: str = "[last_CSeq:]", tag: str = "", sdp: bool = False) -> str:
    lines = (f"SIP/2.0 {status}", "[last_Via:]", "[last_From:]", f"[last_To:]{tag}", "[last_Call-ID:]", cseq)
    return send(*lines, sdp=sdp, again=sdp or "INVITE" in cseq)


INVITE = of_caller("INVITE", 1, "invite", sdp=True)
ANSWERED = INVITE + receive(100, 180, 183, 200) + of_caller("ACK", 1, "ack")
BYE = of_caller("BYE", 2, "bye") + receive(200)
CANCEL = of_caller("CANCEL", 1, "invite") + receive(200)
OTHER_FAILURES = "".join(f'<recv response="{status}" optional="true" next="1"/>\n' for status in (480, 486, 503))
IS_REFUSED = OTHER_FAILURES + receive(100, 180, 183, 603) + '<label id="1"/>\n'
IS_HUNG_UP_ON = receive("BYE") + reply("200 OK")
NEW = ";tag=[pid]-[call_number]"
RINGS = receive("INVITE") + reply("180 Ringing", tag=NEW)
OK = reply("200 OK", cseq="CSeq: [cseq] INVITE", tag=NEW, sdp=True)
ANSWERS = RINGS + OK
NOTE = """<recv request="ACK"><action>
<ereg regexp=".*" search_in="hdr" header="From:" assign_to="1"/>
<ereg regexp=".*" search_in="hdr" header="To:" assign_to="2"/>
</action></recv>
"""
FINAL = "CSeq: [cseq] INVITE"

# {} is a pause
CALLERS = {
    "talks": ANSWERED + "PAUSE" + BYE,
    "speaks": ANSWERED + '<nop><action><exec rtp_stream="voice.ulaw,-1,0"/></action></nop>' + "PAUSE" + BYE,
    "is hung up on": ANSWERED + IS_HUNG_UP_ON,
    "cancels": INVITE + receive(100, 180) + "PAUSE" + CANCEL + receive(487) + of_caller("ACK", 1, "invite"),
    "cancels while the script runs": INVITE
    + receive(100)
    + "PAUSE"
    + CANCEL
    + receive(180, 487)
    + of_caller("ACK", 1, "invite"),
    "is refused": INVITE + IS_REFUSED + of_caller("ACK", 1, "invite"),
}
PHONES = {
    "answers": ANSWERS + receive("ACK") + IS_HUNG_UP_ON,
    "answers late": RINGS + pause(0.5) + OK + receive("ACK") + IS_HUNG_UP_ON,
    "hangs up": ANSWERS + NOTE + pause(1) + of_phone("BYE") + receive(200),
    "rings": RINGS
    + receive("CANCEL")
    + reply("200 OK", tag=NEW)
    + reply("487 Request Terminated", FINAL, NEW)
    + receive("ACK"),
    "is busy": receive("INVITE") + reply("486 Busy Here", FINAL, NEW) + receive("ACK"),
    f"transfers to {TRANSFERRED_TO}": ANSWERS
    + NOTE
    + pause(1)
    + of_phone("REFER", f"Refer-To: <sip:{TRANSFERRED_TO}@[remote_ip]>")
    + receive(202)
    + IS_HUNG_UP_ON,
}


class Sipp:
    """`phones`: by name, what each does with a call (PHONES). On exit, all are ended."""

    def __init__(self, folder: Path, phones: Mapping[str, str]) -> None:
        self.folder = folder
        (folder / "voice.ulaw").write_bytes(bytes(range(256)) * 16)
        self.port = free_udp_port(ASTERISK)
        self._numbers = itertools.count(1)
        self._running: list[subprocess.Popen[bytes]] = []
        self._phones = {name: (f"127.0.0.{number}", what) for number, (name, what) in enumerate(phones.items(), 3)}
        self._ports = {name: free_udp_port(address) for name, (address, _) in self._phones.items()}

    def configuration(self, context: str) -> dict[str, str]:
        """Of chan_pjsip; a call of the trunk comes into this context of the dialplan, one of a phone into `phones`."""
        endpoint = "type = endpoint\ndisallow = all\nallow = ulaw\ndirect_media = no\n"
        text = f"[udp]\ntype = transport\nprotocol = udp\nbind = {ASTERISK}:{self.port}\n"
        text += f"[trunk]\n{endpoint}context = {context}\n[trunk]\ntype = identify\nendpoint = trunk\nmatch = {TRUNK}\n"
        for name, (address, _) in self._phones.items():
            text += f"[{name}]\n{endpoint}context = {context}\naors = {name}\n"
            text += f"[{name}]\ntype = aor\ncontact = sip:{name}@{address}:{self._ports[name]}\n"
            text += f"[{name}]\ntype = identify\nendpoint = {name}\nmatch = {address}\n"
        return {"pjsip.conf": text, "modules.conf": "".join(f"load = {name}.so\n" for name in MODULES.split())}

    def call(self, does: str, extension: str, number: str, name: str = "", seconds: float = 1) -> Caller:
        """A call begins. `does`: what the caller does (CALLERS); `seconds`: for how long."""
        caller = f'"{name}" <sip:{number}@{TRUNK}>' if name else f"<sip:{number}@{TRUNK}>"
        scenario = CALLERS[does].replace("PAUSE", pause(seconds)).replace("CALLER", caller)
        made = self._start(scenario, TRUNK, free_udp_port(TRUNK), "-s", extension, "-m", "1")
        return Caller(*made)

    def _start(self, scenario: str, address: str, port: int, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
        number = next(self._numbers)
        file, errors = self.folder / f"{number}.xml", self.folder / f"{number}.log"
        file.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<scenario name="{number}">\n{scenario}</scenario>\n')
        media = f"127.1.{number // 256}.{number % 256}"  # one each: sipp takes the ports behind that for RTP, too
        command = ["setpriv", "--pdeathsig", "KILL", "sipp", "-sf", str(file), "-i", address, "-p", str(port)]
        command += ["-mi", media, "-mp", str(free_udp_port(media))]
        command += ["-nostdin", "-aa", "-trace_err", "-error_file", str(errors), *options, f"{ASTERISK}:{self.port}"]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "TERM": "dumb"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._running.append(process)
        return process, errors

    def __enter__(self) -> Sipp:
        for name, (address, what) in self._phones.items():
            self._start(PHONES[what], address, self._ports[name])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
            process.wait()


class Caller:
    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self._process, self._errors = process, errors

    def end(self) -> None:
        """Wait for the end of the call, which must go as planned."""
        status = self._process.wait(PATIENCE)
        assert status == 0, f"sipp: status {status}\n{self._errors.read_text() if self._errors.exists() else ''}"


def free_udp_port(address: str) -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
