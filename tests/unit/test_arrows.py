"""Imports run one way: doors and commands are at one end, the call and its text at the other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from parts.table import each

PACKAGE = Path(__file__).parents[2] / "lib" / "screenpop"
BASE = {"call", "text", "config"}
MAY_IMPORT = {
    "text": set[str](),
    "config": set[str](),
    "call": {"text"},
    "descriptors": set[str](),
    "log": {"text", "config"},
    "spool": BASE,
    "xmpp": {*BASE, "descriptors"},
    "phonebook": BASE,
    "pop": {*BASE, "phonebook", "xmpp"},
    "settings": {"config", "doors", "log", "phonebook", "pop", "spool", "xmpp"},
    "wsgi": {"config", "doors", "log", "settings", "spool"},
    "libraries": set[str](),
    "sender": {*BASE, "descriptors", "log", "phonebook", "spool", "pop", "xmpp", "settings", "libraries"},
    "doors": {*BASE, "spool"},
    "commands": {
        *BASE,
        "descriptors",
        "log",
        "phonebook",
        "spool",
        "pop",
        "xmpp",
        "settings",
        "libraries",
        "sender",
        "doors",
    },
    "__init__": set[str](),
    "__main__": {"__init__", "commands", "libraries"},
}


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements in it, without their expressions, which import nothing."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.expr):
            yield child
            yield from statements(child)


def imported(file: Path) -> set[str]:
    """The parts of the package that a file imports, at its top or later."""
    found = set()
    depth = len(file.relative_to(PACKAGE).parts)
    for node in statements(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {node.module.partition(".")[0]} if node.module else {alias.name for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(name.partition(".")[0] == "screenpop" for name in names if not getattr(node, "level", 0))
    return {"__init__" if name == "__version__" else name for name in found}


@each("part", sorted(MAY_IMPORT))
def test_imports_run_one_way(part: str) -> None:
    files = list((PACKAGE / part).glob("*.py")) or [PACKAGE / f"{part}.py"]
    found = {name for file in files for name in imported(file)} - {part}
    assert found <= MAY_IMPORT[part]


def test_every_part_is_known() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert parts == set(MAY_IMPORT)
