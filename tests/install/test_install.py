"""install.sh on the boxes that people have: Debian's Asterisk 22 and 16, untouched; a real Prosody, a real client."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parts.asterisk import Asterisk
from parts.box import CHECKOUT, Box, BoxUnavailable
from parts.boxes import (
    AGI_FOLDER,
    CA,
    COMMAND,
    CONF,
    ETC,
    HERE,
    LIBRARY,
    LOG,
    LOGROTATE,
    OUTBOX,
    PASSWORD,
    PYTHON,
    RELEASES,
    SCRIPT,
    WHEELS,
    Administrator,
    Running,
    Terminal,
    UntouchedAsterisk,
    changes,
    files,
    until,
)
from parts.certificates import Certificate
from parts.prosody import Prosody
from parts.recipient import Received, Recipient
from screenpop.spool.outbox import Outbox

SUITES = ["sid", "bullseye"]
SAMPLE = (CHECKOUT / "extensions.conf.sample").read_text()
TEST_POP = r"Call from .*\S to test"
POP = "Call from Bob Example, +1 555-123-4567 to 123"
NOTHING_TO_DO = "(?i)nothing to do"


@pytest.fixture(params=SUITES, scope="module")
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def made(suite: str) -> Box:
    try:
        return Box(suite)
    except BoxUnavailable as why:
        pytest.skip(f"no Asterisk box: {why}")


@pytest.fixture
def administrator(suite: str, prosody: Prosody) -> Iterator[Administrator]:
    """In a box of the test's own, with nothing installed yet."""
    with made(suite) as box:
        yield Administrator(box, prosody)


@pytest.fixture(scope="module")
def bare(prosody: Prosody) -> Iterator[Administrator]:
    """In a box that nothing may change."""
    with made("sid") as box:
        yield Administrator(box, prosody)


@pytest.fixture(scope="module")
def asterisk(suite: str, prosody: Prosody) -> Iterator[Asterisk]:
    """Up, in a box that has screen_pop: what is done there must leave it as it is."""
    with made(suite) as box:
        administrator = Administrator(box, prosody)
        with administrator.alice():
            administrator.install()
        with box.path(CONF).open("a") as conf:
            conf.write("[pop]\nflood_limit = no\n")  # many tests call from the same number
        with UntouchedAsterisk(box, SAMPLE) as asterisk:
            yield asterisk


@pytest.fixture
def installed(asterisk: Asterisk, prosody: Prosody) -> Iterator[Administrator]:
    """That of the box with screen_pop; his checkout is as new when the next test begins."""
    shutil.rmtree(asterisk.box.path(HERE), ignore_errors=True)
    shutil.rmtree(asterisk.box.path(WHEELS), ignore_errors=True)
    administrator = Administrator(asterisk.box, prosody)
    before = files(asterisk.box, OUTBOX, "/opt")
    release = administrator.current()
    yield administrator
    assert administrator.current() == release
    assert changes(before, files(asterisk.box, OUTBOX, "/opt")) == []


def call(asterisk: Asterisk) -> None:
    asterisk.originate("123", "incoming", callerid_num="+15551234567", callerid_name="Bob Example")


def assert_pops(asterisk: Asterisk, alice: Recipient) -> None:
    call(asterisk)
    assert alice.wait_for_message().body == POP


def owner_and_mode(box: Box, path: str) -> str:
    return box.run(["stat", "--dereference", "--format=%U:%G %a", path]).stdout.decode().strip()


def first_line(administrator: Administrator) -> str:
    """Of the script, as the kernel reads it."""
    return administrator.box.path(SCRIPT).read_text().splitlines()[0]


def first_install(administrator: Administrator) -> None:
    with administrator.alice() as alice:
        administrator.install()
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)


# --- the first time ---


def test_one_command_ends_with_a_delivered_test_pop_and_then_calls_pop(administrator: Administrator) -> None:
    with administrator.alice() as alice:
        said = administrator.install()
        message = alice.wait_for_message()
        assert re.fullmatch(TEST_POP, message.body)
        assert message.from_jid.startswith("pbx@screenpop.test/")
        assert "DELIVERED" in said.out
        assert "AGI(screen_pop.py,${CALLERID(num)})" in said.out
        assert "extensions.conf" in said.out and "extensions_custom.conf" in said.out
        assert "[screen_pop]\n    exten => ended,1,AGI(screen_pop.py,,,ended)" in said.out
        assert "To become a contact of the recipients, run: screen-pop introduce" in said.out
        with UntouchedAsterisk(administrator.box, SAMPLE) as asterisk:
            assert_pops(asterisk, alice)
            (sender,) = administrator.box.processes("screenpop.sender")
            assert owner_and_mode(administrator.box, f"/proc/{sender}").startswith("asterisk:asterisk")


def test_what_is_installed_belongs_to_whom_it_should(administrator: Administrator) -> None:
    first_install(administrator)
    box = administrator.box
    assert owner_and_mode(box, SCRIPT) == "root:root 755"
    assert owner_and_mode(box, COMMAND) == "root:root 755"
    assert owner_and_mode(box, CONF) == "root:asterisk 640"
    assert owner_and_mode(box, PASSWORD) == "root:asterisk 640"
    assert owner_and_mode(box, OUTBOX) == "asterisk:asterisk 700"
    assert not box.path(LOGROTATE).exists() or owner_and_mode(box, LOGROTATE) == "root:root 644"
    assert first_line(administrator) == f"#!{RELEASES}/{administrator.current()}/venv/bin/python3 -IS"
    assert box.path(PASSWORD).read_text() == administrator.server.accounts["pbx"] + "\n"
    assert box.run(["cat", CA], user="asterisk").stdout == administrator.server.ca_file.read_bytes()
    assert administrator.releases() == {administrator.current()}
    assert administrator.current().startswith(administrator.installed_version())
    for path in box.path(LIBRARY).rglob("*"):
        state = path.lstat()
        assert (state.st_uid, state.st_gid) == (0, 0), path
        assert stat.S_ISLNK(state.st_mode) or not state.st_mode & 0o022, path
    # nobody writes the configuration, the password, or the code, as Asterisk's user
    for name in (CONF, PASSWORD, CA, SCRIPT, COMMAND, LIBRARY, f"{LIBRARY}/current/venv"):
        assert box.run(["test", "-w", name], user="asterisk", check=False).returncode == 1, name


def test_the_byte_code_is_there_and_is_the_one_that_python_uses(administrator: Administrator) -> None:
    first_install(administrator)
    box = administrator.box
    code = (
        "import pathlib, sys, screenpop.doors.agi, screenpop.sender.loop, asterisk.agi, xmpp, dns\n"
        "loaded = [m for m in sys.modules.values() if '/screen_pop/' in (getattr(m, '__file__', None) or '')]\n"
        "print(len(loaded), *[m.__name__ for m in loaded if not pathlib.Path(m.__cached__).exists()])\n"
    )
    # -v tells of modules that are compiled because their byte-code isn't there or is older
    done = box.run([PYTHON, "-v", "-c", code], user="asterisk")
    count, *without = done.stdout.decode().split()
    assert int(count) > 20 and without == []
    said = done.stderr.decode().splitlines()
    assert [line for line in said if line.startswith(f"# code object from {LIBRARY}")] == []  # with quotes: byte-code


