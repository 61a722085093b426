"""A database for type = sql: it is only read, it is asked for one row, and each query ends at a deadline.

Each database has its own commands for these limits. With other drivers than pg8000, PyMySQL and Python's own for
SQLite, only the account's rights and the settings of the database limit a query.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import readable_file
from ..text import clean
from .source import SourceError

DRIVERS = {"postgresql": "postgresql+pg8000", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
TLS_FILES = {"sslrootcert", "ssl_ca", "ssl_cert", "ssl_key"}  # of the URL's options
CONNECTIONS = 8  # that are kept, and at most; a server has a hundred or so for everybody


class Database:
    """Made with a URL as SQLAlchemy has it, and the password if it isn't in there. Threads may share it."""

    def __init__(self, url: str, password: str) -> None:
        try:
            import sqlalchemy

            logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)  # it logs a traceback when a connection is lost
            parsed = sqlalchemy.make_url(url)
            parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
            parsed = parsed.set(password=password) if password else parsed
            is_file = parsed.get_backend_name() == "sqlite"  # opened each time, as another one may have taken its place
            pool: Any = {"poolclass": sqlalchemy.pool.NullPool} if is_file else {"pool_size": CONNECTIONS}
            self._engine: Any = sqlalchemy.create_engine(parsed, **pool)
        except ImportError as error:
            raise SourceError(f"{error.name} is not installed: ./install.sh --with sql adds it") from error
        except Exception:  # its text may have a part of the password in it
            raise SourceError("database is no URL that SQLAlchemy knows, such as postgresql://user@host/name") from None
        for name in TLS_FILES.intersection(parsed.query):
            try:
                readable_file(str(parsed.query[name]))
            except ValueError as error:
                raise SourceError(f"{name}: {error}") from error
        self._name = f"{parsed.get_backend_name()} {parsed.database}" + (f" at {parsed.host}" if parsed.host else "")
        self._driver = self._engine.dialect.driver
        self._until = threading.local()  # when this thread's query has to end, and a little later all that it does
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        sqlalchemy.event.listen(self._engine, "do_connect", self._connecting)
        sqlalchemy.event.listen(self._engine, "checkout", self._taking)

    def __str__(self) -> str:
        """What can be logged."""
        return self._name

    def close(self) -> None:
        self._engine.dispose()

    def first_row(self, query: str, values: Mapping[str, str], deadline: float) -> tuple[list[str], tuple[Any, ...]]:
        """The columns that the query has, and the first row, which is empty if there is none. Raises SourceError.

        `values`: of the parameters; an empty one is NULL. `deadline`: as time.monotonic().
        """
        from sqlalchemy import String, bindparam, text

        # The database ends the query a little earlier than the connection would, so that it can be used again.
        self._until.query, self._until.all = time.monotonic() * 0.1 + deadline * 0.9, deadline
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise SourceError(f"{self}: {CONNECTIONS} queries are under way already, and none ended in time")
        step = "connecting"
        try:
            statement = text(query)
            # As text: otherwise PostgreSQL would convert "anonymous" to the type of the column, and fail.
            statement = statement.bindparams(*(bindparam(name, type_=String) for name in statement.compile().params))
            with self._engine.connect() as connection:
                step = "the query"
                streaming = connection.execution_options(stream_results=True, max_row_buffer=1)
                with streaming.execute(statement, {name: value or None for name, value in values.items()}) as result:
                    return list(map(clean, result.keys())), tuple(result.fetchone() or ())
        except Exception as error:  # SQLAlchemy's, or any driver's
            outcome = "took too long" if time.monotonic() >= self._until.query else "failed"
            raise SourceError(f"{self}: {step} {outcome}: {_reason(error)}") from error
        finally:
            self._free.release()

    def _left(self) -> float:
        left: float = self._until.all - time.monotonic()
        if left <= 0:
            raise SourceError("there is no time left for a new connection")
        return left

    def _connecting(self, dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        left = self._left()
        if self._driver == "pg8000":
            options.update(timeout=left, ssl_context=_ssl_context(options))
        elif self._driver == "pymysql":
            options.update(connect_timeout=left, read_timeout=left, write_timeout=left)
        elif self._driver == "pysqlite":
            options["timeout"] = left  # for one that somebody else has locked
            if not options.get("uri"):
                arguments[0], options["uri"] = f"{Path(arguments[0]).as_uri()}?mode=ro", True

    def _taking(self, connection: Any, record: Any, proxy: Any) -> None:
        """Send the limits before each query. By this, a connection that has been lost is noticed and replaced."""
        from sqlalchemy.exc import DisconnectionError

        try:
            self._limit(connection)
        except Exception as error:
            if "used" in record.info:
                raise DisconnectionError from error
            raise
        record.info["used"] = True

    def _limit(self, connection: Any) -> None:
        left, end = self._left(), self._until.query
        query_left = max(0.001, end - time.monotonic())  # 0 would be without a limit
        if self._driver == "pg8000":
            connection._usock.settimeout(left)
            connection.cursor().execute(
                f"SET LOCAL statement_timeout = {query_left * 1000:.0f}; SET TRANSACTION READ ONLY"
            )
        elif self._driver == "pymysql":
            connection._read_timeout = connection._write_timeout = left
            limit = f"max_statement_time = {query_left:.3f}"
            if not self._engine.dialect.is_mariadb:
                limit = f"max_execution_time = {query_left * 1000:.0f}"
            with connection.cursor() as cursor:
                cursor.execute(f"SET SESSION {limit}, sql_select_limit = 1")
                cursor.execute("START TRANSACTION READ ONLY")
        elif self._driver == "pysqlite":
            connection.set_progress_handler(lambda: time.monotonic() >= end, 1000)  # instructions
        else:
            self._engine.dialect.do_ping(connection)


def _ssl_context(options: dict[str, Any]) -> ssl.SSLContext | None:
    """For pg8000, whose URL has no such options: those of libpq, as far as they verify the server."""
    mode, authority = options.pop("sslmode", None), options.pop("sslrootcert", None)
    if mode is None and authority is None:
        return None
    if mode != "verify-full":
        raise SourceError(f"sslmode={mode} doesn't verify the server; sslmode=verify-full does")
    return ssl.create_default_context(cafile=authority)


def _reason(error: Exception) -> str:
    """The database's own words: SQLAlchemy adds the query and the parameters."""
    told = getattr(error, "orig", None) or error
    told = told.__cause__ if isinstance(told.__cause__, OSError) else told  # pg8000 says "network error" for each
    what = told.args[-1] if told.args else type(told).__name__
    if isinstance(what, dict):  # pg8000: PostgreSQL's fields, by letter
        what = what.get("M")
    return clean(str(what), limit=300)
