"""The XML stream: xmpppy's Client and Dispatcher with a deadline for each wait and limits on what a server may send."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any
from xml.parsers.expat import ExpatError

from ..call import uptime
from ..text import clean
from .errors import LOG_ADVICE, SeeOtherHost, SessionError, lost
from .limits import Meter, Unacceptable
from .xmpppy import dispatcher, protocol, xmpp

PIECE = 4096  # bytes that are parsed before the deadline is checked again
NO_XMPP_ADVICE = "is that an XMPP server?"
_ADVICE = {
    # stream errors (RFC 6120 section 4.9.3)
    "conflict": "is another box signed in with a copy of this outbox? Remove the file resource in one of the two. Or"
    " has the account more sessions than the server allows (ejabberd: max_user_sessions)?",
    "host-gone": "check the domain of [xmpp] jid",
    "host-unknown": "check the domain of [xmpp] jid",
    "resource-constraint": "the server is overloaded, or the account has too many sessions; look into its log",
    "system-shutdown": "start the server again",
}


_WITHOUT_A_REASON = {
    "closed": "the server closed the stream",
    "undefined-condition": "the server closed the stream with an error that it doesn't name",
}


class _StreamError(Exception):
    """Ends the parsing: a stream error is the last element of a stream."""


class Dispatcher(dispatcher.Dispatcher):  # type: ignore[misc] # xmpppy looks its plug-ins up by the name of their class
    """xmpppy's Dispatcher with limits. It stores a stream error instead of raising it inside the parser."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter()
        self.incomplete_tag = b""  # the rest of it has not arrived yet

    def plugin(self, owner: Any) -> None:
        # xmpppy calls these two only if the class itself defines them
        super().plugin(owner)

    def plugout(self) -> None:
        super().plugout()

    def StreamInit(self) -> None:
        super().StreamInit()
        parser = self.Stream._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.Stream.stream_footer_received = self._closed

    def _check_stream_start(self, namespace: str, tag: str, attributes: object) -> None:
        if (namespace, tag) != (protocol.NS_STREAMS, "stream"):
            raise Unacceptable(f"something that is not XMPP: it begins with <{clean(tag, limit=40)}>", NO_XMPP_ADVICE)

    def _refuse_doctype(self, *declaration: object) -> None:
        raise Unacceptable("a document type declaration, which XMPP forbids", NO_XMPP_ADVICE)  # RFC 6120 section 11.1

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.meter.start(attributes)
        self.Stream.starttag(tag, attributes)

    def _end(self, tag: str) -> None:
        if self.meter.depth == 2 and tag.rpartition(":")[2] == "error":
            self._store_error(self.Stream.getDom())
            raise _StreamError
        self.Stream.endtag(tag)
        self.meter.end()

    def _store_error(self, error: Any) -> None:
        tags = [tag for tag in error.getChildren() if tag and tag.getNamespace() == protocol.NS_XMPP_STREAMS]
        condition = next((tag for tag in tags if tag.getName() != "text"), None)
        name = condition.getName() if condition else "undefined-condition"
        text = condition.getData() if condition and name == "see-other-host" else error.getTagData("text")
        self._owner.stream_error = (clean(name), clean(text or "", limit=300))

    def _closed(self) -> None:
        self._owner.stream_error = self._owner.stream_error or ("closed", "")

    def receive(self) -> None:
        """Read and handle what has arrived. Raises OSError, Unacceptable, and errors of the parser or of xmpppy."""
        data = self._owner.Connection.receive()
        if data:
            self._owner.last_received = uptime()
        with contextlib.suppress(_StreamError):
            for start in range(0, len(data), PIECE):
                if start and time.monotonic() > self._owner.deadline:
                    raise TimeoutError("the server sends more than can be read in time")
                self._parse(data[start : start + PIECE])

    def _parse(self, data: bytes) -> None:
        self.meter.read(len(data))
        # Expat (2.6, and Debian's since 2024) delays a tag that arrives in two pieces; old Pythons can't prevent that.
        data = self.incomplete_tag + data
        start = data.rfind(b"<")
        complete = start if start > data.rfind(b">") else len(data)
        self.incomplete_tag = data[complete:]
        self.Stream.Parse(data[:complete])
        self.meter.know(self.Stream._parser.intern)
        if self._pendingExceptions:  # xmpppy stores what its handlers raise
            raise self._pendingExceptions.pop()[1]