def test_asterisks_user_can_use_the_command_line(administrator: Administrator) -> None:
    first_install(administrator)
    said = administrator.box.run([COMMAND, "check"], user="asterisk").stdout.decode()
    assert "PROBLEM" not in said and "ok       sign-in" in said


def test_one_rule_of_logrotate_takes_the_log(administrator: Administrator) -> None:
    first_install(administrator)
    folder = administrator.box.path("/etc/logrotate.d")
    rules = [line for file in folder.iterdir() for line in file.read_text().splitlines() if not line.startswith("#")]
    assert len([line for line in rules if re.search(r"/var/log/asterisk/(\*|screen_pop)\.log\b", line)]) == 1


def test_a_running_asterisk_need_not_be_stopped(administrator: Administrator) -> None:
    with UntouchedAsterisk(administrator.box, SAMPLE) as asterisk, administrator.alice() as alice:
        said = administrator.install()
        assert "AGI scripts" in said.out
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
        assert owner_and_mode(administrator.box, OUTBOX) == "asterisk:asterisk 700"
        assert_pops(asterisk, alice)


@pytest.fixture(scope="session")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By this machine, which has a network, and which may have another version of Python than the boxes."""
    folder = tmp_path_factory.mktemp("download") / "wheels"
    done = subprocess.run(
        [CHECKOUT / "install.sh", "--download", folder, "--with", "ldap,http,vcard"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert f"./install.sh --wheels {folder} --with http,ldap,vcard\n" in done.stdout
    return folder


def provide(administrator: Administrator, downloaded: Path) -> None:
    shutil.rmtree(administrator.box.path(WHEELS))
    shutil.copytree(downloaded, administrator.box.path(WHEELS))


def added(administrator: Administrator) -> set[str]:
    """Those of the libraries that Asterisk's user can import."""
    code = "import sys\ntry:\n    __import__(sys.argv[1])\nexcept ModuleNotFoundError:\n    sys.exit(9)"
    found = {
        library: administrator.box.run([PYTHON, "-I", "-c", code, library], user="asterisk", check=False).returncode
        for library in ("ldap3", "urllib3", "vobject")
    }
    assert set(found.values()) <= {0, 9}
    return {library for library, status in found.items() if status == 0}


def test_offline_with_what_another_machine_has_downloaded(administrator: Administrator, downloaded: Path) -> None:
    box = administrator.box
    provide(administrator, downloaded)
    # lo is down in there as well, and so the check after it can't reach the server
    said = administrator.install("--with", "vcard,http,ldap", status=1, within=["unshare", "--net"])
    assert administrator.installed_version()
    assert "installed" in said.err
    assert added(administrator) == {"ldap3", "urllib3", "vobject"}
    with administrator.alice() as alice:
        assert re.search(NOTHING_TO_DO, administrator.install().out)
        box.run([COMMAND, "test", "+15551234567"])
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)


def test_without_an_account_it_asks_nothing_and_says_what_to_fill_in(administrator: Administrator) -> None:
    said = administrator.run(*administrator.offline)
    assert CONF in said.out
    box = administrator.box
    assert owner_and_mode(box, CONF) == "root:asterisk 640"
    assert owner_and_mode(box, SCRIPT) == "root:root 755"
    assert "AGI(screen_pop.py" in said.out


def test_a_configuration_that_is_there_already_is_used_and_kept(administrator: Administrator) -> None:
    server, conf = administrator.server, administrator.box.path(CONF)
    conf.write_text(
        f"[xmpp]\njid = {server.jid('pbx')}\npassword_file = {PASSWORD}\n"
        f"server = {server.host}:{server.port}\nca_file = {CA}\n"
        f"[pop]\nto = {server.jid('alice')}\nmessage = Ring {{number}}\n"
    )
    administrator.box.path(PASSWORD).write_text(server.accounts["pbx"])
    shutil.copy(server.ca_file, administrator.box.path(CA))
    administrator.box.run(["chgrp", "asterisk", CONF, PASSWORD])
    for path in (CONF, PASSWORD):
        administrator.box.path(path).chmod(0o640)
    before = files(administrator.box)
    with administrator.alice() as alice:
        administrator.run(*administrator.offline)
        assert alice.wait_for_message().body == "Ring +1 555-123-4567"
    after = files(administrator.box)
    assert [after[path] for path in (CONF, PASSWORD, CA)] == [before[path] for path in (CONF, PASSWORD, CA)]


@pytest.mark.parametrize("secret", ["; not a comment", '"$HOME"  `id` \\n & | %s', "  blanks around  ", "ä€"])
def test_any_password_arrives_as_it_is(secret: str, certificate: Certificate, new_server_folder: Path) -> None:
    accounts = {"pbx": secret, "alice": "alice's secret"}
    with made("sid") as box, Prosody(new_server_folder, certificate, accounts=accounts) as server:
        administrator = Administrator(box, server)
        with administrator.alice() as alice:
            administrator.install()
            assert re.fullmatch(TEST_POP, alice.wait_for_message().body)


# --- on a terminal ---


def test_on_a_terminal_it_asks_and_shows_no_password(administrator: Administrator) -> None:
    server = administrator.server
    options = [*administrator.where, *administrator.offline]
    with administrator.alice() as alice, Terminal(administrator, *options) as terminal:
        terminal.wait_for(r"(?i)account.*: $")
        terminal.type(server.jid("pbx") + "\n")
        terminal.wait_for(r"(?i)password.*: $")
        terminal.type(server.accounts["pbx"] + "\n")
        terminal.wait_for(r"(?i)(who|told|to).*: $")
        terminal.type(server.jid("alice") + "\n")
        assert terminal.end() == 0, terminal.shown
        assert terminal.echoes()
        assert server.accounts["pbx"] not in terminal.shown
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
    assert owner_and_mode(administrator.box, PASSWORD) == "root:asterisk 640"
    assert list(administrator.box.path("/tmp").iterdir()) == []


@pytest.mark.parametrize("answers", [["pbx@screenpop.test\n", "\x03"], ["\x04"]], ids=["ctrl-C", "no answer"])
def test_an_end_at_a_question_leaves_terminal_and_box_as_they_were(
    answers: list[str], administrator: Administrator
) -> None:
    before = files(administrator.box)
    with Terminal(administrator, *administrator.offline) as terminal:
        for question, answer in zip(("account", "password"), answers):
            terminal.wait_for(rf"(?i){question}.*: $")
            terminal.type(answer)
        assert terminal.end() != 0
        assert terminal.echoes()
    assert changes(before, files(administrator.box)) == []


