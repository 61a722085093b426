"""The AGI door: what ties a call's later events to its first one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from fake_agi import FROM_SCRIPT, Channel, Result
from parts.spool import calls, outbox
from screenpop.call import Call
from screenpop.spool.outbox import Outbox

__all__ = ["outbox"]

SCRIPT = str(Path(__file__).parents[2] / "screen_pop.py")

CONTEXT = {"screen_pop,ended": ["1"]}  # in the dialplan, as extensions.conf.sample has it
PUSH = 'SET VARIABLE "CHANNEL(hangup_handler_push)" "screen_pop,ended,1"'

# of a caller whom something has answered: a phone, an announcement, the voicemail
RECORD = {
    "CDR(disposition)": "ANSWERED",
    "CDR(billsec)": "9",
    "CDR(dstchannel)": "PJSIP/desk-phone-0000002a",
}
UNANSWERED_QUEUE = {"ANSWEREDTIME": "0", "DIALEDTIME": "2", "ABANDONED": "TRUE"}
ANSWERED = {"DIALSTATUS": "ANSWER", "DIALEDPEERNAME": "PJSIP/reception-00000001"}
UNANSWERED = {"DIALSTATUS": "NOANSWER", "DIALEDPEERNAME": "", "ANSWEREDTIME": "", "ANSWEREDTIME_MS": ""}


def run(outbox: Outbox, channel: Channel, *arguments: str, **how: Any) -> tuple[Call, Result]:
    """AGI(screen_pop.py,arguments…) on this channel: the one call that is queued by it, and what it says."""
    (call,), result = run_for_all(outbox, channel, *arguments, **how)
    return call, result


def run_for_all(outbox: Outbox, channel: Channel, *arguments: str, **how: Any) -> tuple[list[Call], Result]:
    """The same; an event before the new call."""
    before = {call.id for call in calls(outbox)}
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SCREEN_POP_SPOOL": outbox.path}
    result = channel.run([SCRIPT, *arguments], env=env, **how)
    assert (result.status, result.stderr) == (0, b"")
    assert result.variables["SCREEN_POP_STATUS"] == "QUEUED"
    queued = [call for call in calls(outbox) if call.id not in before]
    return sorted(queued, key=lambda call: call.event == "ringing"), result


def handlers(*results: Result) -> int:
    """How often a handler for the channel's end was registered."""
    return sum((FROM_SCRIPT, PUSH) in result.conversation for result in results)


