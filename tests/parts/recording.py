"""Records what the probe gets from a real Asterisk and from fake_agi.py, in a form that can be compared.

To make the recording in tests/recordings again:

    sudo PYTHONPATH=tests python3 -m parts.recording
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from fake_agi import Channel
from parts.agi_commands import find_command
from parts.asterisk import Asterisk
from parts.box import Box
from parts.probe import SCENARIOS

PROBE = Path(__file__).with_name("probe.py")
RECORDINGS = Path(__file__).parents[1] / "recordings"
PROBE_IN_BOX = "/opt/probe.py"
RECORDS_IN_BOX = "/tmp/records"
ENV = {"PROBE_RECORD": RECORDS_IN_BOX}
NUMBER, NAME = "+15551234567", b'J\xf6rg "Jo" O\'Hara; \\o/'
VARIABLES = {"GIVEN": "value", "NAMED": "GIVEN"}
SCENARIO_VARIABLES = {"nosighup": {"AGISIGHUP": "no"}, "exitonhangup": {"AGIEXITONHANGUP": "yes"}}

AGI = f'AGI({PROBE_IN_BOX},${{SCENARIO}},two words,,"quoted")'
AFTER = f"Set(FILE({RECORDS_IN_BOX}/${{SCENARIO}}.after)=${{AGISTATUS}} goes_on=${{GOES_ON}} last=${{LAST}})"
# A scenario is an extension. The result of the call is written when it hangs up, which always happens.
EXTENSIONS = "[probe]\n"
for _scenario in SCENARIOS:
    EXTENSIONS += f"""
exten => {_scenario},1,Set(SCENARIO={_scenario})
 same => n,{AGI}
 same => n(after),Set(GOES_ON=yes)
"""
EXTENSIONS += f"""
exten => sub,1,Return(returned)
exten => h,1,{AFTER}

[probe-dead]
exten => dead,1,Set(SCENARIO=dead)
 same => n,Hangup()
exten => h,1,{AGI}
 same => n,{AFTER}

[held]
exten => held,1,AGI(${{SCRIPT}})
 same => n,System(echo dialplan ${{AGISTATUS}} >> ${{ORDER}})

[inherited]
exten => first,1,AGI(${{SCRIPT}})
 same => n,Dial(Local/second@inherited)
exten => second,1,Set(FILE(${{ORDER}},,,al,u)=${{PLAIN}} ${{ONCE}} ${{ALWAYS}})
 same => n,Dial(Local/third@inherited)
exten => third,1,Set(FILE(${{ORDER}},,,al,u)=${{PLAIN}} ${{ONCE}} ${{ALWAYS}})
"""
CONFIGURATION = {"modules.conf": "load = func_dialplan.so\n"}
DIALPLAN = {"probe,sub": ["1"], "probe,commands": ["1", "2", "3", "after"]}

Record = dict[str, Any]


def install_probe(box: Box) -> None:
    shutil.copy(PROBE, box.path(PROBE_IN_BOX))
    box.run(["chmod", "755", PROBE_IN_BOX])
    box.run(["install", "--directory", "--owner=asterisk", RECORDS_IN_BOX])


def record_asterisk(asterisk: Asterisk, scenario: str) -> Record:
    asterisk.originate(
        scenario,
        "probe-dead" if scenario == "dead" else "probe",
        callerid_num=NUMBER,
        callerid_name=NAME,
        variables={**VARIABLES, **SCENARIO_VARIABLES.get(scenario, {})},
    )
    after = asterisk.wait_for("last=", f"{RECORDS_IN_BOX}/{scenario}.after").string
    # After the call is over, a script that Asterisk no longer waits for may still be writing.
    record: Record = json.loads(asterisk.wait_for("lines", f"{RECORDS_IN_BOX}/{scenario}.json").string)
    return normalised({**record, "after": after})


def record_harness(scenario: str, folder: Path, like: Record) -> Record:
    """On a channel with the same name, id and dialplan position as in the other record."""
    told = dict(line.rstrip("\n").split(": ", 1) for _, line in like["lines"] if line.startswith("agi_"))
    channel = Channel(
        callerid=NUMBER,
        calleridname=NAME,
        dnid=told["agi_dnid"],
        channel=told["agi_channel"],
        uniqueid=told["agi_uniqueid"],
        version=told["agi_version"],
        context=told["agi_context"],
        extension=told["agi_extension"],
        priority=int(told["agi_priority"]),
        variables={**VARIABLES, **SCENARIO_VARIABLES.get(scenario, {})},
        dialplan=DIALPLAN,
        hungup=scenario == "dead",
    )
    result = channel.run([PROBE, scenario, "two words", "", "quoted"], env={"PROBE_RECORD": str(folder)})
    goes_on = "" if channel.state.hung_up else "yes"
    after = f"{result.agistatus} goes_on={goes_on} last={result.variables.get('LAST', '')}"
    record: Record = json.loads((folder / f"{scenario}.json").read_text())
    return normalised({**record, "after": after})


def normalised(record: Record) -> Record:
    """Without the two values that always differ: the path of the script, and the thread id."""
    lines = [[mark, re.sub("^(agi_request|agi_threadid): .*", r"\1: …", line)] for mark, line in record["lines"]]
    return {**record, "lines": lines}


def usage(record: Record) -> dict[str, list[str]]:
    """The usage texts between the 520 lines, by command."""
    texts: dict[str, list[str]] = {}
    command: str | None = None
    inside = False
    for mark, line in record["lines"]:
        if mark == "<":
            command = find_command(line.split())
        elif line.startswith("520-") and command:
            inside, texts[command] = True, []
        elif line.startswith("520 "):
            inside = False
        elif inside and command:
            texts[command].append(line.rstrip("\n"))
    return texts


def main() -> None:
    with Box() as box:
        install_probe(box)
        with Asterisk(box, EXTENSIONS, env=ENV, configuration=CONFIGURATION) as asterisk:
            records = {scenario: record_asterisk(asterisk, scenario) for scenario in SCENARIOS}
    for name, content in (("asterisk-22", records), ("asterisk-22-usage", usage(records["commands"]))):
        (RECORDINGS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
