"""What every command has to have."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

import pytest

from screenpop import commands

FILES = Path(commands.__file__).parent.glob("[!_]*.py")


@pytest.mark.parametrize("name", sorted(file.stem for file in FILES))
def test_what_a_command_has(name: str) -> None:
    command = import_module(f"screenpop.commands.{name}")
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert callable(command.run)
    assert command.__doc__ and command.__doc__.strip()
    without = getattr(command, "WITHOUT_ARGUMENTS", None)
    assert without is None or without == vars(parser.parse_args([]))