# --- what it finds out ---


def test_a_dry_run_says_what_it_found_and_changes_nothing(bare: Administrator) -> None:
    before = files(bare.box)
    said = bare.install("--dry-run")
    assert re.search(f"^AGI scripts +{AGI_FOLDER}$", said.out, re.MULTILINE)
    for found in ("/var/spool/asterisk", "/var/log/asterisk", ETC):
        assert found in said.out
    assert re.search(r"\basterisk$", said.out, re.MULTILINE)
    assert changes(before, files(bare.box)) == []


DIRECTORIES = """\
[directories]{template}
astetcdir {arrow} /opt/pbx/etc{behind}
astvarlibdir {arrow} /var/lib/asterisk{behind}
astagidir {arrow} /opt/pbx/agi bin{behind}
astspooldir {arrow} /opt/pbx/spool{behind}
astlogdir {arrow} /opt/pbx/log{behind}

[options]
;runuser = nobody
runuser = pbx{behind}
rungroup = telephony{behind}
"""
PBX_FOLDERS = ("/opt/pbx/etc", "/opt/pbx/agi bin", "/opt/pbx/spool", "/opt/pbx/log")


def make_pbx_user_and_folders(box: Box) -> None:
    box.run(["groupadd", "telephony"])
    box.run(["useradd", "--gid", "telephony", "--no-create-home", "pbx"])
    for folder in PBX_FOLDERS:
        box.path(folder).mkdir(parents=True)
        box.run(["chown", "pbx:telephony", folder])


@pytest.mark.parametrize("template", ["", "(!)"], ids=["directories", "directories(!)"])
@pytest.mark.parametrize("behind", ["", " ; says the manual", "\t\t;; 2024"], ids=["plain", "comment", "tabs"])
@pytest.mark.parametrize("arrow", ["=>", "="])
def test_asterisk_conf_says_where_what_is(template: str, behind: str, arrow: str, prosody: Prosody) -> None:
    with made("sid") as box:
        administrator = Administrator(box, prosody)
        make_pbx_user_and_folders(box)
        conf = box.path(f"{ETC}/asterisk.conf")
        conf.write_text(DIRECTORIES.format(template=template, behind=behind, arrow=arrow))
        said = administrator.install("--dry-run").out
        for folder in PBX_FOLDERS:
            assert re.search(rf"  +{folder}(/|$)", said, re.MULTILINE), said
        assert re.search(r"^AGI scripts +/opt/pbx/agi bin$", said, re.MULTILINE)
        assert re.search(r"  +pbx$", said, re.MULTILINE)


def test_what_the_running_asterisk_says_comes_before_the_file(administrator: Administrator) -> None:
    """Which has been changed since."""
    box = administrator.box
    for folder in ("/opt/agi", "/opt/spool/tmp", "/opt/spool/outgoing"):
        box.run(["install", "--directory", "--owner=asterisk", folder])
    conf = box.path(f"{ETC}/asterisk.conf")
    conf.write_text("[directories]\nastagidir => /opt/agi\nastspooldir => /opt/spool\n")
    with UntouchedAsterisk(box, SAMPLE):
        conf.write_text("[directories]\nastagidir => /opt/pbx/agi\nastspooldir => /opt/pbx/spool\n")
        said = administrator.install("--dry-run").out
        assert re.search(r"^AGI scripts +/opt/agi$", said, re.MULTILINE)
        assert "/opt/spool" in said and "/opt/pbx" not in said
        assert re.search(r"  +asterisk$", said, re.MULTILINE)


def test_it_is_installed_where_asterisk_conf_says_and_for_its_user(administrator: Administrator) -> None:
    box = administrator.box
    make_pbx_user_and_folders(box)
    box.path(f"{ETC}/asterisk.conf").write_text(DIRECTORIES.format(template="", behind=" ; so", arrow="=>"))
    with administrator.alice() as alice:
        administrator.install()
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
    assert owner_and_mode(box, "/opt/pbx/agi bin/screen_pop.py") == "root:root 755"
    assert owner_and_mode(box, "/opt/pbx/etc/screen_pop.conf") == "root:telephony 640"
    assert owner_and_mode(box, "/opt/pbx/etc/screen_pop.password") == "root:telephony 640"
    assert owner_and_mode(box, "/opt/pbx/spool/screen_pop") == "pbx:telephony 700"
    for path in (CONF, PASSWORD, OUTBOX, SCRIPT):
        assert not box.path(path).exists()
    before = files(box, "/opt/pbx/spool/screen_pop", "/opt/pbx/log")
    with administrator.alice():
        assert re.search(NOTHING_TO_DO, administrator.install().out)
    assert changes(before, files(box, "/opt/pbx/spool/screen_pop", "/opt/pbx/log")) == []


@pytest.fixture
def kept_apart(prosody: Prosody) -> Iterator[Administrator]:
    """In a box that the test may change."""
    with made("sid") as box:
        yield Administrator(box, prosody)


def user_that_it_finds(administrator: Administrator) -> str:
    (user,) = re.findall("^user +(.+)$", administrator.install("--dry-run").out, re.MULTILINE)
    return str(user)


def test_a_program_that_is_named_asterisk_does_not_decide_the_user(kept_apart: Administrator) -> None:
    kept_apart.box.run(["cp", "/usr/bin/sleep", "/root/asterisk"])
    program = kept_apart.box.popen(["/root/asterisk", "1000"])
    until(lambda: kept_apart.box.processes("/root/asterisk") != [])
    assert user_that_it_finds(kept_apart) == "asterisk"
    program.kill()
    program.wait()


