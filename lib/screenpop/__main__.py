"""The command line: `screen-pop COMMAND …`.

Each module in commands/ is a command of that name, unless its name begins with `_`. It has `add_arguments(parser)`, for
argparse, and `run(arguments)`, which returns the exit status. The first line of its docstring is its help text. Only
the command that is called is imported. A command that must start fast has `WITHOUT_ARGUMENTS`: what argparse returns
for no arguments. Then argparse is not imported, which takes longer than everything else.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace

from . import __version__, commands

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def main() -> None:
    try:
        sys.exit(_run(sys.argv[1:]))
    except BrokenPipeError:  # as `| head` leaves it
        os._exit(1)  # without another attempt to write to it
    except OSError as error:
        advice = "run this as root or as Asterisk's user; " if isinstance(error, PermissionError) else ""
        sys.exit(f"screen-pop: {error.filename}: {error.strerror}; {advice}for details run: screen-pop check")
    except (ImportError, SyntaxError) as error:
        from . import libraries

        sys.exit("screen-pop: " + "; ".join(libraries.problems() or [f"{error}: run install.sh again"]))
    except KeyboardInterrupt:
        sys.exit(130)


def _run(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"screen_pop {__version__}")
        return 0
    names = _command_names()
    if words[:1] and words[0] in names:
        names = words[:1]
    modules = {name: import_module(f"{commands.__name__}.{name}") for name in names}
    if words == names and hasattr(modules[words[0]], "WITHOUT_ARGUMENTS"):
        command = modules[words[0]]
        return int(command.run(SimpleNamespace(**command.WITHOUT_ARGUMENTS)))
    arguments = _parser(modules).parse_args(words)
    return int(arguments.run(arguments))


def _command_names() -> list[str]:
    """From the file names. The import of pkgutil would take longer than everything else."""
    files = os.listdir(os.path.dirname(commands.__file__))
    return sorted(name[:-3] for name in files if name.endswith(".py") and not name.startswith("_"))


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    import argparse

    parser = argparse.ArgumentParser(
        prog="screen-pop",
        description="Checks and administers screen_pop, which shows callers on an XMPP client. The dialplan runs"
        " screen_pop.py.",
    )
    parser.add_argument("--version", action="version", version=f"screen_pop {__version__}")
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in modules.items():
        text = (command.__doc__ or "").partition("\n")[0]
        choice = choices.add_parser(name, help=text, description=text)
        command.add_arguments(choice)
        choice.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    main()
