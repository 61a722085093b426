"""Many boxes with one account."""

from __future__ import annotations

import select
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from parts.certificates import Certificate
from parts.ejabberd import Ejabberd, NotInstalled
from parts.pbx import Pbx
from screenpop.xmpp.errors import SessionError
from screenpop.xmpp.session import Session

MOST = 10  # as in Debian's ejabberd.yml
PATIENCE = 10.0  # seconds


def test_one_box_more_than_ejabberd_allows_ends_the_session_of_the_first(
    certificate: Certificate, new_server_folder: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(Ejabberd(new_server_folder, certificate, most_sessions=MOST))
        except NotInstalled as reason:
            pytest.skip(str(reason))
        pbx = stack.enter_context(Pbx(tmp_path, server, server.ca_file))

        def sign_in(which: int) -> Session:
            session = Session(pbx.config.xmpp, f"box-{which}", ignore, ignore, ignore)
            return stack.enter_context(closing(session))

        first, *others = [sign_in(which) for which in range(MOST)]
        assert not select.select([first, *others], [], [], 0)[0]
        sign_in(MOST)
        with pytest.raises(SessionError, match=r"conflict.*more sessions than the server allows"):
            while select.select([first], [], [], PATIENCE)[0]:
                first.process()
        assert not select.select(others, [], [], 0)[0]


def ignore(*_: object) -> None:
    """Steps, errors and receipts."""