@pytest.mark.parametrize("console", [["asterisk", "-rvvv"], ["asterisk", "-cvR"], ["rasterisk"]], ids=" ".join)
def test_a_console_of_root_does_not_decide_the_user(console: list[str], kept_apart: Administrator) -> None:
    box = kept_apart.box
    with UntouchedAsterisk(box, SAMPLE):
        box.run(["sh", "-c", "echo 100000 >/proc/sys/kernel/ns_last_pid"])  # it is found first
        process = box.popen(console, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        until(lambda: box.processes(console[-1]) != [])
        assert user_that_it_finds(kept_apart) == "asterisk"
        process.kill()
        process.wait()


def test_an_asterisk_that_runs_as_root_unintentionally(kept_apart: Administrator) -> None:
    box = kept_apart.box
    box.run(["install", "--directory", "/var/run/asterisk"])
    asterisk = box.popen(["asterisk", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: box.run(["asterisk", "-rx", "core waitfullybooted"], check=False).returncode == 0)
    assert "runs as root" in refused(kept_apart, *kept_apart.account, *kept_apart.offline)
    with box.path(f"{ETC}/asterisk.conf").open("a") as conf:
        conf.write("[options]\nrunuser = root\n")
    assert user_that_it_finds(kept_apart) == "root"
    assert kept_apart.install("--dry-run").status == 0
    asterisk.kill()
    asterisk.wait()


def test_a_spool_of_another_user_than_asterisks(kept_apart: Administrator) -> None:
    kept_apart.box.run(["install", "--directory", "--owner=daemon", "--mode=700", OUTBOX])
    line = refused(kept_apart, *kept_apart.account, *kept_apart.offline)
    assert f"{OUTBOX} belongs to daemon" in line and "asterisk" in line


def test_an_asterisk_that_does_not_answer(kept_apart: Administrator) -> None:
    hangs = kept_apart.box.path("/usr/local/sbin/asterisk")
    hangs.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 1000\n")
    hangs.chmod(0o755)
    said = kept_apart.install("--dry-run", timeout=40)
    assert "Asterisk isn't running." in said.out and said.err == ""


# --- nobody else decides what root writes ---


def test_links_in_the_folder_of_the_configuration_lead_nowhere(administrator: Administrator) -> None:
    """That folder belongs to Asterisk's user."""
    box = administrator.box
    box.path("/root/precious").write_text("precious")
    for name in (CONF, PASSWORD, CA):
        box.run(["ln", "-s", "/root/precious", f"{name}.new"], user="asterisk")
    first_install(administrator)
    assert owner_and_mode(box, "/root/precious") == "root:root 644"
    assert box.path("/root/precious").read_text() == "precious"
    assert owner_and_mode(box, PASSWORD) == "root:asterisk 640"


def test_a_link_in_place_of_the_new_spool_gives_nothing_away(administrator: Administrator) -> None:
    """Made by Asterisk's user, in the moment before root would change the owner."""
    box = administrator.box
    box.path("/root/precious").mkdir()
    quick = box.path("/usr/local/sbin/chown")
    quick.write_text(
        f'#!/bin/sh\ncase "$*" in *{OUTBOX}) rmdir {OUTBOX} && ln -s /root/precious {OUTBOX} ;; esac\n'
        'exec /bin/chown "$@"\n'
    )
    quick.chmod(0o755)
    first_install(administrator)
    assert owner_and_mode(box, "/root/precious").startswith("root:root")
    assert owner_and_mode(box, OUTBOX) == "asterisk:asterisk 700"


def test_no_python_module_comes_from_the_folder_where_it_is_run(administrator: Administrator) -> None:
    box = administrator.box
    folder = box.path("/tmp/drop")
    folder.mkdir()
    modules = ("ensurepip", "venv", "pip", "compileall", "sysconfig", "importlib", "screenpop", "sitecustomize")
    for name in (*modules, "usercustomize"):
        (folder / f"{name}.py").write_text("open('/tmp/it-ran', 'a').write(__file__ + chr(10))\n")
    there = ["sh", "-c", f'cd /tmp/drop && exec {HERE}/"$@"', "sh"]
    with administrator.alice():
        for _ in range(2):
            administrator.install(within=there)
    assert not box.path("/tmp/it-ran").exists()


# --- again ---


def test_a_second_run_changes_nothing_and_checks_all_the_same(installed: Administrator) -> None:
    box = installed.box
    before = files(box, OUTBOX)
    with installed.alice():
        said = installed.install()
    assert re.search(NOTHING_TO_DO, said.out)
    assert re.search("^ok +sign-in", said.out, re.MULTILINE)
    assert changes(before, files(box, OUTBOX)) == []


def test_a_second_run_needs_no_options(installed: Administrator) -> None:
    with installed.alice():
        assert re.search(NOTHING_TO_DO, installed.run().out)


def test_a_second_run_tells_of_a_server_that_is_down(
    suite: str, certificate: Certificate, new_server_folder: Path
) -> None:
    with made(suite) as box, Prosody(new_server_folder, certificate) as server:
        administrator = Administrator(box, server)
        first_install(administrator)
        server.stop()
        said = administrator.run(status=1)
        assert "PROBLEM" in said.out and "screen-pop check" in said.err


@pytest.mark.parametrize("lost", [SCRIPT, COMMAND, OUTBOX, LOGROTATE, PYTHON])
def test_a_second_run_puts_back_what_was_lost(lost: str, prosody: Prosody) -> None:
    with made("sid") as box:
        administrator = Administrator(box, prosody)
        first_install(administrator)
        before = files(box, OUTBOX)
        for process in box.processes("screenpop.sender"):
            box.run(["sh", "-c", f"kill -KILL {process}"])
        path = box.path(os.path.dirname(lost)) / os.path.basename(lost)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():
            path.unlink()
        else:
            pytest.skip(f"it doesn't make {lost} here")
        with administrator.alice():
            administrator.install()
        assert {line.split()[1] for line in changes(before, files(box, OUTBOX)) if LIBRARY not in line} <= {lost}
        assert owner_and_mode(box, OUTBOX) == "asterisk:asterisk 700"
        assert owner_and_mode(box, SCRIPT) == "root:root 755"


def test_a_library_that_is_lost_is_named_and_a_second_run_brings_it_back(administrator: Administrator) -> None:
    first_install(administrator)
    box, release = administrator.box, administrator.current()
    (xmpp,) = box.path(LIBRARY).glob("releases/*/venv/lib/python3*/site-packages/xmpp")
    shutil.rmtree(xmpp)
    checked = box.run([COMMAND, "check"], check=False)
    assert checked.returncode == 1 and checked.stderr == b""
    problem, *others = checked.stdout.decode().splitlines()
    assert problem == "PROBLEM  xmpppy can't be imported (No module named 'xmpp'): run install.sh again"
    assert [line for line in others if line.startswith("PROBLEM")] == []
    with administrator.alice() as alice:
        administrator.install()
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
    assert administrator.releases() == {release}


def test_an_upgrade_keeps_configuration_and_outbox_and_sends_what_was_queued(
    suite: str, certificate: Certificate, new_server_folder: Path
) -> None:
    with made(suite) as box, Prosody(new_server_folder, certificate, offline=True) as server:
        administrator = Administrator(box, server)
        first_install(administrator)
        old = administrator.current()
        before = files(box)
        with UntouchedAsterisk(box, SAMPLE) as asterisk:
            server.stop()
            for _ in range(3):
                call(asterisk)
            until(lambda: administrator.waiting() == 3)
            asterisk.wait_for("not sent yet", LOG)
            old_sender = box.processes("screenpop.sender")
            administrator.new_version("0.9.0")
            said = administrator.run(*administrator.offline, status=1)
            assert "installed" in said.err  # and that the server can't be reached
            assert administrator.installed_version() == "0.9.0"
            assert administrator.waiting() == 3
            after = files(box)
            assert [after[path] for path in (CONF, PASSWORD, CA)] == [before[path] for path in (CONF, PASSWORD, CA)]
            new = administrator.current()
            assert new.startswith("0.9.0") and administrator.releases() == {old, new}
            assert not set(old_sender) & set(box.processes("screenpop.sender"))
            server.start()
            with administrator.alice() as alice:
                call(asterisk)
                until(lambda: len(firsts(alice)) == 4)
                alice.sync()
                assert len({message.id for message in alice.messages}) == len(alice.messages)  # none came twice
                bodies = [message.body for message in firsts(alice)]
                assert len(bodies) == 4 and all(POP in body.replace("Missed call", "Call") for body in bodies)
        assert administrator.waiting() == 0


def firsts(alice: Recipient) -> list[Received]:
    """The messages about calls, without the corrections of those that are over."""
    return [message for message in alice.messages if "urn:xmpp:message-correct" not in message.xml]


def test_the_release_before_is_kept_until_the_next_upgrade(administrator: Administrator) -> None:
    first_install(administrator)
    ids = [administrator.current()]
    for version in ("0.9.0", "0.9.1"):
        administrator.new_version(version)
        with administrator.alice():
            administrator.install()
        ids.append(administrator.current())
        assert administrator.installed_version() == version
        assert administrator.releases() == set(ids[-2:])


def test_going_back_to_the_version_before_is_an_upgrade_too(administrator: Administrator) -> None:
    first_install(administrator)
    first = administrator.current()
    version = administrator.installed_version()
    for wanted in ("0.9.0", version):
        administrator.new_version(wanted)
        with administrator.alice() as alice:
            administrator.install()
            assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
        assert administrator.installed_version() == wanted
    assert administrator.current() == first


def test_an_upgrade_to_a_version_that_complains_about_the_configuration_is_refused(installed: Administrator) -> None:
    """As one that has dropped an option would."""
    options = installed.box.path(f"{HERE}/lib/screenpop/xmpp/options.py")
    options.write_text(options.read_text().replace("    server: Option", "    servers: Option"))
    installed.new_version("0.9.0")
    said = installed.install(status=None)
    assert said.status != 0
    assert CONF in said.err and "no option 'server'" in said.err


# --- the libraries of the phone book ---


@pytest.fixture
def provided(prosody: Prosody, downloaded: Path) -> Iterator[Administrator]:
    with made("sid") as box:
        administrator = Administrator(box, prosody)
        provide(administrator, downloaded)
        with administrator.alice():
            yield administrator


def change_requirements(administrator: Administrator, name: str) -> None:
    with administrator.box.path(f"{HERE}/requirements/{name}.txt").open("a") as file:
        file.write("# changed\n")


def test_what_was_added_stays_until_none_removes_it(provided: Administrator) -> None:
    provided.install("--with", "ldap")
    assert added(provided) == {"ldap3"}
    first = provided.current()
    assert re.search(NOTHING_TO_DO, provided.run("--with", "ldap").out)
    change_requirements(provided, "vcard")
    assert re.search(NOTHING_TO_DO, provided.run().out)
    change_requirements(provided, "ldap")
    provided.run(*provided.offline)
    assert added(provided) == {"ldap3"}
    assert provided.current() != first
    assert re.search("^libraries for +http,ldap$", provided.run("--with", "http", "--dry-run").out, re.MULTILINE)
    provided.run(*provided.offline, "--with", "none")
    assert added(provided) == set()
    assert re.search(NOTHING_TO_DO, provided.run().out)


def test_a_second_run_brings_back_a_library_that_was_added_and_lost(provided: Administrator) -> None:
    provided.install("--with", "ldap")
    release = provided.current()
    (ldap,) = provided.box.path(LIBRARY).glob("releases/*/venv/lib/python3*/site-packages/ldap3")
    shutil.rmtree(ldap)
    provided.run(*provided.offline)
    assert added(provided) == {"ldap3"}
    assert provided.releases() == {release}


SOURCES = """
[people]
type = ldap
server = ldap://127.0.0.1:1
base = dc=example
filter = (telephoneNumber={number})
name = cn
[web]
type = http
request = http://127.0.0.1:1/{number}
name = name
"""


def test_a_note_says_what_adds_the_libraries_that_the_configuration_needs(provided: Administrator) -> None:
    provided.install("--with", "ldap")
    with provided.box.path(CONF).open("a") as conf:
        conf.write(f"{SOURCES}[pop]\nplaces = yes\n")
    assert "not installed; to add them: ./install.sh --with http,places\n" in provided.run().out


def test_a_dry_run_says_what_it_would_add(bare: Administrator) -> None:
    before = files(bare.box)
    said = bare.install("--dry-run", "--with", "ldap, http", "--with", "ldap")
    assert re.search("^libraries for +http,ldap$", said.out, re.MULTILINE)
    assert changes(before, files(bare.box)) == []


@pytest.mark.parametrize("name", ["nonsense", "ldap,nonsense", "../requirements", "*", "ldap.txt", "-n"])
def test_a_library_that_there_is_not(name: str, bare: Administrator) -> None:
    line = refused(bare, *bare.account, *bare.offline, "--with", name)
    assert f"'{name.rpartition(',')[2]}'" in line
    assert re.search("http,ldap,.*vcard$", line)


def test_wheels_that_lack_what_is_added(bare: Administrator) -> None:
    before = files(bare.box)
    said = bare.install("--with", "ldap", status=None)
    assert said.status != 0 and f"{WHEELS} lacks" in said.err and "./install.sh --download DIR --with ldap" in said.err
    assert changes(before, files(bare.box)) == []


# --- half-way ---


def assert_still_pops(asterisk: Asterisk, administrator: Administrator) -> None:
    with administrator.alice() as alice:
        assert_pops(asterisk, alice)


def no_wheels(administrator: Administrator) -> None:
    for wheel in administrator.box.path(WHEELS).iterdir():
        wheel.unlink()


def one_wheel_missing(administrator: Administrator) -> None:
    next(administrator.box.path(WHEELS).glob("xmpppy*")).unlink()


def one_wheel_cut_off(administrator: Administrator) -> None:
    wheel = next(administrator.box.path(WHEELS).glob("dnspython*"))
    os.truncate(wheel, wheel.stat().st_size // 2)


def one_wheel_forged(administrator: Administrator) -> None:
    """A good wheel, with something added."""
    wheel = next(administrator.box.path(WHEELS).glob("six*"))
    administrator.box.run(["python3", "-m", "zipfile", "-e", WHEELS + f"/{wheel.name}", "/run/six"])
    with administrator.box.path("/run/six/six.py").open("a") as module:
        module.write("import os\n")
    wheel.unlink()
    administrator.box.run(["sh", "-c", f"cd /run/six && python3 -m zipfile -c {WHEELS}/{wheel.name} *"])


@pytest.mark.parametrize("broken", [no_wheels, one_wheel_missing, one_wheel_cut_off, one_wheel_forged])
def test_an_upgrade_that_pip_refuses_leaves_the_old_version_working(
    broken: Callable[[Administrator], None], installed: Administrator, asterisk: Asterisk
) -> None:
    broken(installed)
    installed.new_version("0.9.0")
    said = installed.install(status=None)
    assert said.status != 0 and "install.sh: " in said.err
    assert "installed" not in said.out.splitlines()[-1]
    assert_still_pops(asterisk, installed)


def test_an_upgrade_without_a_network_leaves_the_old_version_working(
    installed: Administrator, asterisk: Asterisk
) -> None:
    installed.new_version("0.9.0")
    said = installed.run(status=None, within=["unshare", "--net"])
    assert said.status != 0 and re.search("install.sh: .*network", said.err)
    assert_still_pops(asterisk, installed)


def release_begun(administrator: Administrator) -> bool:
    return len(administrator.releases()) > 1


def packages_arriving(administrator: Administrator) -> bool:
    return any(administrator.box.path(RELEASES).glob("*unfinished*/venv/lib/python*/site-packages/dns*"))


def code_there(administrator: Administrator) -> bool:
    return any(administrator.box.path(RELEASES).glob("*unfinished*/venv/lib/python*/site-packages/screenpop"))


@pytest.mark.parametrize("moment", [release_begun, packages_arriving, code_there])
@pytest.mark.parametrize(("signal", "group"), [("TERM", False), ("INT", True), ("HUP", True)])
def test_an_interrupted_upgrade_leaves_the_old_version_working(
    signal: str,
    group: bool,
    moment: Callable[[Administrator], bool],
    installed: Administrator,
    asterisk: Asterisk,
) -> None:
    installed.new_version("0.9.0")
    running = Running(installed, *installed.offline)
    running.until(lambda: moment(installed))
    running.signal(signal, group=group)
    status, said = running.end()
    assert status != 0, said
    assert "Traceback" not in said
    assert_still_pops(asterisk, installed)


def test_a_killed_upgrade_leaves_the_old_version_working_and_the_next_one_tidies_up(
    administrator: Administrator,
) -> None:
    first_install(administrator)
    old = administrator.current()
    administrator.new_version("0.9.0")
    running = Running(administrator, *administrator.offline)
    running.until(lambda: packages_arriving(administrator))
    running.signal("KILL", group=True)
    running.end()
    assert administrator.current() == old
    with administrator.alice() as alice:
        administrator.box.run([COMMAND, "test", "+15551234567"])
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
        administrator.install()
    assert administrator.installed_version() == "0.9.0"
    assert administrator.releases() == {old, administrator.current()}


def test_an_upgrade_on_a_full_disk_leaves_the_old_version_working(administrator: Administrator) -> None:
    box = administrator.box
    box.path(LIBRARY).mkdir()
    box.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "small", LIBRARY])
    first_install(administrator)
    room = shutil.disk_usage(box.path(LIBRARY)).used + 2**20
    box.run(["mount", "-o", f"remount,size={room}", LIBRARY])
    before = files(box, OUTBOX, HERE)
    administrator.new_version("0.9.0")
    said = administrator.install(status=None)
    assert said.status != 0 and "install.sh: " in said.err
    assert changes(before, files(box, OUTBOX, HERE)) == []
    with UntouchedAsterisk(box, SAMPLE) as asterisk:
        assert_still_pops(asterisk, administrator)


def test_a_first_installation_on_a_full_disk_leaves_nothing(administrator: Administrator) -> None:
    box = administrator.box
    box.path(LIBRARY).mkdir()
    box.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "small", LIBRARY])
    before = files(box)
    said = administrator.install(status=None)
    assert said.status != 0 and "install.sh: " in said.err
    assert changes(before, files(box)) == []


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_an_interrupted_first_installation_leaves_nothing(signal: str, administrator: Administrator) -> None:
    box = administrator.box
    before = files(box)
    running = Running(administrator, *administrator.account, *administrator.offline)
    running.until(lambda: box.path(RELEASES).exists() and packages_arriving(administrator))
    running.signal(signal, group=signal == "INT")
    status, said = running.end()
    assert status != 0, said
    assert changes(before, files(box)) == []


