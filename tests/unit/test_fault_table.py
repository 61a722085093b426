"""FAULTS.md: every row names its tests, and these exist."""

from __future__ import annotations

import re
from pathlib import Path

from parts.table import each

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "FAULTS.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| fault ", "| --- "))
]


@each("row", ROWS)
def test_every_fault_has_its_tests(row: str) -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split(" | ")[-1])
    assert tests
    for file, name in tests:
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")
