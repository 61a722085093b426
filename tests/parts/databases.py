"""A PostgreSQL and a MariaDB of the tests' own: private data, a loopback port, an ordinary user, TLS.

The machine's programs are used if it has them, without touching its databases and services; if not, Debian's packages
are unpacked into a folder and run from there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import sqlalchemy

from parts import debs
from parts.certificates import Certificate
from parts.server import LOOPBACK, STARTED_WITHIN, STOPPED_WITHIN, as_ordinary_user, free_port, give_to_ordinary_user
from parts.waiting import eventually

D = TypeVar("D", bound="DatabaseServer")

ADMIN = "admin"
PASSWORD = "100% admin's pass@word:/;"


class DatabaseServer:
    """Started on entering, stopped on leaving. `certificate`: its own, for TLS."""

    package: str
    program: str  # a pattern, from the root of the file system
    backend: str  # in URLs
    driver: str
    first_database: str
    stop_signal: signal.Signals

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self._root = _root(self.package, self.program)
        self._program = next(iter(sorted(self._root.glob(self.program), reverse=True)))
        self._folder = folder
        folder.mkdir()
        self._cert_file = Path(shutil.copy(certificate.cert_file, folder / "cert.pem"))
        self._key_file = Path(shutil.copy(certificate.key_file, folder / "key.pem"))
        self._key_file.chmod(0o600)
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str, user: str = ADMIN, password: str = PASSWORD, host: str = LOOPBACK) -> str:
        url = sqlalchemy.URL.create(self.backend, user, password or None, host, self._port, database)
        return url.render_as_string(hide_password=False)

    def execute(self, database: str, *statements: str) -> None:
        """As the administrator."""
        url = sqlalchemy.make_url(self.url(database)).set(drivername=self.driver)
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    def start(self) -> None:
        self._process = self._spawn(self._command())
        end = time.monotonic() + STARTED_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{self._output()}")
            time.sleep(0.02)  # nothing tells when it answers

    def stop(self) -> None:
        """As an administrator does it who doesn't wait for the connections to end."""
        if self._process:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(STOPPED_WITHIN)
                self._process = None
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self._process:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its connections stay and it says nothing, as when the network is gone."""
        self._signal(signal.SIGSTOP)
        eventually(self._is_stopped)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def __enter__(self: D) -> D:
        self._initialize()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _initialize(self) -> None:
        raise NotImplementedError

    def _run(self, *command: str, given: str = "") -> None:
        status = self._spawn(command, given).wait(120)
        assert status == 0, self._output()

    def _spawn(self, command: Sequence[str], given: str = "") -> subprocess.Popen[bytes]:
        libraries = ":".join(map(str, self._root.glob("usr/lib/*-linux-*")))
        (self._folder / "input").write_text(given)
        give_to_ordinary_user(self._folder)
        with (self._folder / "output").open("ab") as output, (self._folder / "input").open() as source:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, "LC_ALL": "C", "LD_LIBRARY_PATH": libraries},
                stdin=source,
                stdout=output,
                stderr=output,
                **as_ordinary_user(),
            )

    def _answers(self) -> bool:
        try:
            self.execute(self.first_database, "SELECT 1")
        except sqlalchemy.exc.DBAPIError:
            return False
        return True

    def _processes(self) -> list[int]:
        """The server, and the processes that it has started."""
        assert self._process
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def _signal(self, number: signal.Signals) -> None:
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _is_stopped(self) -> bool:
        """Each thread of it, for the kernel stops them one by one."""
        tasks = [task for process in self._processes() for task in Path(f"/proc/{process}/task").glob("*/stat")]
        return all(task.read_text().rpartition(")")[2].split()[0] in "TZ" for task in tasks)

    def _output(self) -> str:
        return (self._folder / "output").read_text(errors="replace")


class PostgreSQL(DatabaseServer):
    package = "postgresql"
    program = "usr/lib/postgresql/*/bin/postgres"
    backend = "postgresql"
    driver = "postgresql+pg8000"
    first_database = "postgres"
    stop_signal = signal.SIGINT

    def _initialize(self) -> None:
        (self._folder / "password").write_text(PASSWORD)
        self._run(
            *(
                str(self._program.parent / "initdb"),
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                f"--username={ADMIN}",
            ),
            *("--auth=scram-sha-256", "--pwfile=password", "--pgdata=data"),
        )

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
            "fsync": "off",
            "shared_buffers": "16MB",
            "ssl": "on",
            "ssl_cert_file": str(self._cert_file),
            "ssl_key_file": str(self._key_file),
        }
        return [str(self._program), "-D", "data", *(f"--{name}={value}" for name, value in settings.items())]


class MariaDB(DatabaseServer):
    package = "mariadb-server-core"
    program = "usr/sbin/mariadbd"
    backend = "mariadb"
    driver = "mariadb+pymysql"
    first_database = "mysql"
    stop_signal = signal.SIGTERM

    def _initialize(self) -> None:
        """What mariadb-install-db does, which is in another package and not made to be run from elsewhere."""
        share = self._root / "usr/share/mysql"
        scripts = ["mysql_system_tables.sql", "mysql_system_tables_data.sql"]
        tables = "".join((share / name).read_text() for name in scripts)
        quoted = PASSWORD.replace("'", "''")
        account = f"CREATE USER {ADMIN} IDENTIFIED BY '{quoted}';\nGRANT ALL ON *.* TO {ADMIN} WITH GRANT OPTION;\n"
        (self._folder / "data").mkdir()
        self._run(
            *(*self._command(), "--bootstrap"),
            given=f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}FLUSH PRIVILEGES;\n{account}",
        )

    def _command(self) -> list[str]:
        share = self._root / "usr/share/mysql"
        settings = {
            "datadir": str(self._folder / "data"),
            "lc-messages-dir": str(share),
            "character-sets-dir": str(share / "charsets"),
            "character-set-server": "utf8mb4",  # as Debian has it
            "socket": str(self._folder / "socket"),
            "bind-address": "127.0.0.1",
            "port": str(self._port),
            "innodb-buffer-pool-size": "16M",
            "innodb-flush-log-at-trx-commit": "0",
            "ssl-cert": str(self._cert_file),
            "ssl-key": str(self._key_file),
        }
        return [str(self._program), "--no-defaults", *(f"--{name}={value}" for name, value in settings.items())]


def _root(package: str, program: str) -> Path:
    """Of the file system that has the program."""
    if any(Path("/").glob(program)):
        return Path("/")
    return debs.fetch(package, Path(os.environ["SCREEN_POP_CACHE"], f"{package}-unpacked"))