def test_a_first_installation_that_pip_refuses_leaves_nothing(administrator: Administrator) -> None:
    no_wheels(administrator)
    before = files(administrator.box)
    said = administrator.install(status=None)
    assert said.status != 0 and "install.sh: " in said.err
    assert changes(before, files(administrator.box)) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--to", "nobody@screenpop.test"), "test pop"),
        (("--server", "127.0.0.1:1"), "screen-pop check"),
        (("--jid", "somebody@screenpop.test"), "screen-pop check"),
    ],
    ids=["recipient", "server", "account"],
)
def test_an_installation_that_does_not_pop_yet_stays_and_says_so(
    change: tuple[str, str], named: str, prosody: Prosody
) -> None:
    with made("sid") as box:
        administrator = Administrator(box, prosody)
        said = administrator.install(*change, status=1)
        assert "installed" in said.err and named in said.err
        assert "PROBLEM" in said.out
        assert administrator.installed_version()


# --- away ---


def test_uninstalling_leaves_configuration_and_outbox_and_nothing_else(administrator: Administrator) -> None:
    box = administrator.box
    with UntouchedAsterisk(box, SAMPLE) as asterisk:
        before = files(box)
        first_install(administrator)
        with administrator.alice() as alice:
            assert_pops(asterisk, alice)
        administrator.run("--uninstall")
        assert box.processes("screenpop.sender") == []
        left = {line.split()[1] for line in changes(before, files(box))}
        assert {path for path in left if not path.startswith(OUTBOX)} == {CONF, PASSWORD, CA}
        assert OUTBOX in left


