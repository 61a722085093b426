"""Sources of the phone book as a configuration file makes them."""

from __future__ import annotations

from pathlib import Path

from screenpop import config
from screenpop.phonebook.web.options import HttpOptions


def read_http(folder: Path, text: str) -> HttpOptions:
    """The section `[crm]` with this text. Raises ConfigError."""
    path = folder / "screen_pop.conf"
    path.write_text(f"[crm]\ntype = http\n{text}\n", encoding="utf-8")
    section = config.read(str(path), {}, {"http": HttpOptions}, {}).sections["crm"]
    assert isinstance(section, HttpOptions)
    return section
