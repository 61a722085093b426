"""The HTTP door for another WSGI server than that of `screen-pop serve`, or for a CGI host: `application`.

It must run as Asterisk's user, who owns the spool.
"""

from __future__ import annotations

from . import settings
from .config import ConfigError
from .doors.http import Application
from .log import Log, default_file
from .spool.outbox import Outbox, path_from_environment


class _Configuration:
    def __init__(self) -> None:
        self._path, self._log = settings.path_from_environment(), Log(default_file())
        self._settings: settings.Settings | None = None
        self._problem = ""  # of the file as it is now, which is logged once

    def token(self) -> str:
        """As the file has it now, or had it before it became wrong; empty if it never was right."""
        if self._settings is None or self._settings.is_stale():
            try:
                self._settings = settings.load(self._path)
                self._log.file, self._problem = self._settings.log.path, ""
            except ConfigError as error:
                if str(error) != self._problem:
                    self._problem = str(error)
                    self.log(f"HTTP: {error}")
        return self._settings.http.token if self._settings else ""

    def log(self, text: str) -> None:
        self._log.write(text)


_configuration = _Configuration()
application = Application(Outbox(path_from_environment()), _configuration.token, _configuration.log)
