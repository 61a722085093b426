"""The service that install.sh sets up, on a machine that systemd has started; and cron, where systemd doesn't run."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_agi import Channel
from parts.booted import Booted
from parts.box import CHECKOUT, Box, BoxUnavailable
from parts.boxes import (
    COMMAND,
    CONF,
    CRON,
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
JOURNALS = ("/var/log", "/etc/machine-id")
WAITING = {"SCREEN_POP_WAIT": "20"}


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


def calls_that_wait(machine: Machine, count: int) -> None:
    """With a real Asterisk, while the server is down."""
    machine.server.stop()
    with UntouchedAsterisk(machine.box, SAMPLE) as asterisk:
        for number in range(count):
            asterisk.originate("123", "incoming", callerid_num=f"+1555123{number:04}", callerid_name="Bob Example")
        until(lambda: machine.administrator.waiting() == count)
        asterisk.wait_for("not sent yet", LOG)


def firsts(alice: Recipient) -> list[Received]:
    """The messages about calls, without the corrections of those that are over."""
    return [message for message in alice.messages if "urn:xmpp:message-correct" not in message.xml]


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
    calls_that_wait(machine, 20)
    machine.switch_off()
    with machine.server, machine.administrator.alice() as alice:
        machine.switch_on()
        assert_all_come_once(alice, 20)
        assert machine.runs()


def test_the_script_and_the_door_reach_the_service(installed: Machine) -> None:
    with installed.administrator.alice() as alice, UntouchedAsterisk(installed.box, SAMPLE) as asterisk:
        asterisk.originate("123", "incoming", callerid_num="+15551234567", callerid_name="Bob Example")
        assert "Bob Example" in alice.wait_for_message().body
        assert installed.call() == "DELIVERED"
        assert installed.box.processes("screenpop.sender") == []
        assert installed.runs()
        owner = installed.box.run(["stat", "--format=%U:%G", f"/proc/{installed.pid}"]).stdout.decode()
        assert owner == "asterisk:asterisk\n"


def test_systemd_has_no_complaint_about_the_unit(installed: Machine) -> None:
    verified = installed.box.run(["systemd-analyze", "verify", UNIT])
    assert verified.stdout + verified.stderr == b""
    # of 100, where 100 is no protection at all
    installed.box.run(["systemd-analyze", "security", "--threshold=20", "screen_pop.service"])


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
    before, other = installed.pid, free_port()
    conf = installed.box.path(CONF)
    conf.write_text(conf.read_text().replace(f"127.0.0.1:{installed.port}", f"127.0.0.1:{other}"))
    installed.box.run(["systemctl", "reload", "screen_pop"])
    until(lambda: f"fastagi 127.0.0.1:{other}\n" in installed.status())
    installed.port = other
    assert installed.pid == before


def test_an_upgrade_restarts_the_service_and_loses_nothing(machine: Machine) -> None:
    install(machine)
    before = machine.pid
    calls_that_wait(machine, 20)
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


def test_where_systemd_does_not_run_cron_sends_what_waits_after_a_restart(with_cron: Administrator) -> None:
    box, server = with_cron.box, with_cron.server
    with with_cron.alice() as alice:
        said = with_cron.install()
        alice.wait_for_message()
    assert re.search(f"^service +{CRON}$", said.out, re.MULTILINE)
    assert not box.path(UNIT).exists()
    server.stop()
    with UntouchedAsterisk(box, SAMPLE) as asterisk:
        asterisk.originate("123", "incoming", callerid_num="+15551234567", callerid_name="Bob Example")
        until(lambda: with_cron.waiting() == 1)
        asterisk.wait_for("not sent yet", LOG)
    for process in box.processes("screenpop.sender"):
        box.run(["sh", "-c", f"kill -KILL {process}"])
    server.start()
    with with_cron.alice() as alice:
        cron = box.popen(["cron", "-f"])
        try:
            assert "Bob Example" in alice.wait_for_message().body
            status = box.run([COMMAND, "status"]).stdout.decode()
            assert f"service    cron: after a restart of the machine, {CRON} sends what waits\n" in status
        finally:
            cron.kill()
            cron.wait()
    table = [line.split(None, 6) for line in box.path(CRON).read_text().splitlines() if line.startswith("*/5 ")]
    ((*when, user, command),) = table
    assert (when, user) == (["*/5", "*", "*", "*", "*"], "asterisk")
    done = box.run(command.split(), user=user)
    assert done.stdout + done.stderr == b""  # else cron would send mail


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
