"""Ejabberd nodes that are one cluster, each at an address of its own on loopback, with the usual ports.

The nodes find each other without epmd: the port of Erlang's distribution is the same for each (`-erl_epmd_port`).
"""

from __future__ import annotations

import secrets
from pathlib import Path

from parts.certificates import Certificate
from parts.ejabberd import Ejabberd

CLIENTS, DISTRIBUTION = 5222, 4370
COOKIE = ".erlang.cookie"  # in HOME; what Erlang's nodes identify themselves with


class Node(Ejabberd):
    """`first`: the node whose cluster it joins, which must be up then; None: it begins one."""

    def __init__(self, folder: Path, certificate: Certificate, first: Node | None = None) -> None:
        super().__init__(folder, certificate, offline=True, port=CLIENTS)
        self._first = first
        cookie = folder / COOKIE
        cookie.write_text((first.folder / COOKIE).read_text() if first else secrets.token_hex())
        cookie.chmod(0o400)

    @property
    def node(self) -> str:
        return f"ejabberd@{self.host}"

    def command(self) -> list[str]:
        program, *rest = super().command()
        interface = f"{{{self.host.replace('.', ',')}}}"
        return [
            program,
            *("-name", self.node),
            *("-start_epmd", "false", "-erl_epmd_port", str(DISTRIBUTION)),
            *("-kernel", "inet_dist_use_interface", interface),
            *rest,
        ]

    def _when_started(self) -> str:
        """Erlang code that joins the cluster, which removes the node's own data; after a restart it is a member."""
        if not self._first:
            return super()._when_started()
        member = f"lists:member('{self._first.node}', mnesia:system_info(db_nodes))"
        join = f"case {member} of true -> ok; false -> ok = ejabberd_cluster:join('{self._first.node}') end"
        return f"{join}, {super()._when_started()}"
