"""What ties the events of a call together in Asterisk: variables of its channel, and a handler for its end.

SCREEN_POP_ID has the ids of the calls that popped on a channel, joined by "&". The channels that it dials inherit it:
so an event on one of those (`answered`, from `Dial(…,U(…))`) tells which call it follows. SCREEN_POP_OWN has those of
this channel alone: when it ends, only these calls have ended.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..call import Call
    from .conversation import AGI

INHERITED, OWN = "SCREEN_POP_ID", "SCREEN_POP_OWN"
CONTEXT = "screen_pop"  # in the dialplan (extensions.conf.sample)
HANDLER = f"{CONTEXT},ended,1"
MOST_IDS = 20  # of the last calls on one channel
_ID = frozenset("0123456789abcdef.-")


def begin(agi: AGI, call: Call) -> None:
    """A call comes. Leave its id for later events, and register the handler once per channel, where there is one."""
    own = _ids(agi, OWN)
    ids = [*_ids(agi, INHERITED), call.id]
    agi.attempt(agi.set_variable, f"__{INHERITED}", "&".join(ids[-MOST_IDS:]))  # __: the dialled channels inherit it
    agi.attempt(agi.set_variable, OWN, "&".join([*own, call.id][-MOST_IDS:]))
    if not own and agi.value(f"DIALPLAN_EXISTS({HANDLER})") == "1":
        agi.attempt(agi.set_variable, "CHANNEL(hangup_handler_push)", HANDLER)


def describe(agi: AGI, call: Call) -> None:
    """A later event: which calls it follows, and what became of them."""
    own = _ids(agi, OWN)
    call.follows = "&".join(own or _ids(agi, INHERITED))
    if call.event == "answered" and not own:  # on the channel that has answered
        call.peer = _user(call.channel)
    elif call.event == "ended":
        _find_outcome(agi, call)


def _find_outcome(agi: AGI, call: Call) -> None:
    dialled, seconds = agi.value("DIALSTATUS"), agi.value("ANSWEREDTIME")
    disposition = "" if dialled else agi.value("CDR(disposition)")
    if dialled == "ANSWER" or _is_answered_otherwise(agi, dialled, seconds, disposition):
        seconds = seconds or agi.value("CDR(billsec)")
        call.event = "answered"
        call.talked = float(seconds) if seconds.isdecimal() else -1.0
        call.peer = _user(agi.value("DIALEDPEERNAME")) if dialled == "ANSWER" else _member(agi)
    elif agi.value("VMSTATUS") == "SUCCESS":
        call.event = "voicemail"
    else:
        call.event = "busy" if "BUSY" in (dialled, disposition) else "missed"


def _is_answered_otherwise(agi: AGI, dialled: str, seconds: str, disposition: str) -> bool:
    """By a queue, also after a Dial() that nobody answered; or by the dialplan itself, with Answer(), a conference, ….

    Queue() sets no DIALSTATUS. It sets ANSWEREDTIME, to 0 with ABANDONED when nobody answered; a Dial() that nobody
    answers empties ANSWEREDTIME. QUEUESTATUS stays when a second queue answers. The call's record is ANSWERED as soon
    as anything has answered: also an announcement before a queue or a phone, or the voicemail.
    """
    if seconds:
        return not agi.value("ABANDONED")
    tried = dialled or agi.value("QUEUESTATUS") or agi.value("ABANDONED") or agi.value("VMSTATUS")
    return disposition == "ANSWERED" and not tried


def _member(agi: AGI) -> str:
    """Of a queue: MEMBERNAME is set if queues.conf has setinterfacevar, and is a name, or a channel without number."""
    member = agi.value("MEMBERNAME")
    return _user(f"{member}-") or member or _user(agi.value("CDR(dstchannel)"))


def _ids(agi: AGI, variable: str) -> list[str]:
    ids = agi.value(variable).split("&")
    return [one for one in ids if 0 < len(one) <= 40 and _ID.issuperset(one)][-MOST_IDS:]


def _user(channel: str) -> str:
    """`bob` of `PJSIP/bob-0000002a`, `201` of `Local/201@phones-00000001;2`."""
    name = channel.partition("/")[2]
    return (name.rpartition("-")[0] or name).partition("@")[0]