def test_what_is_installed_after_that_finds_configuration_and_outbox_again(administrator: Administrator) -> None:
    first_install(administrator)
    administrator.run("--uninstall")
    with administrator.alice() as alice:
        administrator.run(*administrator.offline)
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)


@pytest.mark.parametrize("uninstalled", [False, True], ids=["at once", "after --uninstall"])
def test_purging_leaves_the_box_as_it_was(uninstalled: bool, administrator: Administrator) -> None:
    box = administrator.box
    with UntouchedAsterisk(box, SAMPLE) as asterisk:
        before = files(box)
        first_install(administrator)
        administrator.new_version("0.9.0")
        with administrator.alice() as alice:
            administrator.install()
            alice.wait_for_message()
            assert_pops(asterisk, alice)
        if uninstalled:
            administrator.run("--uninstall")
        uid = box.run(["id", "-u", "asterisk"]).stdout.decode().strip()
        spare = box.path(Outbox(OUTBOX).spare_path.replace(f"-{os.geteuid()}-", f"-{uid}-"))
        spare.mkdir()
        administrator.run("--purge")
        assert box.processes("screenpop.sender") == []
        assert not spare.exists()
        after = files(box)
        del before[f"{HERE}/lib/screenpop/__init__.py"], after[f"{HERE}/lib/screenpop/__init__.py"]
        assert changes(before, after) == []
        assert not box.path(LOG).exists()


