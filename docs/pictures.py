"""Takes the pictures of README.md: a pop, and its correction at the end of the call, in clients that people use.

Each client runs in a Debian 13 of its own, without a person: on an X server without a screen, signed in as alice to a
Prosody on this machine. Alice has the pbx in her contact list. The client's own database says whether it took the
second message for a correction of the first; only then its pictures are written.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fake_agi import Channel
from parts.box import Box, BoxUnavailable
from parts.certificates import Authority
from parts.debs import NotAvailable
from parts.pbx import SCRIPT, Pbx
from parts.prosody import Prosody
from parts.waiting import eventually

PICTURES = Path(__file__).parent / "pictures"
DOMAIN = "example.org"
PBX, ALICE = f"pbx@{DOMAIN}", f"alice@{DOMAIN}"
ACCOUNTS = {"pbx": "pbx's secret", "alice": "alice's secret"}
# Alice's contact list is a shared group of Prosody (mod_groups).
GROUPS = f"[Office]\n{PBX}=Phone calls\n{ALICE}=Alice\n"
CUSTOMERS = """\
[customers]
type = csv
file = {file}
number = phone
name = full_name
company = company
url = https://crm.example.org/c/{{id}}
"""
PORT = 5222  # the clients find no SRV record, so they try this port

UNCHANGED_FOR = 1.5  # seconds after which a window is taken for complete
PATIENCE = 30.0  # seconds

POP = "Call from Alice Example, +1 555-123-4567 to 201\nExample Ltd\nhttps://crm.example.org/c/1"
CORRECTION = POP.replace("to 201", "to 201: answered by bob, 3 min 12 s")


def pop_and_correct(server: Prosody, meanwhile: Callable[[], object]) -> None:
    """A call, which shows POP to alice, and its end when `meanwhile` has returned, which shows CORRECTION."""
    with tempfile.TemporaryDirectory() as folder, Pbx(Path(folder), server, server.ca_file) as pbx:
        pbx.outbox.make()
        pbx.configure(jid=PBX, password=server.accounts["pbx"], to=ALICE)
        customers = Path(folder, "customers.csv")
        customers.write_text("id,phone,full_name,company\n1,+15551234567,Alice Example,Example Ltd\n")
        with pbx.conf.open("a") as configuration:
            configuration.write(CUSTOMERS.format(file=customers))
        pbx.screen_pop("index")  # otherwise the first call would not wait for it
        channel = Channel(callerid="+15551234567", extension="201")
        channel.run([SCRIPT], env=pbx.env)
        meanwhile()
        outcome = {"DIALSTATUS": "ANSWER", "ANSWEREDTIME": "192", "DIALEDPEERNAME": "PJSIP/bob-00000002"}
        channel.state.variables.update(outcome)
        channel.run([SCRIPT, "", "", "ended"], env=pbx.env)
        pbx.wait_until_sent()


class Failed(Exception):
    """A client did not do what it should. The text continues a sentence about it."""


class Desktop:
    """Alice's X server, session bus and window manager in a box. `home`: a folder that doesn't exist yet."""

    def __init__(self, box: Box, home: Path) -> None:
        self.box, self.home = box, home
        home.mkdir()
        box.share(home)
        box.run(["useradd", "--home-dir", home, "alice"])
        for version in ("3.0", "4.0"):  # a blinking cursor would make each picture another one
            settings = "[Settings]\ngtk-cursor-blink=0\ngtk-enable-animations=0\n"
            self.write(f".config/gtk-{version}/settings.ini", settings)
        self.env = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "LANG": "C.UTF-8", "GSK_RENDERER": "cairo"}
        screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
        x_server = box.popen(screen, user="alice", env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert x_server.stdout
        self.env["DISPLAY"] = f":{x_server.stdout.readline().decode().strip()}"
        self.env["DBUS_SESSION_BUS_ADDRESS"] = address = f"unix:path={home}/bus"
        self.start("dbus-daemon", "--session", "--nofork", f"--address={address}")
        eventually((home / "bus").exists)
        self.start("openbox")

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self.box.popen(command, user="alice", env=self.env, **quiet)

    def run(self, *command: str) -> bytes:
        return self.box.run(command, user="alice", env=self.env, timeout=PATIENCE).stdout

    def write(self, name: str, text: str) -> None:
        """A file in alice's home."""
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        self.box.run(["chown", "--recursive", "alice:alice", self.home])

    def window(self, *which: str) -> str:
        """The id of a window, when it is there. `which`: options of `xdotool search`."""
        try:
            return self.run("xdotool", "search", "--sync", "--onlyvisible", *which).split()[0].decode()
        except subprocess.TimeoutExpired:
            raise Failed(f"had no window within {PATIENCE:.0f} s") from None

    def picture(self, window: str, before: bytes = b"") -> bytes:
        """A PNG of the window, when it is another one than `before` and doesn't change any more."""
        end = time.monotonic() + PATIENCE
        taken, since = before, time.monotonic()
        while time.monotonic() < end:
            again = self.run("import", "-window", window, "-strip", "-define", "png:exclude-chunks=date,time", "png8:-")
            if again != taken:
                taken, since = again, time.monotonic()
            elif taken != before and time.monotonic() - since > UNCHANGED_FOR:
                return taken
        raise Failed(f"showed nothing new for {PATIENCE:.0f} s" if taken == before else "did not stop to change")


