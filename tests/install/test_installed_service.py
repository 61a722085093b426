"""The service that install.sh sets up, on a machine that systemd has started; and cron, where systemd doesn't run."""

from __future__ import annotations

import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from fake_agi import Channel
from parts.asterisk import Asterisk
from parts.booted import Booted
from parts.box import CHECKOUT, Box, BoxUnavailable
from parts.boxes import (
    COMMAND,
    CONF,
    CRON,
    ETC,
    HERE,
    LIBRARY,
    LOG,
    OUTBOX,
    UNIT,
    Administrator,
    UntouchedAsterisk,
    changes,
    files,
    until,
)
from parts.certificates import Certificate
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from parts.server import free_port
from screenpop.spool.outbox import Outbox

SAMPLE = (CHECKOUT / "extensions.conf.sample").read_text()
HTTP = (CHECKOUT / "docs/http.md").read_text()
JOURNALS = ("/var/log", "/etc/machine-id")
WAITING = {"SCREEN_POP_WAIT": "20"}
SCRIPT, DOOR = "123", "127"  # extensions of the sample: AGI(screen_pop.py), and AGI(agi://…) or else the script
OVER = "ended@screen_pop:1"  # what Asterisk says when it begins to tell the end of a call


def made() -> Box:
    try:
        return Box("sid-booted")
    except BoxUnavailable as why:
        pytest.skip(f"no box: {why}")


@pytest.fixture
def box() -> Iterator[Box]:
    with made() as box:
        yield box


@pytest.fixture
def server(certificate: Certificate, new_server_folder: Path) -> Iterator[Prosody]:
    with Prosody(new_server_folder, certificate, offline=True) as server:
        yield server


class Machine:
    """Its administrator, in a box that is switched on and off."""

    def __init__(self, box: Box, server: Prosody) -> None:
        self.box, self.server = Booted(box), server
        self.port = free_port()  # boxes share the network of the machine that runs the tests

    def switch_on(self) -> None:
        self.box.__enter__()

    def switch_off(self) -> None:
        """As a power cut does."""
        self.box.close()

    def sit_down(self) -> Administrator:
        self.administrator = Administrator(self.box, self.server)
        listen_at(self.administrator, f"127.0.0.1:{self.port}")
        return self.administrator

    @property
    def pid(self) -> str:
        """Of the service, inside the machine; 0 if it isn't running."""
        return self.box.run(["systemctl", "show", "-P", "MainPID", "screen_pop"]).stdout.decode().strip()

    def status(self) -> str:
        return self.box.run([COMMAND, "status"], check=False).stdout.decode()

    def asterisk(self) -> UntouchedAsterisk:
        """With the sample's dialplan, in which agi:// has the port of this machine's service."""
        assert SAMPLE.count("agi://127.0.0.1/") == 1
        return UntouchedAsterisk(self.box, SAMPLE.replace("agi://127.0.0.1/", f"agi://127.0.0.1:{self.port}/"))

    def call(self) -> str:
        """AGI(agi://…), which waits for the confirmation. Returns SCREEN_POP_STATUS."""
        channel = Channel(callerid="+15551234567", calleridname="Bob Example", extension="123", variables=WAITING)
        return channel.run([f"agi://127.0.0.1:{self.port}/screen_pop"]).variables["SCREEN_POP_STATUS"]

    def runs(self) -> bool:
        return f"running as process {self.pid} (systemd)" in self.status()


def listen_at(administrator: Administrator, address: str) -> None:
    """Of the FastAGI door, in the configuration that install.sh writes."""
    sample = administrator.box.path(f"{HERE}/screen_pop.conf.sample")
    (default,) = re.findall("^;listen = 127.0.0.1:4573$", sample.read_text(), re.MULTILINE)
    sample.write_text(sample.read_text().replace(default, f"listen = {address}"))


def switched_on(box: Box, server: Prosody) -> Machine:
    """With nothing installed yet."""
    try:
        machine = Machine(box, server)
        machine.switch_on()
    except BoxUnavailable as why:
        pytest.skip(f"no machine with systemd: {why}")
    machine.sit_down()
    return machine