def test_the_channel_has_the_id_of_its_call_and_one_handler(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    first, one = run(outbox, channel)
    second, two = run(outbox, channel)
    assert one.variables["SCREEN_POP_ID"] == first.id
    assert two.variables["SCREEN_POP_ID"] == f"{first.id}&{second.id}"
    assert (handlers(one), handlers(two)) == (1, 0)
    assert first.follows == second.follows == ""


def test_without_the_context_in_the_dialplan_no_handler_is_registered(outbox: Outbox) -> None:
    for dialplan in ({}, {"screen_pop,answered": ["1"]}, {"screen_pop,ended": ["2"]}):
        call, result = run(outbox, Channel(callerid="1", dialplan=dialplan))
        assert (handlers(result), result.variables["SCREEN_POP_ID"]) == (0, call.id)


def test_the_end_of_the_channel_follows_all_of_its_calls(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    first, second = (run(outbox, channel)[0] for _ in range(2))
    assert run(outbox, channel, "", "", "ended")[0].follows == f"{first.id}&{second.id}"


def test_the_end_of_a_dialled_channel_follows_its_own_calls_only(outbox: Outbox) -> None:
    """`Dial(Local/201@phones&Local/202@phones)`, each of which pops: the busy one must not end the others' pops."""
    channel = Channel(callerid="1", dialplan=CONTEXT)
    run(outbox, channel)
    local = channel.dials("Local/201@phones-00000001;2", callerid="1", dialplan=CONTEXT)
    popped, result = run(outbox, local)
    assert handlers(result) == 1
    assert run(outbox, local, "", "", "ended")[0].follows == popped.id


def test_who_answers_follows_the_calls_of_the_channel_that_dials(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    first, second = (run(outbox, channel)[0] for _ in range(2))
    phone = channel.dials("PJSIP/bob-0000002a").dials("PJSIP/bob-0000002b")
    answered, result = run(outbox, phone, "", "", "answered")
    assert (answered.event, answered.follows, answered.peer) == ("answered", f"{first.id}&{second.id}", "bob")
    assert (answered.number, answered.name) == ("", "")  # the channel has those of who has answered
    assert (handlers(result), result.variables["SCREEN_POP_ID"]) == (0, answered.follows)


@pytest.mark.parametrize(
    ("variables", "event", "peer", "talked"),
    [  # as Asterisk 22 has them (tests/asterisk/test_later_events.py)
        (
            {"DIALSTATUS": "ANSWER", "ANSWEREDTIME": "192", "DIALEDPEERNAME": "PJSIP/bob-00000002"},
            *("answered", "bob", 192.0),
        ),
        ({"DIALSTATUS": "ANSWER", "DIALEDPEERNAME": "Local/201@phones-00000001;1"}, "answered", "201", -1.0),
        ({"DIALSTATUS": "ANSWER", "ANSWEREDTIME": "nan", "DIALEDPEERNAME": ""}, "answered", "", -1.0),
        ({**RECORD, **UNANSWERED_QUEUE, "DIALSTATUS": "ANSWER", "ANSWEREDTIME": "2"}, "answered", "", 2.0),
        ({"DIALSTATUS": "NOANSWER", **RECORD}, "missed", "", -1.0),
        ({"DIALSTATUS": "CANCEL"}, "missed", "", -1.0),
        ({"DIALSTATUS": "CHANUNAVAIL"}, "missed", "", -1.0),
        ({"DIALSTATUS": "BUSY"}, "busy", "", -1.0),
        ({"DIALSTATUS": "BUSY", "VMSTATUS": "SUCCESS", **RECORD}, "voicemail", "", -1.0),
        ({"DIALSTATUS": "NOANSWER", "VMSTATUS": "FAILED", **RECORD}, "missed", "", -1.0),
        ({"VMSTATUS": "SUCCESS", **RECORD}, "voicemail", "", -1.0),
        ({"VMSTATUS": "FAILED", **RECORD}, "missed", "", -1.0),
        ({**RECORD, "ANSWEREDTIME": "5"}, "answered", "desk-phone", 5.0),
        ({**RECORD, "ANSWEREDTIME": "0"}, "answered", "desk-phone", 0.0),
        ({**RECORD, "ANSWEREDTIME": "5", "DIALSTATUS": "NOANSWER"}, "answered", "desk-phone", 5.0),
        ({**RECORD, "ANSWEREDTIME": "5", "QUEUESTATUS": "TIMEOUT"}, "answered", "desk-phone", 5.0),
        ({**RECORD, "ANSWEREDTIME": "5", "MEMBERNAME": "Bob Ex"}, "answered", "Bob Ex", 5.0),
        ({**RECORD, "ANSWEREDTIME": "5", "MEMBERNAME": "PJSIP/kitchen-phone"}, "answered", "kitchen-phone", 5.0),
        ({**RECORD, "ANSWEREDTIME": "5", "MEMBERNAME": "Local/201@agents/n"}, "answered", "201", 5.0),
        ({**RECORD, **UNANSWERED_QUEUE, "QUEUESTATUS": "TIMEOUT"}, "missed", "", -1.0),
        ({**RECORD, **UNANSWERED_QUEUE}, "missed", "", -1.0),
        ({**RECORD, **UNANSWERED_QUEUE, "VMSTATUS": "SUCCESS"}, "voicemail", "", -1.0),
        ({**RECORD, "QUEUESTATUS": "JOINEMPTY"}, "missed", "", -1.0),
        (RECORD, "answered", "desk-phone", 9.0),
        ({"CDR(disposition)": "ANSWERED", "CDR(billsec)": "9"}, "answered", "", 9.0),
        ({"CDR(disposition)": "BUSY"}, "busy", "", -1.0),
        ({"CDR(disposition)": "NO ANSWER", "CDR(billsec)": "0"}, "missed", "", -1.0),
        ({}, "missed", "", -1.0),
    ],
)
def test_what_became_of_the_call(
    outbox: Outbox, variables: dict[str, str], event: str, peer: str, talked: float
) -> None:
    call, _ = run(outbox, Channel(callerid="1", variables=variables, hungup=True), "", "", "ended")
    assert (call.event, call.peer, call.talked) == (event, peer, talked)


@pytest.mark.parametrize(
    "ids", ["../../etc/passwd", "a" * 41, '1.2-a" b', "&&&", "x" * 5000, "A&B&C", "${EXTEN}", "\n", "ä"]
)
def test_what_is_no_id_is_not_followed(outbox: Outbox, ids: str) -> None:
    channel = Channel(callerid="1", variables={"SCREEN_POP_ID": ids, "SCREEN_POP_OWN": ids})
    assert run(outbox, channel, "", "", "ended")[0].follows == ""
    call, result = run(outbox, channel)
    assert result.variables["SCREEN_POP_ID"] == call.id


def test_a_channel_that_pops_often_keeps_the_last_calls(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    ids = [run(outbox, channel)[0].id for _ in range(25)]
    assert run(outbox, channel, "", "", "ended")[0].follows == "&".join(ids[5:])


def test_a_caller_who_hangs_up_while_the_script_runs_is_followed_as_well(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    call, result = run(outbox, channel, hangup_at="SET VARIABLE")
    assert handlers(result) == 1
    assert run(outbox, channel, "", "", "ended")[0].follows == call.id


def test_the_end_of_a_call_from_a_hostile_number_is_no_new_call(outbox: Outbox) -> None:
    """With such a number the arguments of AGI() don't count; but the handler's have nothing of the caller in them."""
    channel = Channel(callerid="1,eve@evil.test", dialplan=CONTEXT)
    popped, _ = run(outbox, channel, "1", "eve@evil.test")
    channel.state.context, channel.state.extension = "screen_pop", "ended"
    ended, _ = run(outbox, channel, "", "eve@evil.test", "ended")
    assert (popped.event, popped.to) == ("ringing", "")
    assert (ended.event, ended.to, ended.follows) == ("missed", "", popped.id)


def test_a_hostile_peer_is_text(outbox: Outbox) -> None:
    variables = {"DIALSTATUS": "ANSWER", "DIALEDPEERNAME": 'PJSIP/a" 1 SET VARIABLE X 1\x1b[31m\u202e-01'}
    call, result = run(outbox, Channel(callerid="1", variables=variables), "", "", "ended")
    assert call.peer == 'a" 1 SET VARIABLE X 1 [31m'
    assert "X" not in result.variables


@pytest.mark.parametrize(
    ("left", "after", "peer", "talked", "outcome"),
    [  # as Asterisk 22 has them at a pop after an answer, and at the end of the channel
        pytest.param(
            {**ANSWERED, **RECORD}, UNANSWERED, "reception", 9.0, ("missed", "", -1.0), id="transferred, nobody answers"
        ),
        pytest.param(
            {**ANSWERED, **RECORD},
            {**UNANSWERED, "DIALSTATUS": "BUSY"},
            *("reception", 9.0, ("busy", "", -1.0)),
            id="transferred, busy",
        ),
        pytest.param(
            {**ANSWERED, **RECORD},
            {"DIALEDPEERNAME": "PJSIP/desk-00000002", "ANSWEREDTIME": "5", "ANSWEREDTIME_MS": "5004"},
            *("reception", 9.0, ("answered", "desk", 5.0)),
            id="transferred, answered",
        ),
        pytest.param(
            {**ANSWERED, **RECORD},
            {**RECORD, "CDR(billsec)": "2", "CDR(dstchannel)": ""},
            *("reception", 9.0, ("answered", "", 2.0)),
            id="transferred, only an announcement",
        ),
        pytest.param(
            {**ANSWERED, "ANSWEREDTIME": "1", "ANSWEREDTIME_MS": "1010"},
            {**UNANSWERED_QUEUE, "ANSWEREDTIME_MS": "0", "QUEUESTATUS": "TIMEOUT", "CDR(disposition)": "NO ANSWER"},
            *("reception", 1.0, ("missed", "", -1.0)),
            id="a queue after a phone, nobody answers",
        ),
        pytest.param(
            {**ANSWERED, "ANSWEREDTIME": "1", "ANSWEREDTIME_MS": "1005"},
            {**RECORD, "ANSWEREDTIME": "1", "ANSWEREDTIME_MS": "1966", "QUEUESTATUS": "CONTINUE"},
            *("reception", 1.0, ("answered", "desk-phone", 1.0)),
            id="a queue after a phone, answered",
        ),
        pytest.param(
            {**RECORD, "ANSWEREDTIME": "1", "ANSWEREDTIME_MS": "1003", "QUEUESTATUS": "CONTINUE"},
            {"VMSTATUS": "SUCCESS"},
            *("desk-phone", 1.0, ("voicemail", "", -1.0)),
            id="voicemail after a queue",
        ),
        pytest.param(
            {**RECORD, "ANSWEREDTIME": "0", "ANSWEREDTIME_MS": "0", "DIALEDTIME_MS": "1618"},
            {**UNANSWERED, "DIALEDTIME_MS": ""},
            *("desk-phone", -1.0, ("missed", "", -1.0)),
            id="transferred out of a queue",
        ),
        pytest.param(
            {**RECORD, "ANSWEREDTIME": "1", "QUEUESTATUS": "CONTINUE"},
            UNANSWERED,
            *("desk-phone", 1.0, ("missed", "", -1.0)),
            id="a phone after a queue",
        ),
    ],
)
def test_a_call_that_was_answered_before_the_channel_pops_again(
    outbox: Outbox,
    left: dict[str, str],
    after: dict[str, str],
    peer: str,
    talked: float,
    outcome: tuple[str, str, float],
) -> None:
    channel = Channel(callerid="1", calleridname="Ann", dnid="208", dialplan=CONTEXT)
    first, _ = run(outbox, channel)
    channel.state.variables.update(left)
    (event, second), result = run_for_all(outbox, channel)
    assert (event.event, event.follows, event.peer, event.talked) == ("answered", first.id, peer, talked)
    assert (event.number, event.name, event.extension, event.to) == ("1", "Ann", "208", "")
    assert (second.event, second.follows) == ("ringing", "")
    assert (handlers(result), result.variables["SCREEN_POP_ID"]) == (0, second.id)
    third, _ = run(outbox, channel)  # nothing has come between
    channel.state.variables.update(after)
    ended, _ = run(outbox, channel, "", "", "ended")
    assert (ended.event, ended.peer, ended.talked) == outcome
    assert ended.follows == f"{second.id}&{third.id}"


FAILING = """\
import sys; sys.path.insert(0, {lib!r})
from screenpop.spool import outbox
from screenpop.doors import agi
put = outbox.Outbox.put
def put_some(self, call):
    if call.event in {events}: raise OSError("disk full")
    put(self, call)
outbox.Outbox.put = put_some
agi.main()
"""


@pytest.mark.parametrize(("events", "status"), [(("answered",), "QUEUED"), (("answered", "ringing"), "FAILED")])
def test_an_event_that_can_be_written_nowhere_doesnt_harm_the_call(
    outbox: Outbox, tmp_path: Path, events: tuple[str, ...], status: str
) -> None:
    channel = Channel(callerid="1", variables={"SCREEN_POP_OWN": "1.2-a", **ANSWERED})
    program = tmp_path / "failing.py"
    program.write_text(FAILING.format(lib=str(Path(SCRIPT).parent / "lib"), events=events))
    result = channel.run([sys.executable, program], env={"SCREEN_POP_SPOOL": outbox.path})
    assert (result.status, result.stderr, result.variables["SCREEN_POP_STATUS"]) == (0, b"", status)
    assert [call.event for call in calls(outbox)] == ["ringing"] * (status == "QUEUED")
    assert result.verbose == ["screen_pop: the spool can't be written (disk full), nor can memory (disk full)"]
    shutil.rmtree(outbox.spare_path)


def test_a_call_that_is_transferred_twice(outbox: Outbox) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT, variables=RECORD)
    call, _ = run(outbox, channel)
    for phone in ("reception", "desk"):
        channel.state.variables.update(DIALSTATUS="ANSWER", DIALEDPEERNAME=f"PJSIP/{phone}-00000001")
        (event, following), _ = run_for_all(outbox, channel)
        assert (event.event, event.follows, event.peer) == ("answered", call.id, phone)
        call = following
    assert run(outbox, channel, "", "", "ended")[0].follows == call.id


def test_an_answer_from_before_the_channel_popped_first_is_no_outcome(outbox: Outbox) -> None:
    """Of a line that doesn't pop, to which nobody's message belongs."""
    channel = Channel(callerid="1", variables={**ANSWERED, "CDR(disposition)": "NO ANSWER"})
    first, _ = run(outbox, channel)
    second, _ = run(outbox, channel)
    ended, _ = run(outbox, channel, "", "", "ended")
    assert (ended.event, ended.peer, ended.follows) == ("missed", "", f"{first.id}&{second.id}")


@pytest.mark.parametrize("left", [UNANSWERED, {**RECORD, **UNANSWERED_QUEUE}, {"DIALSTATUS": "BUSY"}, RECORD])
def test_a_call_that_nobody_answered_before_the_channel_pops_again_has_not_ended(
    outbox: Outbox, left: dict[str, str]
) -> None:
    channel = Channel(callerid="1", dialplan=CONTEXT)
    first, _ = run(outbox, channel)
    channel.state.variables.update(left)
    second, _ = run(outbox, channel)
    assert run(outbox, channel, "", "", "ended")[0].follows == f"{first.id}&{second.id}"