class Client:
    """A client of alice's.

    `window`: the class of its window, `size`: in pixels. `database`: the file with its messages, `correction`: a query
    for the text of a message and the text that corrects it. Paths begin in alice's home.
    """

    window: str
    size: tuple[str, str]
    database: str
    correction: str

    def __init__(self, desktop: Desktop) -> None:
        self.desktop = desktop

    def start(self) -> None:
        """Sign in as alice, without a dialog."""
        raise NotImplementedError

    def open_chat(self) -> None:
        raise NotImplementedError

    def make_files(self, command: str) -> None:
        """Start it without an account, and end it when it has made its files."""
        first = self.desktop.start(command)
        self.desktop.picture(self.desktop.window("--class", self.window))
        first.kill()
        first.wait()

    def execute(self, database: str, statement: str, *values: str) -> None:
        """While the client isn't running."""
        with closing(sqlite3.connect(self.desktop.home / database)) as opened, opened:
            opened.execute(statement, values)

    def took_for_a_correction(self, folder: Path) -> bool:
        """According to a copy of its database: Profanity drops a message while somebody else reads the database."""
        for file in self.desktop.home.glob(f"{self.database}*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(folder / Path(self.database).name)) as copy:
            return copy.execute(self.correction, (POP, CORRECTION)).fetchone() is not None


class Gajim(Client):
    window, size = "gajim", ("800", "400")
    database = ".local/share/gajim/logs.db"
    correction = "SELECT 1 FROM message a JOIN message b ON b.correction_id = a.id WHERE a.text = ? AND b.text = ?"
    settings = ".config/gajim/settings.sqlite"

    def start(self) -> None:
        app = {"use_keyring": False, "sounds_on": False, "show_help_start_chat": False, "chat_handle_position": 250}
        account: dict[str, object] = {"savepass": True, "active": True, "autoconnect": True, "resource": "gajim"}
        account |= {"name": "alice", "hostname": DOMAIN, "address": ALICE, "password": ACCOUNTS["alice"]}
        row = json.dumps({"account": account})
        self.make_files("gajim")
        self.execute(self.settings, "UPDATE settings SET settings = ? WHERE name = 'app'", json.dumps(app))
        self.execute(self.settings, "INSERT INTO account_settings VALUES ('alice', ?)", row)
        self.desktop.start("gajim")

    def open_chat(self) -> None:
        self.desktop.run("gajim", f"xmpp:{PBX}?message")  # opens a dialog, with the contact already selected
        self.desktop.picture(self.desktop.window("--name", "Start / Join Chat"))
        self.desktop.run("xdotool", "key", "Return")


class Dino(Client):
    window, size = "dino", ("760", "400")
    database = ".local/share/dino/dino.db"
    correction = (
        "SELECT 1 FROM message a JOIN message_correction c ON c.to_stanza_id = a.stanza_id "
        "JOIN message b ON b.id = c.message_id WHERE a.body = ? AND b.body = ?"
    )

    def start(self) -> None:
        insert = (
            "INSERT INTO account (bare_jid, password, resourcepart, enabled, alias, roster_version, "
            "mam_earliest_synced) VALUES (?, ?, 'dino', 1, '', '', 0)"
        )
        # Dino 0.5 shows its menu for the message under the pointer even if the pointer never was there (issue 1790).
        self.desktop.write(".config/gtk-4.0/gtk.css", ".overlay-toolbar { opacity: 0; }\n")
        self.make_files("dino-im")
        self.execute(self.database, insert, ALICE, ACCOUNTS["alice"])
        self.desktop.start("dino-im")

    def open_chat(self) -> None:
        self.desktop.run("dino-im", f"xmpp:{PBX}?message")


class Profanity(Client):
    window, size = "xterm", ("760", "200")
    database = ".local/share/profanity/database/alice_at_example.org/chatlog.db"
    correction = (
        "SELECT 1 FROM ChatLogs a JOIN ChatLogs b ON b.replaces_db_id = a.id WHERE a.message = ? AND b.message = ?"
    )

    def start(self) -> None:
        account = {"enabled": "true", "jid": ALICE, "password": ACCOUNTS["alice"], "resource": "profanity"}
        account |= {"presence.last": "online", "presence.login": "online"}
        options = "".join(f"{name}={value}\n" for name, value in account.items())
        self.desktop.write(".local/share/profanity/accounts", f"[alice]\n{options}")
        self.desktop.start("xterm", "-fa", "DejaVu Sans Mono", "-fs", "11", "-e", "profanity", "--account", "alice")

    def open_chat(self) -> None:
        self.desktop.run("xdotool", "type", f"/msg {PBX}\n")


def take_pictures(kind: type[Client], folder: Path) -> list[bytes]:
    """With the pop, and with its correction."""
    certificate = Authority(folder).issue(folder, DOMAIN)
    groups = folder / "groups"
    groups.write_text(GROUPS)
    extra = f'modules_enabled = {{ "groups", "pep" }}\ngroups_file = "{groups}"'
    server = Prosody(folder / "prosody", certificate, DOMAIN, ACCOUNTS, debug=True, extra=extra, port=PORT)
    with server, Box("trixie-clients") as box:
        box.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{server.host} {DOMAIN}\n")
        box.path("/etc/resolv.conf").write_text(f"nameserver {server.host}\n")  # there is none
        box.path("/usr/local/share/ca-certificates/test.crt").write_text(server.ca_file.read_text())
        box.run(["update-ca-certificates"])
        desktop = Desktop(box, folder / "alice")
        client = kind(desktop)
        client.start()
        # It can receive messages as soon as the server has got its presence.
        eventually(lambda: re.search(r"Received\[c2s\]: <presence", server.log()), lambda: "did not sign in")
        window = desktop.window("--class", client.window)
        desktop.run("xdotool", "windowsize", window, *client.size)
        client.open_chat()
        taken = [desktop.picture(window)]
        pop_and_correct(server, lambda: taken.append(desktop.picture(window, taken[-1])))
        taken.append(desktop.picture(window, taken[-1]))
        if not client.took_for_a_correction(folder):
            raise Failed("did not take the second message for a correction of the first")
        return taken[1:]


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for kind in (Gajim, Dino, Profanity):
        try:
            with tempfile.TemporaryDirectory(prefix="screen_pop-") as folder:
                Path(folder).chmod(0o755)  # alice and the server's user enter it
                pictures = take_pictures(kind, Path(folder))
        except (BoxUnavailable, NotAvailable) as why:
            sys.exit(f"docs/pictures.py: {why}")
        except (Failed, AssertionError) as why:
            sys.exit(f"docs/pictures.py: {kind.__name__} {why}.")
        for number, picture in enumerate(pictures, 1):
            file = PICTURES / f"{kind.__name__.lower()}-{number}.png"
            file.write_bytes(picture)
            print(f"{file}: {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
