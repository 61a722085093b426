"""Plays a CCXML document: which requests it sends at which events. Node evaluates its ECMAScript."""

from __future__ import annotations

import json
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

NAMESPACE = "{http://www.w3.org/2002/09/ccxml}"
DOCUMENT = Path(__file__).parents[2] / "docs/ccxml/screen_pop.ccxml"


class NotAvailable(Exception):
    pass


def requests(document: Path, events: Sequence[tuple[float, str, Mapping[str, object]]]) -> list[dict[str, str]]:
    """The fields of each request by `targettype="'basichttp'"`. `events`: time in seconds, name and fields of each.

    Only what the document uses is understood. Raises NotAvailable.
    """
    node = shutil.which("node")
    if not node:
        raise NotAvailable("this machine has no Node to evaluate ECMAScript")
    program = _program(ET.parse(document).getroot(), events)
    done = subprocess.run([node, "-"], input=program, capture_output=True, text=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def _program(root: ET.Element, events: Sequence[tuple[float, str, Mapping[str, object]]]) -> str:
    """One `if` for each transition that may match, in the order of the document: the first is taken (section 9.2.2)."""
    lines = ["var now, sent = [], over = false, taken; Date.prototype.getTime = () => now;"]
    lines += [f"var {one.get('name')} = {one.get('expr')};" for one in root.findall(f"{NAMESPACE}var")]
    processor = root.find(f"{NAMESPACE}eventprocessor")
    assert processor is not None
    for at, name, fields in events:
        lines.append(f"now = {at * 1000}; taken = over; var event$ = {json.dumps({'name': name, **fields})};")
        for transition in processor:
            if fnmatchcase(name, transition.get("event", "")):
                conditions = [f"({transition.get('cond', 'true')})", "!taken"]
                if transition.get("state"):
                    conditions.append(f"{processor.get('statevariable')} == {transition.get('state')}")
                lines.append(f"if ({' && '.join(conditions)}) {{ taken = true; {_block(transition)} }}")
    return "\n".join([*lines, "console.log(JSON.stringify(sent));"])


def _block(parent: ET.Element) -> str:
    return " ".join(map(_statement, parent))


def _statement(element: ET.Element) -> str:
    kind = element.tag.removeprefix(NAMESPACE)
    if kind == "assign":
        return f"{element.get('name')} = {element.get('expr')};"
    if kind == "if":
        return f"if ({element.get('cond')}) {{ {_block(element)} }}"
    if kind == "exit":
        return "over = true;"
    if kind == "send" and element.get("targettype") == "'basichttp'":
        names = element.get("namelist", "").split()
        fields = ", ".join(f"{json.dumps(name)}: String({name})" for name in names)
        return f"sent.push({{name: {element.get('name')}, {fields}}});"
    return f"String({element.get('expr', '1')});"
