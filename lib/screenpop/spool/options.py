"""The section [spool]: how much may wait. Doors don't import this."""

from __future__ import annotations

from ..config import Option, Section, positive_number


class SpoolOptions(Section):
    calls = Option(positive_number, 10_000)
    megabytes = Option(positive_number, 64)
