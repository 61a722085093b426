#!/usr/bin/env python3
"""Asterisk's side of AGI, without Asterisk: runs a script as res_agi.c does, and replies to its commands.

For tests:

    result = Channel(callerid="+15551234567", variables={"X": "1"}).run(["./screen_pop.py", "+15551234567"])
    assert result.agistatus == "SUCCESS" and result.variables["SCREEN_POP_STATUS"] == "QUEUED"

By hand, it shows the whole conversation:

    tests/fake_agi.py --callerid +15551234567 --name "Ann Example" ./screen_pop.py

As AGI() in a dialplan, it also accepts the address of a FastAGI server, agi://HOST:PORT/SCRIPT, instead of a script.
tests/asterisk/test_harness_is_faithful.py shows that a real Asterisk 22 replies in the same way.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from parts.agi_commands import CommandState, answer
from parts.agi_peers import AST_ENVIRONMENT, FastAgi, PeerTimeout, Script

Text = Union[str, bytes]  # a caller ID can be any bytes; here they are text with surrogate escapes
TO_SCRIPT, FROM_SCRIPT = ">", "<"  # as `agi set debug on` marks them: AGI Tx >>, AGI Rx <<


class ScriptTimeout(AssertionError):
    """The script exceeded its time and was killed. The text has the conversation."""


@dataclass
class Result:
    conversation: list[tuple[str, str]]
    variables: dict[str, str]
    verbose: list[str]
    executed: list[tuple[str, str]]
    status: int | None  # exit status, negative for a signal; None when no process was started
    agistatus: str
    held: float  # seconds that the dialplan waited
    stderr: bytes


class Channel:
    """A channel on which AGI() can run, also several times. It keeps what the commands change."""

    def __init__(
        self,
        *,
        callerid: Text | None = None,
        calleridname: Text | None = None,
        callingpres: int = 0,
        callingani2: int = 0,
        callington: int = 0,
        callingtns: int = 0,
        dnid: Text | None = None,
        rdnis: Text | None = None,
        context: Text = "default",
        extension: Text = "s",
        priority: int = 1,
        channel: Text = "PJSIP/trunk-00000001",
        uniqueid: Text = "1700000000.1",
        language: Text = "en",
        accountcode: Text = "",
        version: Text = AST_ENVIRONMENT["AST_VERSION"],
        variables: Mapping[str, Text] | None = None,
        applications: Mapping[str, int] | None = None,
        dialplan: Mapping[str, Collection[str]] | None = None,
        hungup: bool = False,
    ) -> None:
        """`variables`: also functions, by the name that reads them: {"CHANNEL(linkedid)": "1.1"}.
        `applications`: the results of EXEC, in addition to NoOp and Set: {"Playback": 0}.
        `dialplan`: the priorities and labels that exist: {"context,exten": ["1", "label"]}.
        `hungup`: the caller has hung up already, as in an `h` extension or a hangup handler."""
        self.callingpres = callingpres
        self.callingani2 = callingani2
        self.callington = callington
        self.callingtns = callingtns
        self.dnid = None if dnid is None else text(dnid)
        self.rdnis = None if rdnis is None else text(rdnis)
        self.language = text(language)
        self.accountcode = text(accountcode)
        self.version = text(version)
        self.state = CommandState(
            channel=text(channel),
            uniqueid=text(uniqueid),
            callerid=None if callerid is None else text(callerid),
            calleridname=None if calleridname is None else text(calleridname),
            context=text(context),
            extension=text(extension),
            priority=priority,
            variables={name: text(value) for name, value in (variables or {}).items()},
            applications=applications or {},
            dialplan=dialplan or {},
        )
        self.state.hung_up = hungup

    def dials(self, channel: Text, **known: Any) -> Channel:
        """A channel that Dial() makes: it inherits variables (ast_channel_inherit_variables)."""
        return Channel(channel=channel, variables=self.state.inherited, **known)

    def environment(self, argv: Sequence[str]) -> list[str]:
        """setup_env"""
        state = self.state
        return [
            f"agi_request: {argv[0]}",
            f"agi_channel: {state.channel}",
            f"agi_language: {self.language}",
            f"agi_type: {state.channel.partition('/')[0]}",
            f"agi_uniqueid: {state.uniqueid}",
            f"agi_version: {self.version}",
            f"agi_callerid: {known(state.callerid)}",
            f"agi_calleridname: {known(state.calleridname)}",
            f"agi_callingpres: {self.callingpres}",
            f"agi_callingani2: {self.callingani2}",
            f"agi_callington: {self.callington}",
            f"agi_callingtns: {self.callingtns}",
            f"agi_dnid: {known(self.dnid)}",
            f"agi_rdnis: {known(self.rdnis)}",
            f"agi_context: {state.context}",
            f"agi_extension: {state.extension}",
            f"agi_priority: {state.priority}",
            "agi_enhanced: 0.0",
            f"agi_accountcode: {self.accountcode}",
            f"agi_threadid: {threading.get_ident()}",
            *(f"agi_arg_{index}: {word}" for index, word in enumerate(argv[1:], start=1)),
            "",
        ]

    def run(
        self,
        command: Sequence[Text | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 30,
        hangup_after: int | None = None,
        hangup_at: str | None = None,
        hangup_when: int | None = None,
        show: Callable[[str, str], None] | None = None,
    ) -> Result:
        """Run AGI(script,arg,…). Returns when the dialplan would continue and the script has ended.

        The caller hangs up after `hangup_after` replies (0: after the environment), when a command that starts with
        `hangup_at` arrives ("env": after the environment), or when the descriptor `hangup_when` can be read. `env` is
        added to the environment. `show` is called with each line of the conversation.
        """
        argv = [word if isinstance(word, str) else text(os.fsencode(word)) for word in command]
        if hangup_at == "env":
            hangup_at, hangup_after = None, 0
        talk = Conversation(self, hangup_after, hangup_at, hangup_when, show)
        status: int | None = None
        started = time.monotonic()
        held = 0.0
        with tempfile.TemporaryFile() as stderr:
            try:
                until = started + timeout
                peer = FastAgi(argv[0], until) if is_fastagi(argv[0]) else Script(argv, env or {}, stderr, until)
            except FileNotFoundError:
                agistatus = "NOTFOUND"
            except OSError as why:
                agistatus = "FAILURE"
                stderr.write(f"{why}\n".encode())
            else:
                try:
                    agistatus = talk.hold(peer, self.environment(argv))
                    held = time.monotonic() - started
                    status = peer.wait()
                except PeerTimeout:
                    said = "\n".join(f"{direction} {line}" for direction, line in talk.lines)
                    raise ScriptTimeout(f"{argv[0]} was not done in {timeout} seconds:\n{said}") from None
                finally:
                    peer.close()
            stderr.seek(0)
            return Result(
                conversation=talk.lines,
                variables=dict(self.state.variables),
                verbose=list(self.state.verbose),
                executed=list(self.state.executed),
                status=status,
                agistatus=agistatus,
                held=held,
                stderr=stderr.read(),
            )


class Conversation:
    """run_agi: one run of a script on a channel."""

    def __init__(
        self,
        channel: Channel,
        hangup_after: int | None,
        hangup_at: str | None,
        hangup_when: int | None,
        show: Callable[[str, str], None] | None,
    ) -> None:
        self._state = channel.state
        self._hangup_after = hangup_after
        self._hangup_at = hangup_at
        self._hangup_when = hangup_when
        self._show = show
        self.lines: list[tuple[str, str]] = []

    def hold(self, peer: Script | FastAgi, environment: Sequence[str]) -> str:
        """Runs the conversation until the dialplan continues. Returns AGISTATUS."""
        state = self._state
        tells_hangup = state.variables.get("AGISIGHUP", "").lower() not in ("no", "false", "n", "f", "0", "off")
        exits_on_hangup = state.variables.get("AGIEXITONHANGUP", "").lower() in ("yes", "true", "y", "t", "1", "on")
        agistatus = "SUCCESS"
        dead = state.hung_up
        answered = 0
        pending: str | None = None
        for line in (*peer.preamble, *environment):
            self._say(peer, line)
        while True:
            state.hung_up |= answered == self._hangup_after
            if state.hung_up and not dead:
                dead = True
                agistatus = "HANGUP" if agistatus == "SUCCESS" else agistatus
                if tells_hangup:
                    peer.tell_hangup()
                if exits_on_hangup:
                    break
            if self._hangup_when is not None and not dead and not pending and peer.is_hung_up_on(self._hangup_when):
                state.hung_up = True
                continue
            line = pending or text(peer.read_line())
            if not line:
                if peer.wait() != 0 and agistatus == "SUCCESS":
                    agistatus = "FAILURE"
                break
            if self._hangup_at is not None and line.startswith(self._hangup_at) and not dead:
                state.hung_up, pending = True, line
                continue
            pending = None
            self._note(FROM_SCRIPT, line.rstrip("\n"))
            # Asterisk means the child that could not exec, but checks each line.
            if line[:7].lower() == "failure":
                agistatus = "FAILURE"
                break
            lines, failed = answer(state, line[:-1] if line.endswith("\n") else line, dead)
            for reply in lines:
                self._say(peer, reply)
            answered += 1
            # If a command failed because the caller hung up meanwhile, the next round sets AGISTATUS to HANGUP.
            if failed and (dead or not state.hung_up):
                agistatus = "FAILURE"
        if tells_hangup:
            peer.tell_hangup()
        peer.stop_talking()
        return agistatus

    def _say(self, peer: Script | FastAgi, line: str) -> None:
        self._note(TO_SCRIPT, line)
        peer.write(line.encode("utf-8", "surrogateescape") + b"\n")

    def _note(self, direction: str, line: str) -> None:
        self.lines.append((direction, line))
        if self._show:
            self._show(direction, line)


def text(value: Text) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def known(value: str | None) -> str:
    return value or "unknown"


def is_fastagi(script: str) -> bool:
    return script.lower().startswith("agi://")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Runs an AGI script as Asterisk does, and shows the conversation: > to the script, < from it."
    )
    parser.add_argument("--callerid", metavar="NUMBER")
    parser.add_argument("--name", help="the caller's name")
    parser.add_argument("--pres", type=int, default=0, metavar="N", help="presentation; 32: withheld")
    parser.add_argument("--dnid", metavar="NUMBER", help="the number dialled")
    parser.add_argument("--extension", default="s")
    parser.add_argument("--context", default="default")
    parser.add_argument("--variable", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    parser.add_argument("--hangup-after", type=int, metavar="N", help="the caller hangs up after N commands")
    parser.add_argument("--dead", action="store_true", help="the caller has hung up already")
    parser.add_argument("script", metavar="SCRIPT", help="a file, or agi://HOST:PORT/SCRIPT")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="ARG")
    options = parser.parse_args()
    if not is_fastagi(options.script):
        if not Path(options.script).is_file():
            sys.exit(f"There is no script {options.script}.")
        if not os.access(options.script, os.X_OK):
            sys.exit(f"{options.script} is not executable: chmod +x {options.script}")
    channel = Channel(
        callerid=options.callerid,
        calleridname=options.name,
        callingpres=options.pres,
        dnid=options.dnid,
        extension=options.extension,
        context=options.context,
        variables=dict(setting.partition("=")[::2] for setting in options.variable),
        hungup=options.dead,
    )
    try:
        result = channel.run(
            [options.script, *options.arguments],
            timeout=86400,
            hangup_after=options.hangup_after,
            show=lambda direction, line: print(
                direction, line.encode("utf-8", "surrogateescape").decode(errors="replace")
            ),
        )
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stderr.write(result.stderr.decode(errors="replace"))
    status = "" if result.status is None else f"exit status {result.status}, "
    print(f"{status}AGISTATUS {result.agistatus}, the call was held {result.held * 1000:.0f} ms")


if __name__ == "__main__":
    main()