@pytest.fixture
def machine(box: Box, server: Prosody) -> Iterator[Machine]:
    """With nothing installed yet."""
    machine = switched_on(box, server)
    try:
        yield machine
    finally:
        machine.switch_off()


@pytest.fixture(scope="module")
def installed(prosody: Prosody) -> Iterator[Machine]:
    """With the service, which is up after each test as before."""
    with made() as box:
        machine = switched_on(box, prosody)
        try:
            install(machine)
            yield machine
        finally:
            machine.switch_off()


def install(machine: Machine, *options: str) -> str:
    with machine.administrator.alice() as alice:
        said = machine.administrator.install(*options)
        alice.wait_for_message()
    return said.out


def come_in(asterisk: Asterisk, extension: str, numbers: range) -> None:
    """Calls from these numbers, one call each. Returns when they are over."""
    over = asterisk.log.count(OVER)
    for number in numbers:
        asterisk.originate(extension, "incoming", callerid_num=f"+1555123{number:04}", callerid_name="Bob Example")
    asterisk.wait_for(OVER, UntouchedAsterisk.CONSOLE, count=over + len(numbers))
    until(lambda: "0 active channels" in asterisk.rx("core show channels count"))


def calls_that_wait(machine: Machine, asterisk: Asterisk, count: int) -> None:
    """While the server is down: half of them by the script, the others by agi://."""
    machine.server.stop()
    come_in(asterisk, SCRIPT, range(count // 2))
    come_in(asterisk, DOOR, range(count // 2, count))
    until(lambda: machine.administrator.waiting() == count)
    asterisk.wait_for("not sent yet", LOG)


def corrected(message: Received) -> str:
    """The id of the message that this one corrects (XEP-0308); empty if it corrects none."""
    replace = ET.fromstring(message.xml).find("{urn:xmpp:message-correct:0}replace")
    return "" if replace is None else replace.get("id", "")


def firsts(alice: Recipient) -> list[Received]:
    """The messages about calls, without the corrections of those that are over."""
    return [message for message in alice.messages if not corrected(message)]


def assert_all_come_once(alice: Recipient, count: int) -> None:
    until(lambda: len(firsts(alice)) >= count)
    alice.sync()
    assert set(Counter(message.id for message in alice.messages).values()) == {1}
    assert len({re.search(r"\d{3}-\d{4}", message.body)[0] for message in firsts(alice)}) == count  # type: ignore[index]


# --- systemd ---


def test_calls_that_wait_when_the_machine_loses_power_arrive_after_its_start(machine: Machine) -> None:
    said = install(machine)
    assert re.search("^service +systemd$", said, re.MULTILINE)
    assert re.search(
        rf"^ok +service +running as process {machine.pid} \(systemd\), fastagi 127.0.0.1:{machine.port}$",
        said,
        re.MULTILINE,
    )
    with machine.asterisk() as asterisk:
        calls_that_wait(machine, asterisk, 20)
        machine.box.run(["systemctl", "stop", "screen_pop"])
        come_in(asterisk, DOOR, range(20, 24))
        until(lambda: machine.administrator.waiting() == 24)
    machine.switch_off()
    with machine.server, machine.administrator.alice() as alice:
        machine.switch_on()
        assert_all_come_once(alice, 24)
        assert machine.runs()


@pytest.mark.parametrize("extension", [SCRIPT, DOOR], ids=["script", "agi"])
def test_a_call_reaches_the_service_and_so_does_its_end(extension: str, installed: Machine) -> None:
    bob = {"callerid_num": "+15551234567", "callerid_name": "Bob Example"}
    with installed.administrator.alice() as alice, installed.asterisk() as asterisk:
        asterisk.originate(extension, "incoming", **bob, variables=WAITING)
        first, last = (alice.wait_for_message() for _ in range(2))
        asterisk.wait_for(OVER, UntouchedAsterisk.CONSOLE)
        before_its_end = asterisk.log.partition(OVER)[0]
    text = f"all from Bob Example, +1 555-123-4567 to {extension}"
    assert first.body == f"C{text}"
    assert re.fullmatch(rf"Missed c{re.escape(text)}, \d\d:\d\d, rang \d s", last.body)
    assert corrected(first) == "" and corrected(last) == first.id
    assert before_its_end.count("Launched AGI Script") == (extension == SCRIPT)
    assert installed.box.processes("screenpop.sender") == []
    assert installed.runs()


def test_a_call_of_a_ccxml_application_and_its_end(installed: Machine) -> None:
    """At the HTTP door, after what docs/http.md says that an administrator does."""
    conf, port = installed.box.path(CONF), free_port()
    before = conf.read_text()
    (commands,) = re.findall("^    install .*\n    openssl .*$", HTTP, re.MULTILINE)
    (section,) = re.findall(r"^```ini\n(\[http\]\n.*?)^```$", HTTP, re.MULTILINE | re.DOTALL)
    assert section.count("127.0.0.1:8088") == 1
    installed.box.run(["sh", "-ec", commands])
    conf.write_text(before + section.replace("8088", str(port)))
    installed.box.run(["systemctl", "reload", "screen_pop"])
    until(lambda: f"http 127.0.0.1:{port}" in installed.status())
    token = installed.box.path(f"{ETC}/screen_pop.token").read_text().strip()
    call = {"session": "s-1", "name": "screen_pop", "id": "c-1", "ani": "sip:+15551234567@192.0.2.9", "dnis": "201"}
    with installed.administrator.alice() as alice:
        for event in ({"event": "ringing"}, {"event": "answered", "duration": "192.4"}):
            form = urlencode({"token": token, **call, **event}).encode()
            with urlopen(f"http://127.0.0.1:{port}/", form, timeout=20) as answer:
                assert answer.read() == b"screen_pop.queued\nid=c-1\nstatus=QUEUED\n"
            alice.wait_for_message()
    first, last = alice.messages
    assert first.body == "Call from +1 555-123-4567 to 201"
    assert last.body == "Call from +1 555-123-4567 to 201: answered, 3 min 12 s"
    assert corrected(first) == "" and corrected(last) == first.id
    conf.write_text(before)
    installed.box.run(["systemctl", "reload", "screen_pop"])
    until(lambda: "http" not in installed.status())


def test_systemd_has_no_complaint_about_the_unit(installed: Machine) -> None:
    verified = installed.box.run(["systemd-analyze", "verify", UNIT])
    assert verified.stdout + verified.stderr == b""
    # of 100, where 100 is no protection at all
    installed.box.run(["systemd-analyze", "security", "--threshold=20", "screen_pop.service"])


def test_what_the_unit_promises_is_in_force(installed: Machine) -> None:
    promised = {
        "Restart": "always",
        "User": "asterisk",
        "Group": "asterisk",
        "MemoryMax": str(512 * 2**20),
        "ProtectSystem": "strict",
        "PrivateTmp": "yes",
        "NoNewPrivileges": "yes",
    }
    asked = [f"--property={name}" for name in promised]
    shown = installed.box.run(["systemctl", "show", *asked, "screen_pop"]).stdout.decode()
    assert dict(line.split("=", 1) for line in shown.splitlines()) == promised
    process = installed.box.path(f"/proc/{installed.pid}")
    state = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    assert (state["NoNewPrivs"], int(state["CapBnd"], 16)) == ("1", 0)
    uid = installed.box.run(["id", "-u", "asterisk"]).stdout.decode().strip()
    assert uid != "0" and set(state["Uid"].split()) == {uid}
    written = installed.box.run(["nsenter", "--target", installed.pid, "--mount", "touch", "/usr/written"], check=False)
    assert b"Read-only file system" in written.stderr  # even for root


def test_the_service_writes_only_where_it_must(installed: Machine) -> None:
    """What it sees of the file system."""
    inside = ["nsenter", "--target", installed.pid, "--mount", "setpriv", "--reuid=asterisk", "--clear-groups"]
    installed.box.run(["install", "--directory", "--owner=asterisk", "/opt/data", "/home/asterisk"])
    installed.box.path("/home/asterisk/customers.csv").write_text("name")
    for folder, may in {
        "/var/spool/asterisk/screen_pop": True,
        "/var/log/asterisk": True,
        "/dev/shm": True,
        "/tmp": True,
        "/var/spool/asterisk": False,  # its outgoing/ makes calls
        "/var/lib/asterisk": False,
        "/opt/data": False,
        "/home/asterisk": False,
    }.items():
        written = installed.box.run([*inside, "touch", f"{folder}/written"], check=False)
        assert (written.returncode == 0) == may, folder
    assert not installed.box.path("/tmp/written").exists()
    assert installed.box.path("/dev/shm/written").exists()
    assert installed.box.run([*inside, "cat", "/home/asterisk/customers.csv"]).stdout == b"name"


def test_a_call_at_the_door_of_the_service_while_the_spool_cannot_be_written(installed: Machine) -> None:
    """It goes to the spool in memory, whose sender is started in the same sandbox."""
    uid = installed.box.run(["id", "-u", "asterisk"]).stdout.decode().strip()
    spare = installed.box.path(Outbox(OUTBOX).spare_path.replace(f"-{os.geteuid()}-", f"-{uid}-"))
    installed.box.run(["chown", "root", f"{OUTBOX}/tmp"])
    try:
        with installed.administrator.alice() as alice:
            assert installed.call() == "DELIVERED"
            assert "Bob Example" in alice.wait_for_message().body
    finally:
        installed.box.run(["chown", "asterisk", f"{OUTBOX}/tmp"])
    assert spare.is_dir()
    assert installed.runs()


def test_a_spool_that_is_missing_when_the_service_starts_is_made(installed: Machine) -> None:
    """By Asterisk's user, as the service sees its folder read-only."""
    installed.box.run(["systemctl", "stop", "screen_pop"])
    installed.box.run(["rm", "-r", OUTBOX])
    installed.box.run(["systemctl", "start", "screen_pop"])
    made = installed.box.run(["stat", "--format=%U:%G %a", OUTBOX]).stdout.decode()
    assert made == "asterisk:asterisk 700\n"
    with installed.administrator.alice() as alice:
        assert installed.call() == "DELIVERED"
        assert "Bob Example" in alice.wait_for_message().body
    assert len(list(installed.box.path(f"{OUTBOX}/sent").iterdir())) == 1  # not in memory
    assert installed.runs()


def test_a_service_that_is_down_is_a_problem(installed: Machine) -> None:
    installed.box.run(["systemctl", "stop", "screen_pop"])
    try:
        for command, text in {
            "check": "PROBLEM  service        not running; to see why: systemctl status screen_pop\n",
            "status": "service    not running; to see why: systemctl status screen_pop\n",
        }.items():
            said = installed.box.run([COMMAND, command], check=False)
            assert said.returncode == 1 and text in said.stdout.decode(), command
        assert said.stdout.startswith(b"STUCK: 0 waiting")
    finally:
        installed.box.run(["systemctl", "start", "screen_pop"])
    assert installed.box.run([COMMAND, "check"], check=False).returncode == 0
    assert installed.box.run([COMMAND, "status"], check=False).returncode == 0


def test_a_version_without_the_command_is_not_restarted_for_ever(machine: Machine) -> None:
    """As after a downgrade to 0.1."""
    install(machine)
    (commands,) = machine.box.path(LIBRARY).glob("releases/*/venv/lib/python3*/site-packages/screenpop/commands")
    (commands / "serve.py").unlink()
    machine.box.run(["systemctl", "restart", "screen_pop"], check=False)
    shown = machine.box.run(["systemctl", "show", "-P", "ActiveState", "-P", "NRestarts", "screen_pop"])
    assert shown.stdout.decode().split() == ["failed", "0"]


def test_a_service_that_is_killed_or_hangs_is_started_again(installed: Machine) -> None:
    folder = installed.box.path(f"{UNIT}.d")
    folder.mkdir()
    (folder / "sooner.conf").write_text("[Service]\nWatchdogSec=8\nRestartSec=0\n")
    installed.box.run(["systemctl", "daemon-reload"])
    installed.box.run(["systemctl", "restart", "screen_pop"])
    for signal in ("KILL", "STOP"):
        before = installed.pid
        installed.box.run(["sh", "-c", f"kill -{signal} {before}"])
        until(lambda before=before: installed.pid not in ("0", before) and installed.runs())  # type: ignore[misc]
        with installed.administrator.alice() as alice:
            installed.box.run([COMMAND, "test", "+15551234567"])
            alice.wait_for_message()
    shutil.rmtree(folder)
    installed.box.run(["systemctl", "daemon-reload"])


def test_systemctl_reload_reads_the_configuration_again(installed: Machine) -> None:
    before, conf = installed.pid, installed.box.path(CONF)
    text = conf.read_text()
    for port in (free_port(), installed.port):
        conf.write_text(text.replace(f"127.0.0.1:{installed.port}", f"127.0.0.1:{port}"))
        installed.box.run(["systemctl", "reload", "screen_pop"])
        until(lambda port=port: f"fastagi 127.0.0.1:{port}\n" in installed.status())  # type: ignore[misc]
    assert installed.pid == before


def test_an_upgrade_restarts_the_service_and_loses_nothing(machine: Machine) -> None:
    install(machine)
    before = machine.pid
    with machine.asterisk() as asterisk:
        calls_that_wait(machine, asterisk, 20)
    machine.administrator.new_version("0.9.0")
    machine.administrator.run(*machine.administrator.offline, status=1)  # the server can't be reached
    assert machine.runs() and machine.pid != before
    command = machine.box.path(f"/proc/{machine.pid}/cmdline").read_bytes()
    assert b"releases/0.9.0-" in command
    with machine.server, machine.administrator.alice() as alice:
        machine.box.run([COMMAND, "flush"])
        assert_all_come_once(alice, 20)


def test_a_second_run_leaves_the_service_running(installed: Machine) -> None:
    before, pid = files(installed.box, OUTBOX, *JOURNALS), installed.pid
    assert "Nothing to do" in install(installed)
    assert changes(before, files(installed.box, OUTBOX, *JOURNALS)) == []
    assert installed.pid == pid


@pytest.mark.parametrize("wanted", ["disable --now", "stop"])
def test_a_service_that_the_administrator_has_ended_stays_so_in_an_upgrade(wanted: str, machine: Machine) -> None:
    install(machine)
    machine.box.run(["systemctl", *wanted.split(), "screen_pop"])
    machine.administrator.new_version("0.9.0")
    assert machine.pid == "0"
    said = install(machine)
    assert machine.pid == "0"
    text = "note +service +neither" if "disable" in wanted else "PROBLEM +service +not running"
    assert re.search(f"^{text}", said, re.MULTILINE)


def test_a_unit_of_somebody_else_is_not_changed(machine: Machine) -> None:
    machine.box.run(["systemctl", "mask", "screen_pop.service"])
    said = install(machine)
    assert f"{UNIT} was not written by this installer and is not changed." in said
    machine.administrator.run("--uninstall")
    assert os.readlink(machine.box.path(os.path.dirname(UNIT)) / os.path.basename(UNIT)) == "/dev/null"


def test_without_a_configuration_the_service_waits_for_it(machine: Machine) -> None:
    administrator = machine.administrator
    administrator.run(*administrator.offline)
    assert machine.runs()
    machine.box.path(CONF).unlink()
    assert "Nothing to do" not in install(machine)
    assert machine.runs()


@pytest.mark.parametrize("option", ["--uninstall", "--no-service"])
def test_the_service_goes(option: str, machine: Machine) -> None:
    install(machine, "--no-service")
    assert machine.pid == "0" and not machine.box.path(UNIT).exists()
    before = files(machine.box, OUTBOX, f"{LIBRARY}/no-service", *JOURNALS)
    install(machine, "--service")
    assert machine.runs()
    if option == "--uninstall":
        machine.administrator.run("--uninstall")
        left = changes(before, files(machine.box, OUTBOX, *JOURNALS))
        assert [line for line in left if "/etc/systemd/" in line] == []
    else:
        install(machine, option)
        assert changes(before, files(machine.box, OUTBOX, f"{LIBRARY}/no-service", *JOURNALS)) == []
    units = machine.box.run(["systemctl", "list-units", "--all", "--plain", "screen_pop*"]).stdout.decode()
    assert "screen_pop" not in units
    assert machine.box.processes("serve") == []


# --- cron ---


@pytest.fixture
def with_cron(box: Box, server: Prosody) -> Administrator:
    administrator = Administrator(box, server)
    listen_at(administrator, "no")
    return administrator


def leave_a_call(administrator: Administrator, number: int) -> None:
    """It waits, no sender runs, and the server is up again."""
    box, server = administrator.box, administrator.server
    server.stop()
    with UntouchedAsterisk(box, SAMPLE) as asterisk:
        come_in(asterisk, SCRIPT, range(number, number + 1))
        until(lambda: administrator.waiting() == 1)
        asterisk.wait_for("not sent yet", LOG, count=number + 1)
    for process in box.processes("screenpop.sender"):
        box.run(["sh", "-c", f"kill -KILL {process}"])
    server.start()


def said_to_cron(box: Box, command: str) -> bytes:
    """What the command prints when cron runs it, and sends by mail: crontab(5)."""
    environment = {"HOME": "/var/lib/asterisk", "LOGNAME": "asterisk", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
    done = box.run(["/bin/sh", "-c", command], user="asterisk", env=environment)
    return done.stdout + done.stderr


def test_where_systemd_does_not_run_cron_sends_what_waits(with_cron: Administrator) -> None:
    """At its start after a restart of the machine, and every five minutes."""
    box = with_cron.box
    with with_cron.alice() as alice:
        said = with_cron.install()
        alice.wait_for_message()
    assert re.search(f"^service +{CRON}$", said.out, re.MULTILINE)
    assert not box.path(UNIT).exists()
    leave_a_call(with_cron, 0)
    with with_cron.alice() as alice:
        cron = box.popen(["cron", "-f"])
        try:
            assert "+1 555-123-0000" in alice.wait_for_message().body
            status = box.run([COMMAND, "status"]).stdout.decode()
            assert f"service    cron: after a restart of the machine, {CRON} sends what waits\n" in status
        finally:
            cron.kill()
            cron.wait()
    lines = [line for line in box.path(CRON).read_text().splitlines() if not line.startswith("#")]
    command = f"{COMMAND} flush --start"
    assert lines == [f"@reboot asterisk {command}", f"*/5 * * * * asterisk {command}"]
    assert said_to_cron(box, command) == b""
    leave_a_call(with_cron, 1)
    with with_cron.alice() as alice:
        assert said_to_cron(box, command) == b""
        assert "+1 555-123-0001" in alice.wait_for_message().body


def test_what_somebody_else_wrote_for_cron_is_not_changed(with_cron: Administrator) -> None:
    table = with_cron.box.path(CRON)
    table.write_text("*/5 * * * * asterisk /usr/local/bin/screen-pop flush >/dev/null\n")
    before = table.read_text()
    said = with_cron.run(*with_cron.offline).out
    assert f"{CRON} was not written by this installer and is not changed." in said
    with_cron.run("--uninstall")
    assert table.read_text() == before


def test_no_service_is_remembered(with_cron: Administrator) -> None:
    table = with_cron.box.path(CRON)
    with_cron.run(*with_cron.offline, "--no-service")
    assert not table.exists()
    assert re.search("^service +none$", with_cron.run(*with_cron.offline).out, re.MULTILINE)
    assert not table.exists()
    with_cron.run(*with_cron.offline, "--service")
    assert table.exists()
    with_cron.run("--uninstall")
    assert not table.exists()


def test_a_package_has_the_unit_and_does_not_start_it(with_cron: Administrator) -> None:
    with_cron.install("--prefix", "/usr", env={"DESTDIR": "/opt/stage"})
    unit = with_cron.box.path("/opt/stage/usr/lib/systemd/system/screen_pop.service").read_text()
    assert "\nExecStart=/usr/bin/screen-pop serve\n" in unit and "/opt/stage" not in unit
    assert not with_cron.box.path(CRON).exists()
