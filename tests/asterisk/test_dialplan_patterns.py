"""The patterns of routes match and rank as those of a real Asterisk's dialplan, in hundreds of comparisons."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest

from parts.asterisk import Asterisk
from parts.box import Box
from screenpop.pop.patterns import Pattern

CONTEXTS, PATTERNS, NUMBERS = 80, 14, 10
SEED = 11
CHARACTERS = "0123456789+*#aNxX-"
PLACES = (
    "X x Z N n 1 2 2 3 9 0 + * a - [2-57] [13] [1-9] [92-4] [-2] [2-] [0-9] [23456789] [+*] [a-z] [2,3] [2-46] [12]"
)
FIXED = [  # of each of these, one hides another or is the same
    ["_2XX!", "_2XX", "_2XX.", "_2X!", "_2!", "_2", "_X.", "_!", "_."],
    ["_2xx", "_2XX", "_2[0-9]X", "_2-XX", "201", "2-01", "_201", "_[2]01", "_20[1]"],
]


def contexts(chance: random.Random) -> Iterator[list[str]]:
    yield from FIXED
    for _ in range(CONTEXTS - len(FIXED)):
        yield [pattern(chance) for _ in range(PATTERNS)]


def pattern(chance: random.Random) -> str:
    if chance.random() < 0.15:
        return "".join(chance.choices("12390", k=chance.randint(1, 3)))
    places = "".join(chance.choices(PLACES.split(), k=chance.randint(1, 4)))
    end = chance.choice(["", "", ".", "!"])
    return f"_{places if places.strip('-') else 'X'}{end}"


def number(chance: random.Random, patterns: list[str]) -> str:
    """One that some of the patterns may match."""
    if chance.random() < 0.2:
        return chance.choice("12a") + "".join(chance.choices(CHARACTERS, k=chance.randint(0, 4)))
    places = re.findall(r"\[[^]]*\]|[^-_]", chance.choice(patterns))
    found = chance.choice(["", "-"]).join(chance.choice(among(place)) for place in places)
    return found.replace(",", "3") or "2"  # a comma would end an argument of Gosub()


def among(place: str) -> str:
    """Characters for a place of a pattern, of which some match it."""
    return {"X": "0159", "x": "0159", "Z": "019", "N": "129", "n": "129", ".": "1 2", "!": " 1"}.get(
        place, place.strip("[]").replace("-", "4") if place[0] == "[" else place * 3 + "2"
    ).replace(" ", "23")


def dialplan(asked: list[tuple[list[str], list[str]]]) -> str:
    """A context for each list of patterns, and an extension that asks all of them and logs the answers."""
    lines = ["[none]", "exten => _!,1,Set(FOUND=none)", " same => n,Return()"]
    for context, (patterns, _) in enumerate(asked):
        lines += [f"[c{context}]", "include => none"]
        for index, one in enumerate(patterns):
            lines += [f"exten => {one},1,Set(FOUND={index})", f"exten => {one},2,Return()"]
    lines += ["[ask]", "exten => s,1,NoOp()"]
    for context, (_, numbers) in enumerate(asked):
        for index, one in enumerate(numbers):
            lines += [
                f" same => n,Gosub(c{context},{one},1)",
                f" same => n,Verbose(answer {context} {index} ${{FOUND}})",
            ]
    return "\n".join([*lines, " same => n,Verbose(all answered)", ""])


def expected(patterns: list[str], dialled: str) -> str:
    """The index of the pattern that applies."""
    made = [(Pattern(one).rank, index) for index, one in enumerate(patterns) if Pattern(one).matches(dialled)]
    return str(min(made)[1]) if made else "none"


def same_as_an_earlier_one(patterns: list[str]) -> list[str]:
    ranks = [Pattern(one).rank for one in patterns]
    return [one for index, one in enumerate(patterns) if ranks[index] in ranks[:index]]


@pytest.mark.timeout(300)
def test_asterisk_takes_the_same_pattern(box: Box) -> None:
    chance = random.Random(SEED)
    asked = [(patterns, [number(chance, patterns) for _ in range(NUMBERS)]) for patterns in contexts(chance)]
    queue = {"logger.conf": "[general](+)\nlogger_queue_limit = 100000\n"}  # else it discards lines
    with Asterisk(box, dialplan(asked), configuration=queue) as asterisk:
        asterisk.originate("s", "ask")
        asterisk.wait_for(r"app_verbose.c: all answered|non-existent destination", timeout=60)
        log = asterisk.log
    answers = {(int(one), int(two)): found for one, two, found in re.findall(r"answer (\d+) (\d+) (\w+)", log)}
    differences = [
        (patterns, dialled, f"Asterisk {answers[context, index]}", f"we {expected(patterns, dialled)}")
        for context, (patterns, numbers) in enumerate(asked)
        for index, dialled in enumerate(numbers)
        if answers[context, index] != expected(patterns, dialled)
    ]
    assert differences == []
    assert len(answers) == CONTEXTS * NUMBERS
    assert len(set(answers.values())) > PATTERNS / 2  # "none" and patterns at all places
    refused = set(re.findall(r"Unable to register extension '([^']+)' priority 1 in 'c(\d+)'", log))
    assert refused == {
        (one, str(context)) for context, (patterns, _) in enumerate(asked) for one in same_as_an_earlier_one(patterns)
    }
