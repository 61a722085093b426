"""The XML stream: xmpppy's Client and Dispatcher with a deadline on each wait, and bounds on what a server may send."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from ..call import uptime
from ..text import clean
from .errors import SeeOtherHost, SessionError
from .xmpppy import dispatcher, protocol, xmpp

_ADVICE = {
    "host-unknown": "check the domain of [xmpp] jid",
    "conflict": "is another box signed in with a copy of this outbox? Remove the file resource in one of the two",
}
LONGEST_STANZA = 262_144  # bytes; servers bound theirs at that or less (Prosody, c2s_stanza_size_limit)


class Dispatcher(dispatcher.Dispatcher):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """xmpppy's Dispatcher, that keeps a stream error instead of raising it from within the parser."""

    def __init__(self) -> None:
        super().__init__()
        self.unfinished = 0  # bytes since the last stanza
        self.tag = b""  # the beginning of one that hasn't come to its end

    def plugin(self, owner: Any) -> None:
        # xmpppy calls these two only when they stand in the class itself
        super().plugin(owner)

    def plugout(self) -> None:
        super().plugout()

    def StreamInit(self) -> None:
        super().StreamInit()
        self.Stream._parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.Stream.stream_footer_received = self._end

    def _refuse_doctype(self, *declaration: object) -> None:
        raise ValueError("a document type declaration")  # RFC 6120 section 11.1

    def _end(self) -> None:
        self._owner.stream_error = self._owner.stream_error or ("closed", "")

    def dispatch(self, stanza: Any, session: Any = None, direct: int = 0) -> None:
        self.unfinished = 0
        super().dispatch(stanza, session, direct)

    def receive(self) -> None:
        """Read what is there and handle it. Raises OSError, or whatever the parser makes of it."""
        data = self._owner.Connection.receive()
        if data:
            self._owner.heard = uptime()
        self.unfinished += len(data)
        # expat (2.6; Debian's since 2024) keeps the second half of a tag for later, which old Pythons can't change
        data = self.tag + data
        start = data.rfind(b"<")
        whole = start if start > data.rfind(b">") else len(data)
        self.tag = data[whole:]
        self.Stream.Parse(data[:whole])
        if self._pendingExceptions:  # xmpppy keeps what its handlers raise
            raise self._pendingExceptions.pop()[1]
        if self.unfinished > LONGEST_STANZA:
            raise ValueError("a stanza without an end")

    def streamErrorHandler(self, conn: Any, error: Any) -> None:
        tags = [tag for tag in error.getChildren() if tag and tag.getNamespace() == protocol.NS_XMPP_STREAMS]
        condition = next((tag for tag in tags if tag.getName() != "text"), None)
        name = condition.getName() if condition else "undefined-condition"
        said = condition.getData() if condition and name == "see-other-host" else error.getTagData("text")
        self._owner.stream_error = (name, clean(said or "", limit=300))
        raise protocol.NodeProcessed


class Client(xmpp.Client):  # type: ignore[misc] # xmpppy compares the name of this class, too
    """One stream. All that waits does so until `deadline` (as `time.monotonic()`), and raises SessionError."""

    def __init__(self, domain: str) -> None:
        super().__init__(domain, debug=[])
        self.DEBUG = self._say_nothing  # formats each line before it finds that nobody wants it, passwords among them
        self.deadline = 0.0
        self.heard = uptime()  # when something last came from the server
        self.stream_error: tuple[str, str] | None = None  # condition, text (RFC 6120 section 4.9)

    def _say_nothing(self, *words: object) -> None:
        pass

    def start_stream(self) -> None:
        """Open the stream, or begin it again, and wait for the server's features."""
        if "Dispatcher" in self.__dict__:
            self.Dispatcher.PlugOut()
        with self.sending("stream"):
            Dispatcher().PlugIn(self)
        self.wait(lambda: self.features, "stream")

    @property
    def features(self) -> Any:
        return self.Dispatcher.Stream.features

    def has_feature(self, name: str, namespace: str) -> Any:
        return self.features.getTag(name, namespace=namespace)

    def wait(self, condition: Callable[[], Any], step: str) -> None:
        """Handle what comes in until the condition holds."""
        while not condition():
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise SessionError(step, "the server doesn't answer", "look into its log")
            self.process(left, step)

    def process(self, seconds: float, step: str) -> None:
        """Handle what comes in; wait that long for something."""
        try:
            if not self.Connection.pending_data(seconds):
                return
            self.Dispatcher.receive()
        except OSError as error:
            what = error.strerror or str(error) or "the connection is lost"
            raise SessionError(step, what, "look into the server's log") from error
        except Exception as error:  # whatever comes out of the parser is the server's doing
            what = f"what the server sends is not XMPP: {error}"
            raise SessionError(step, what, "is that an XMPP server?") from error
        if self.stream_error:
            condition, text = self.stream_error
            if condition == "see-other-host":
                raise SeeOtherHost(step, text)
            what = "the server closed the stream" if condition == "closed" else f"the server says {condition}"
            advice = _ADVICE.get(condition, "look into its log")
            raise SessionError(step, f"{what}: {text}" if text else what, advice)

    @contextlib.contextmanager
    def sending(self, step: str) -> Iterator[None]:
        """For what sends: a connection that is lost becomes SessionError."""
        try:
            yield
        except OSError as error:
            raise SessionError(step, error.strerror or str(error), "look into the server's log") from error

    def ask(self, iq: Any, step: str) -> Any:
        """The answer to an iq, be it result or error."""
        answers: list[Any] = []
        iq.setID(os.urandom(8).hex())  # not to be guessed: nobody else may answer
        self.Dispatcher._expected[iq.getID()] = (lambda _, answer: answers.append(answer), {})
        with self.sending(step):
            self.send(iq)
        self.wait(lambda: answers, step)
        return answers[0]


def stanza_error(stanza: Any) -> tuple[str, str, str]:
    """Type, condition and text of an error stanza (RFC 6120 section 8.3); type is "cancel" where there is none."""
    error = stanza.getTag("error")
    tags = [tag for tag in error.getChildren() if tag] if error else []
    condition = next((tag.getName() for tag in tags if tag.getName() != "text"), "undefined-condition")
    text = next((tag.getData() for tag in tags if tag.getName() == "text"), "")
    return (error.getAttr("type") if error else None) or "cancel", condition, text
