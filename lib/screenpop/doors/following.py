"""What ties the events of a call together in Asterisk: variables of its channel, and a handler for its end.

SCREEN_POP_ID has the ids of the calls that popped on a channel, joined by "&". The channels that it dials inherit it:
so an event on one of those (`answered`, from `Dial(…,U(…))`) tells which call it follows. SCREEN_POP_OWN has those of
this channel alone: when it ends, only these calls have ended. Those that were answered before the channel pops again,
as after a transfer, have ended by then. SCREEN_POP_BEFORE tells which answer was there before the last pop.
"""

from __future__ import annotations

from ..call import Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

INHERITED, OWN, BEFORE = "SCREEN_POP_ID", "SCREEN_POP_OWN", "SCREEN_POP_BEFORE"
CONTEXT = "screen_pop"  # in the dialplan (extensions.conf.sample)
HANDLER = f"{CONTEXT},ended,1"
HAS_HANDLER = f"DIALPLAN_EXISTS({HANDLER})"
# of the channel; after Dial(), Queue() and VoiceMail()
TIMES = ("DIALEDTIME_MS", "ANSWEREDTIME_MS", "ANSWEREDTIME")
ANSWER = (BEFORE, *TIMES, "DIALSTATUS", "DIALEDPEERNAME", "ABANDONED", "MEMBERNAME")
OUTCOME = (*ANSWER, "QUEUESTATUS", "VMSTATUS")
RECORD = ("CDR(disposition)", "CDR(billsec)", "CDR(dstchannel)")  # of the call
MOST_IDS = 20  # of the last calls on one channel
_ID = frozenset("0123456789abcdef.-")


def begin(values: Mapping[str, str], call: Call) -> list[tuple[str, str]]:
    """A call comes. The variables that leave its id for later events, and register the handler once per channel, where
    there is one. `values`: of INHERITED, OWN, HAS_HANDLER and ANSWER; what is missing is not known.
    """
    own, inherited = _ids(values, OWN), _ids(values, INHERITED)
    if have_ended(values):
        inherited = [one for one in inherited if one not in own]
        made = [(OWN, call.id)]
    else:
        made = [(OWN, "&".join([*own, call.id][-MOST_IDS:]))]
    made.append((f"__{INHERITED}", "&".join([*inherited, call.id][-MOST_IDS:])))  # __: the dialled channels inherit it
    if not own and values.get(HAS_HANDLER) == "1":
        made.append(("CHANNEL(hangup_handler_push)", HANDLER))
    if _is_answered(values):
        made.append((BEFORE, f"{values.get('DIALEDPEERNAME', '')}&{_times(values)}"))
    return made


def have_ended(values: Mapping[str, str]) -> bool:
    """Whether calls have popped on the channel before, and been answered since. `values`: of OWN and ANSWER."""
    return bool(_ids(values, OWN)) and _is_answered(values)


def _is_answered(values: Mapping[str, str]) -> bool:
    """By Dial() or Queue(), since the last pop."""
    new = _since_pop(values)
    return new.get("DIALSTATUS") == "ANSWER" or bool(new.get("ANSWEREDTIME") and not new.get("ABANDONED"))


def _since_pop(values: Mapping[str, str]) -> dict[str, str]:
    """The values, without an answer that was there when the channel popped last. Dial() and Queue() each leave what the
    other has set; only the times are set by both.
    """
    new = dict(values)
    peer, _, times = values.get(BEFORE, "").rpartition("&")
    if peer and values.get("DIALEDPEERNAME") == peer:
        new["DIALSTATUS"] = new["DIALEDPEERNAME"] = ""
    if _times(values) == times:
        new["ANSWEREDTIME"] = new["ANSWEREDTIME_MS"] = ""
    return new


