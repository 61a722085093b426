"""A dnsmasq for the tests, at port 53 of a loopback address of its own, which is what a resolv.conf can name."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.resolver

from parts.server import address_without

DNS = 53
DOMAIN = "test"  # RFC 6761
STARTED_WITHIN = 10.0  # seconds


class NotInstalled(Exception):
    pass


class Dnsmasq:
    """`hosts`: addresses by name. `services`: (priority, weight, port, target) of each SRV record, by name.

    It asks no other server: what it doesn't know doesn't exist (NXDOMAIN), and outside of `.test` it refuses.
    """

    def __init__(
        self, folder: Path, hosts: Mapping[str, str], services: Mapping[str, Sequence[tuple[int, int, int, str]]]
    ) -> None:
        if not shutil.which("dnsmasq"):
            raise NotInstalled("dnsmasq is not installed (apt-get install dnsmasq-base)")
        self.host = address_without(DNS)
        self._log = folder / "dnsmasq.log"
        lines = [f"host-record={name},{address}" for name, address in hosts.items()]
        for name, records in services.items():
            lines += [f"srv-host={name},{target},{port},{order},{weight}" for order, weight, port, target in records]
        self._conf = folder / "dnsmasq.conf"
        self._conf.write_text("\n".join(lines) + "\n")

    @property
    def resolv_conf(self) -> str:
        """With this, a server that is silent costs a question 1 s, and not 10 s (resolv.conf(5))."""
        return f"nameserver {self.host}\noptions timeout:1 attempts:1\n"

    def __enter__(self) -> Dnsmasq:
        command = [
            "dnsmasq",
            "--keep-in-foreground",
            f"--conf-file={self._conf}",
            f"--listen-address={self.host}",
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            f"--local=/{DOMAIN}/",
            "--pid-file=",
            "--user=nobody",
            "--log-facility=-",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _wait_until_ready(self) -> None:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [self.host]
        until = time.monotonic() + STARTED_WITHIN
        while True:
            try:
                resolver.resolve(f"nothing.{DOMAIN}.", "A", lifetime=0.1)
            except dns.resolver.NXDOMAIN:
                return
            except dns.exception.DNSException:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"dnsmasq did not start:\n{self._log.read_text()}") from None

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