class Client(xmpp.Client):  # type: ignore[misc] # xmpppy compares the name of this class, too
    """One stream. Every method that waits raises SessionError at `deadline` (a time of `time.monotonic()`)."""

    def __init__(self, domain: str) -> None:
        super().__init__(domain, debug=[])
        self.DEBUG = self._discard  # xmpppy's own formats each line, including passwords, and then drops it
        self.deadline = 0.0
        self.last_received = uptime()  # when the server last sent something
        self.stream_error: tuple[str, str] | None = None  # condition, text (RFC 6120 section 4.9)

    def _discard(self, *words: object) -> None:
        pass

    def start_stream(self) -> None:
        """Open or restart the stream, and wait for the server's features."""
        if "Dispatcher" in self.__dict__:
            self.Dispatcher.PlugOut()
        with self.sending("stream"):
            Dispatcher().PlugIn(self)
        self.wait(lambda: self.features, "stream")

    def signed_in(self) -> None:
        """From now on the limits for a signed-in session apply."""
        self.Dispatcher.meter.signed_in = True

    @property
    def features(self) -> Any:
        return self.Dispatcher.Stream.features

    def has_feature(self, name: str, namespace: str) -> Any:
        return self.features.getTag(name, namespace=namespace)

    def wait(self, condition: Callable[[], Any], step: str) -> None:
        """Handle what arrives until the condition is true."""
        while not condition():  # also true if the server ended the stream right after what is waited for
            self._raise_stream_error(step)
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise SessionError(step, "the server doesn't answer", LOG_ADVICE)
            self._receive(left, step)

    def process(self, seconds: float, step: str) -> None:
        """Handle what arrives; wait for it at most `seconds`."""
        self._raise_stream_error(step)
        self._receive(seconds, step)
        self._raise_stream_error(step)

    def _receive(self, seconds: float, step: str) -> None:
        try:
            if not self.Connection.pending_data(seconds):
                return
            self.Dispatcher.receive()
        except OSError as error:
            raise SessionError(step, lost(error), LOG_ADVICE) from error
        except Unacceptable as error:
            raise SessionError(step, f"the server sends {error.what}", error.advice) from error
        except Exception as error:  # what the server sent made Expat or xmpppy fail
            why = "it is not well-formed XML" if isinstance(error, ExpatError) else "its XML makes no sense"
            advice = NO_XMPP_ADVICE if step == "stream" else LOG_ADVICE
            raise SessionError(step, f"the server sends something that is not XMPP: {why}", advice) from error

    def _raise_stream_error(self, step: str) -> None:
        if not self.stream_error:
            return
        condition, text = self.stream_error
        if condition == "see-other-host":
            raise SeeOtherHost(step, str(self.Connection.host), text)
        what = _WITHOUT_A_REASON.get(condition, f"the server says {condition}")
        raise SessionError(step, f"{what}: {text}" if text else what, _ADVICE.get(condition, LOG_ADVICE))

    @contextlib.contextmanager
    def sending(self, step: str) -> Iterator[None]:
        """While something is sent: a lost connection becomes SessionError."""
        try:
            yield
        except OSError as error:
            raise SessionError(step, lost(error), LOG_ADVICE) from error

    def request(self, iq: Any, step: str) -> Any:
        """Send an iq and return its response, a result or an error."""
        responses = self.begin_request(iq, step)
        self.wait(lambda: responses, step)
        return responses[0]

    def begin_request(self, iq: Any, step: str) -> list[Any]:
        """Send an iq. Its response will be added to the list."""
        responses: list[Any] = []
        iq.setID(os.urandom(8).hex())  # random, so that nobody else can send the response
        self.Dispatcher._expected[iq.getID()] = (lambda _, response: responses.append(response), {})
        with self.sending(step):
            self.send(iq)
        return responses


def stanza_error(stanza: Any) -> tuple[str, str, str]:
    """Type, condition and text of an error stanza (RFC 6120 section 8.3); the type is "cancel" if it has none."""
    error = stanza.getTag("error")
    tags = [tag for tag in error.getChildren() if tag] if error else []
    condition = next((tag.getName() for tag in tags if tag.getName() != "text"), "undefined-condition")
    text = next((tag.getData() for tag in tags if tag.getName() == "text"), "")
    return (error.getAttr("type") if error else None) or "cancel", condition, text