def test_uninstalling_works_from_another_checkout(administrator: Administrator) -> None:
    first_install(administrator)
    box = administrator.box
    administrator.new_version("7.0.0")
    administrator.run("--uninstall")
    assert not any(box.path(path).exists() for path in (LIBRARY, SCRIPT, COMMAND, LOGROTATE))


def test_uninstalling_names_the_files_that_still_call_it(administrator: Administrator) -> None:
    first_install(administrator)
    box = administrator.box
    for name, line in {
        "extensions_custom.conf": "[a]\nexten => s,1,AGI(screen_pop.py)\n",
        "extensions.ael": "context b { s => { AGI(agi://127.0.0.1/screen_pop); } }\n",
        "extensions.lua": 'app.agi("screen_pop.py")\n',
        "other.conf": "; exten => s,1,AGI(screen_pop.py)\nexten => s,1,AGI(other.py)\n",
    }.items():
        box.path(f"{ETC}/{name}").write_text(line)
    (line,) = [line for line in administrator.run("--uninstall").out.splitlines() if "still" in line]
    named = set(re.findall(rf"{ETC}/\S+\b", line))
    assert named == {f"{ETC}/extensions_custom.conf", f"{ETC}/extensions.ael", f"{ETC}/extensions.lua"}


def test_files_of_other_people_are_not_removed(administrator: Administrator) -> None:
    """Somebody has put something of the same name in place of ours."""
    first_install(administrator)
    box = administrator.box
    for path in (SCRIPT, COMMAND):
        place = box.path(os.path.dirname(path)) / os.path.basename(path)
        place.unlink()
        place.write_text("mine")
    administrator.run("--uninstall")
    assert [box.path(path).read_text() for path in (SCRIPT, COMMAND)] == ["mine", "mine"]


@pytest.mark.parametrize("option", ["--uninstall", "--purge"])
def test_nothing_to_remove(option: str, bare: Administrator) -> None:
    before = files(bare.box)
    bare.run(option, status=None)
    assert changes(before, files(bare.box)) == []


# --- for packagers ---


def test_destdir_gets_all_and_the_rest_of_the_box_nothing(administrator: Administrator, downloaded: Path) -> None:
    box = administrator.box
    provide(administrator, downloaded)
    before = files(box)
    administrator.install("--with", "ldap", env={"DESTDIR": "/opt/stage"})
    assert changes(before, files(box, "/opt/stage")) == []
    staged = box.path("/opt/stage")
    current = os.readlink(staged / LIBRARY[1:] / "current")
    assert current.startswith("releases/")
    for path in staged.rglob("*"):
        if path.is_symlink():
            assert "/opt/stage" not in os.readlink(path), path
        elif path.is_file() and path.suffix in ("", ".py", ".conf", ".cfg"):
            assert b"/opt/stage" not in path.read_bytes(), path
    # as a package would put it there
    box.run(["sh", "-c", "cp -a /opt/stage/. / && rm -r /opt/stage"])
    assert administrator.installed_version()
    assert added(administrator) == {"ldap3"}
    assert first_line(administrator) == f"#!{RELEASES}/{administrator.current()}/venv/bin/python3 -IS"
    assert owner_and_mode(box, SCRIPT) == "root:root 755"


def test_destdir_a_second_time(kept_apart: Administrator) -> None:
    stage = {"DESTDIR": "/opt/stage"}
    kept_apart.install(env=stage)
    before = files(kept_apart.box)
    assert re.search(NOTHING_TO_DO, kept_apart.install(env=stage).out)
    assert changes(before, files(kept_apart.box)) == []


@pytest.mark.parametrize("options", [("--uninstall",), ("--purge",), ()], ids=["--uninstall", "--purge", "upgrade"])
def test_a_prefix_that_is_left_out_is_named(options: tuple[str, ...], kept_apart: Administrator) -> None:
    kept_apart.run(*kept_apart.offline, "--prefix", "/opt/pop")
    assert "--prefix /opt/pop" in refused(kept_apart, *options)


def test_the_installed_copy_knows_its_prefix(kept_apart: Administrator) -> None:
    box = kept_apart.box
    kept_apart.run(*kept_apart.offline, "--prefix", "/opt/pop")
    box.run(["/opt/pop/lib/screen_pop/current/install.sh", "--uninstall"])
    assert not box.path("/opt/pop").exists() and not box.path(SCRIPT).is_symlink()


def test_another_prefix(administrator: Administrator) -> None:
    box = administrator.box
    before = files(box)
    with administrator.alice() as alice:
        administrator.install("--prefix", "/opt/pop")
        assert re.fullmatch(TEST_POP, alice.wait_for_message().body)
        assert not box.path(LIBRARY).exists() and not box.path(COMMAND).exists()
        assert first_line(administrator).startswith("#!/opt/pop/lib/screen_pop/releases/")
        with UntouchedAsterisk(box, SAMPLE) as asterisk:
            assert_pops(asterisk, alice)
    administrator.run("--purge", "--prefix", "/opt/pop")
    left = changes(before, files(box, "/opt/pop"))
    assert [line for line in left if f"{ETC}/extensions.conf" not in line] == []
    assert not box.path("/opt/pop").exists()


# --- what it refuses ---


def refused(administrator: Administrator, *options: str, user: str | None = None) -> str:
    """The one sentence with which it refuses, the box as it was."""
    before = files(administrator.box)
    said = administrator.run(*options, status=None, user=user)
    assert said.status != 0, said.out
    assert changes(before, files(administrator.box)) == []
    (line,) = said.err.splitlines()
    assert line.startswith("install.sh: ")
    return line


@pytest.mark.parametrize("option", [None, "--uninstall", "--purge"])
def test_somebody_else_than_root(option: str | None, bare: Administrator) -> None:
    options = [option] if option else [*bare.account[-4:-2], *bare.offline]
    assert "root" in refused(bare, *options, user="daemon")


@pytest.mark.parametrize("form", [("--password", "hunter2"), ("--password=hunter2",)], ids=["blank", "equals"])
def test_a_password_on_the_command_line(form: tuple[str, ...], bare: Administrator) -> None:
    line = refused(bare, *bare.account, *form, *bare.offline)
    assert "--password-file" in line and "hunter2" not in line


