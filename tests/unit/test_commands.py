"""What every command has to have."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import pytest

from parts.table import each
from screenpop import __main__, commands

FILES = Path(commands.__file__).parent.glob("[!_]*.py")


@each("name", sorted(file.stem for file in FILES))
def test_what_a_command_has(name: str) -> None:
    command = import_module(f"screenpop.commands.{name}")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert callable(command.run)
    assert command.__doc__ and command.__doc__.partition("\n")[0].endswith(".")  # the help is the first line
    without = getattr(command, "WITHOUT_ARGUMENTS", None)
    assert without is None or without == vars(parser.parse_args([]))


def test_somebody_who_may_not_read_the_spool_is_told_who_may(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(words: list[str]) -> int:
        raise PermissionError(13, "Permission denied", "/spool")

    monkeypatch.setattr(__main__, "_run", refuse)
    told = "/spool: Permission denied; run this as root or as Asterisk's user; for details run: screen-pop check"
    with pytest.raises(SystemExit, match=told):
        __main__.main()
