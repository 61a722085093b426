"""pyst2's AGI, imported without what it imports itself: that would take longer than all the rest of the script."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Pattern:
    """A regular expression that is compiled when it is first used, which never happens (conversation.py)."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __getattr__(self, name: str) -> Any:
        import re

        return getattr(re.compile(self.text), name)


class _StandIn:
    """What pyst2 uses of `pprint`, `re`, `signal` and `six`."""

    pformat = staticmethod(repr)
    compile = _Pattern
    PY3 = True
    SIGHUP = 1

    @staticmethod
    def signal(number: int, handler: object) -> None:
        """Nothing: only the AGI script (agi.py) has a signal for each call. In a thread it would be an error."""


_stand_ins: dict[str, Any] = dict.fromkeys(("pprint", "re", "signal", "six"), _StandIn)
_before = {name: sys.modules.get(name) for name in _stand_ins}
sys.modules.update(_stand_ins)
try:
    from asterisk.agi import AGI, AGIException, AGIHangup
finally:
    for _name, _module in _before.items():
        if _module:
            sys.modules[_name] = _module
        else:
            del sys.modules[_name]

__all__ = ["AGI", "AGIException", "AGIHangup"]