@pytest.mark.parametrize("option", ["--password-file", "--jid", "--wheels", "--prefix"])
def test_an_equals_sign_in_place_of_a_space(option: str, bare: Administrator) -> None:
    assert f"write a space in place of =: {option} VALUE" in refused(bare, f"{option}=/root/password")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--frobnicate"], "--frobnicate"),
        (["frobnicate"], "frobnicate"),
        ([""], ""),
        (["--jid"], "--jid"),
        (["--wheels"], "--wheels"),
        (["--wheels", "/nowhere"], "/nowhere"),
        (["--prefix", "relative"], "--prefix"),
        (["--prefix", "/opt/a b"], "--prefix"),
        (["--uninstall", "--frobnicate"], "--frobnicate"),
    ],
)
def test_a_command_line_with_a_mistake(options: list[str], named: str, bare: Administrator) -> None:
    assert named in refused(bare, *options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--password-file", "/nowhere"], "/nowhere"),
        (["--password-file", "/etc"], "/etc"),
        (["--password-file", "/root/empty"], "empty"),
        (["--ca-file", "/nowhere"], "/nowhere"),
        (["--jid", "pbx"], "pbx"),
        (["--jid", "pbx@"], "pbx@"),
        (["--to", "alice@@example.org"], "alice@@example.org"),
        (["--to", "alice@screenpop.test&"], "to"),
        (["--server", "xmpp.example.org"], "xmpp.example.org"),
        (["--server", "xmpp.example.org:none"], "none"),
        (["--jid", "pbx@example.org\n[log]"], "--jid"),
    ],
)
def test_an_account_with_a_mistake(options: list[str], named: str, bare: Administrator) -> None:
    bare.box.path("/root/empty").touch()
    assert named in refused(bare, *bare.account, *bare.offline, *options)


@pytest.mark.parametrize("left_out", ["--jid", "--password-file", "--to"])
def test_half_of_an_account(left_out: str, bare: Administrator) -> None:
    options = [*bare.account]
    where = options.index(left_out)
    del options[where : where + 2]
    assert left_out in refused(bare, *options, *bare.offline)


@pytest.fixture
def another(prosody: Prosody) -> Iterator[Administrator]:
    """In a box that the test may spoil."""
    with made("bullseye") as box:
        yield Administrator(box, prosody)


def test_a_box_without_asterisk(another: Administrator) -> None:
    another.box.run(["sh", "-c", "rm -r /etc/asterisk /usr/sbin/asterisk /usr/share/asterisk && userdel asterisk"])
    assert "Asterisk" in refused(another, *another.account, *another.offline)


def test_a_box_without_asterisks_user(another: Administrator) -> None:
    another.box.run(["userdel", "asterisk"])
    assert "asterisk" in refused(another, *another.account, *another.offline)


def test_an_agi_directory_that_is_not_there(another: Administrator) -> None:
    another.box.run(["rmdir", AGI_FOLDER])
    assert AGI_FOLDER in refused(another, *another.account, *another.offline)


def test_an_agi_directory_that_is_a_file(another: Administrator) -> None:
    another.box.run(["rmdir", AGI_FOLDER])
    another.box.path(AGI_FOLDER).touch()
    assert AGI_FOLDER in refused(another, *another.account, *another.offline)


def test_an_agi_script_of_that_name_that_is_somebody_elses(another: Administrator) -> None:
    """For example a script that was installed by hand: it is not replaced."""
    another.box.path(SCRIPT).write_text("#!/bin/sh\n")
    assert SCRIPT in refused(another, *another.account, *another.offline)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[xmpp]\ncolour = red\n", f"{CONF}:2: "),
        ("jid = pbx@example.org\n", f"{CONF}:1: "),
        ("[xmpp]\njid = pbx@example.org\npassword = x\n", "to is missing"),
        ("[xmpp]\njid = pbx@example.org\npassword = x\n[pop]\nto = a@b.org\nlinger = soon\n", f"{CONF}:6: linger"),
    ],
)
def test_a_configuration_with_mistakes(text: str, complaint: str, another: Administrator) -> None:
    another.box.path(CONF).write_text(text)
    before = files(another.box)
    said = another.run(*another.offline, status=None)
    assert said.status != 0
    assert complaint in said.err and said.err.startswith("install.sh: ")
    assert changes(before, files(another.box)) == []


def test_usr_local_read_only(another: Administrator) -> None:
    another.box.run(["mount", "--bind", "/usr/local", "/usr/local"])
    another.box.run(["mount", "-o", "remount,bind,ro", "/usr/local"])
    assert "/usr/local" in refused(another, *another.account, *another.offline)


def test_etc_read_only(another: Administrator) -> None:
    another.box.run(["mount", "--bind", ETC, ETC])
    another.box.run(["mount", "-o", "remount,bind,ro", ETC])
    before = files(another.box)
    said = another.install(status=None)
    assert said.status != 0 and ETC in said.err
    assert changes(before, files(another.box)) == []


OLD_PYTHON = """\
#!/bin/sh
# Says that it is 3.8, as far as a program with -c can tell.
[ "$1" != -I ] || shift
if [ "$1" = --version ] || [ "$1" = -V ]; then
    echo Python 3.8.20
    exit
fi
if [ "$1" = -c ]; then
    code=$2
    shift 2
    exec /usr/lib/real-python -c '
import sys
sys.version_info = (3, 8, 20, "final", 0)
sys.version = "3.8.20"
exec(sys.argv.pop(1))' "$code" "$@"
fi
exec /usr/lib/real-python "$@"
"""


def test_a_python_that_is_too_old(another: Administrator) -> None:
    box = another.box
    real = box.run(["readlink", "-f", "/usr/bin/python3"]).stdout.decode().strip()
    box.run(["mv", real, "/usr/lib/real-python"])
    box.path("/usr/bin/python3").unlink(missing_ok=True)
    (box.path("/usr/bin") / "python3").unlink(missing_ok=True)
    box.path("/usr/bin/python3").write_text(OLD_PYTHON)
    box.path("/usr/bin/python3").chmod(0o755)
    line = refused(another, *another.account, *another.offline)
    assert "3.9" in line and "3.8.20" in line


def test_no_python_at_all(another: Administrator) -> None:
    box = another.box
    real = box.run(["readlink", "-f", "/usr/bin/python3"]).stdout.decode().strip()
    box.run(["rm", real, "/usr/bin/python3"])
    assert "3.9" in refused(another, *another.account, *another.offline)


def test_two_at_once(installed: Administrator) -> None:
    """The second one succeeds or waits, and does no harm."""
    installed.new_version("0.9.0")
    first = Running(installed, *installed.offline)
    first.until(lambda: packages_arriving(installed))
    said = installed.run("--dry-run")
    assert "AGI scripts" in said.out
    first.signal("TERM", group=True)
    assert first.end()[0] != 0


# --- the demo ---


def test_the_demo() -> None:
    done = subprocess.run(
        [CHECKOUT / "install.sh", "--demo", "+4930123456"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("Call from Bob Example, +49 30 123456 to 123") == 2
