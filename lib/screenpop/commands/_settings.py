"""The configuration, for commands that need it."""

from __future__ import annotations

from .. import config, settings
from ._terminal import show


def load() -> settings.Settings | None:
    """None if it can't be used; then what is wrong is shown."""
    try:
        return settings.load(settings.path_from_environment())
    except config.ConfigError as error:
        for complaint in error.complaints:
            show(complaint, label="PROBLEM  ")
        return None