def end_before(values: Mapping[str, str], call: Call) -> Call:
    """The end of the calls that popped on the channel before this one, and that were answered. `values`: of OWN, and
    those of find_outcome. A transfer leaves the number that was dialled first.
    """
    ended = Call(
        follows="&".join(_ids(values, OWN)),
        number=call.number,
        name=call.name,
        presentation=call.presentation,
        withheld=call.withheld,
        dnid=call.dnid,
        extension=call.dnid,
        context=call.context,
        channel=call.channel,
        uniqueid=call.uniqueid,
        cidname=call.cidname,
    )
    find_outcome(values, ended)
    return ended


def describe(values: Mapping[str, str], call: Call) -> None:
    """A later event: which calls it follows, and who has answered. `values`: of INHERITED and OWN."""
    own = _ids(values, OWN)
    call.follows = "&".join(own or _ids(values, INHERITED))
    if call.event == "answered" and not own:  # on the channel that has answered
        call.peer = _user(call.channel)
        call.number = call.name = call.cidname = ""  # they are not the caller's


def needs_record(values: Mapping[str, str]) -> bool:
    """Whether the outcome can't be known from OUTCOME alone."""
    new = _since_pop(values)
    return new.get("DIALSTATUS") != "ANSWER" or not new.get("ANSWEREDTIME")


def find_outcome(values: Mapping[str, str], call: Call) -> None:
    """What has become of the calls that have ended. `values`: of OUTCOME, and of RECORD if that is needed."""
    known = {**dict.fromkeys((*OUTCOME, *RECORD), ""), **_since_pop(values)}
    dialled, seconds = known["DIALSTATUS"], known["ANSWEREDTIME"]
    disposition = "" if dialled else known["CDR(disposition)"]
    if dialled == "ANSWER" or _is_answered_otherwise(known, disposition):
        seconds = seconds or known["CDR(billsec)"]
        call.event = "answered"
        is_cut = known["ANSWEREDTIME_MS"] == "0"  # by a transfer: Queue() begins with this
        call.talked = float(seconds) if seconds.isdecimal() and not is_cut else -1.0
        call.peer = _user(known["DIALEDPEERNAME"]) if dialled == "ANSWER" else _member(known)
    elif known["VMSTATUS"] == "SUCCESS":
        call.event = "voicemail"
    else:
        call.event = "busy" if "BUSY" in (dialled, disposition) else "missed"


def _is_answered_otherwise(known: Mapping[str, str], disposition: str) -> bool:
    """By a queue, also after a Dial() that nobody answered; or by the dialplan itself, with Answer(), a conference, ….

    Queue() sets no DIALSTATUS. It sets ANSWEREDTIME, to 0 with ABANDONED when nobody answered; a Dial() that nobody
    answered empties ANSWEREDTIME. QUEUESTATUS stays when a second queue answers. The call's record is ANSWERED as soon
    as anything has answered: also an announcement before a queue or a phone, or the voicemail.
    """
    if known["ANSWEREDTIME"]:
        return not known["ABANDONED"]
    tried = any(known[name] for name in ("DIALSTATUS", "QUEUESTATUS", "ABANDONED", "VMSTATUS"))
    return disposition == "ANSWERED" and not tried


def _member(known: Mapping[str, str]) -> str:
    """Of a queue: MEMBERNAME is set if queues.conf has setinterfacevar, and is a name, or a channel without number."""
    member = known["MEMBERNAME"]
    return _user(f"{member}-") or member or _user(known["CDR(dstchannel)"])


def _times(values: Mapping[str, str]) -> str:
    return "/".join(values.get(name, "") for name in TIMES)


def _ids(values: Mapping[str, str], variable: str) -> list[str]:
    ids = values.get(variable, "").split("&")
    return [one for one in ids if 0 < len(one) <= 40 and _ID.issuperset(one)][-MOST_IDS:]


def _user(channel: str) -> str:
    """`bob` of `PJSIP/bob-0000002a`, `201` of `Local/201@phones-00000001;2`."""
    name = channel.partition("/")[2]
    return (name.rpartition("-")[0] or name).partition("@")[0]
