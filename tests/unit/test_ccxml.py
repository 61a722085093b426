"""docs/ccxml/screen_pop.ccxml is a CCXML 1.0 document whose requests the HTTP door understands."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from parts.ccxml import DOCUMENT, NAMESPACE
from screenpop.doors.fields import NAMES

ROOT = ET.parse(DOCUMENT).getroot()

# The attributes of each element in W3C CCXML 1.0 (Recommendation of 5 July 2011, http://www.w3.org/TR/ccxml/ccxml.dtd),
# without those that only some platforms have; a * marks those that must be there.
DIALOG = "src type namelist parameters connectionid conferenceid dialogid mediadirection maxage maxstale enctype method"
ATTRIBUTES = {
    "accept": "connectionid hints",
    "assign": "name* expr*",
    "cancel": "sendid*",
    "ccxml": "version* base",
    "createcall": "dest* connectionid aai callerid hints timeout joinid joindirection",
    "createccxml": "next* method enctype namelist sessionid timeout maxage maxstale",
    "createconference": "conferenceid confname reservedtalkers reservedlisteners hints",
    "destroyconference": "conferenceid* hints",
    "dialogprepare": f"{DIALOG} hints",
    "dialogstart": f"{DIALOG} hints prepareddialogid",
    "dialogterminate": "dialogid* immediate hints",
    "disconnect": "connectionid reason hints",
    "else": "",
    "elseif": "cond*",
    "eventprocessor": "statevariable",
    "exit": "expr namelist",
    "fetch": "next* type method namelist timeout maxage maxstale enctype fetchid",
    "goto": "fetchid*",
    "if": "cond*",
    "join": "id1* id2* duplex hints entertone exittone dtmfclamp toneclamp",
    "log": "label expr*",
    "merge": "connectionid1* connectionid2* hints",
    "meta": "name http-equiv content*",
    "metadata": "",
    "move": "source event sessionid*",
    "redirect": "connectionid dest* reason hints",
    "reject": "connectionid reason hints",
    "script": "src fetchid timeout maxage maxstale",
    "send": "target* targettype sendid delay name namelist hints",
    "transition": "state event cond",
    "unjoin": "id1* id2* hints",
    "var": "name* expr",
}
ACTIONS = set(ATTRIBUTES) - {"ccxml", "else", "elseif", "eventprocessor", "meta", "metadata", "transition"}
CHILDREN = {
    "ccxml": {"meta", "metadata", "var", "script", "eventprocessor"},
    "eventprocessor": {"transition"},
    "transition": ACTIONS,
    "if": {*ACTIONS, "else", "elseif"},
}


def elements(kind: str = "") -> list[ET.Element]:
    return list(ROOT.iter(f"{NAMESPACE}{kind}" if kind else None))


def test_every_element_and_attribute_is_one_of_the_specification() -> None:
    assert ROOT.tag == f"{NAMESPACE}ccxml" and ROOT.get("version") == "1.0"
    for element in elements():
        kind = element.tag.removeprefix(NAMESPACE)
        known = ATTRIBUTES[kind].split()
        assert set(element.attrib) <= {name.strip("*") for name in known}, kind
        assert {name[:-1] for name in known if name.endswith("*")} <= set(element.attrib), kind
        assert {child.tag.removeprefix(NAMESPACE) for child in element} <= CHILDREN.get(kind, set()), kind
        assert not (element.text or "").strip() and not (element.tail or "").strip()


def test_every_variable_that_is_sent_or_assigned_is_declared_and_every_field_is_understood() -> None:
    declared = {one.get("name") for one in ROOT.findall(f"{NAMESPACE}var")}
    sent = {name for one in elements("send") for name in one.get("namelist", "").split()}
    assert {one.get("name") for one in elements("assign")} <= declared
    assert sent <= declared
    assert sent - {"token"} <= set(NAMES)


def test_the_events_of_a_connection_are_mapped() -> None:
    events = {one.get("event") for one in elements("transition")}
    assert events >= {f"connection.{name}" for name in ("alerting", "connected", "failed", "disconnected")}
    for one in elements("send"):
        assert one.get("targettype") == "'basichttp'"
        assert re.fullmatch(r"'[a-z_]+(\.[a-z_]+)*'", one.get("name", ""))  # the name that the final text requires
