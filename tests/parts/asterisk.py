"""A real Asterisk in a Box: started as by its service, controlled by call files, observed by its log."""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parts.box import INSTALLED, PATH, Box

CONFIG = "/etc/asterisk-test"
LOG = "/var/log/asterisk/full"
OUTGOING = "/var/spool/asterisk/outgoing"

CONFIGURATION = {
    "asterisk.conf": f"""
[directories]
astetcdir => {CONFIG}
[options]
verbose = 3
nocolor = yes
""",
    "logger.conf": f"""
[general]
dateformat = %FT%T.%3q
logger_queue_limit = 100000
[logfiles]
{Path(LOG).name} => notice,warning,error,verbose
""",
    "modules.conf": """
[modules]
autoload = no
load = pbx_config.so
load = pbx_spool.so
load = res_agi.so
load = res_speech.so
load = res_musiconhold.so
load = res_clioriginate.so
load = app_db.so
load = app_dial.so
load = app_exec.so
load = app_originate.so
load = app_playback.so
load = app_softhangup.so
load = app_stack.so
load = app_system.so
load = app_userevent.so
load = app_verbose.so
load = func_base64.so
load = func_callerid.so
load = func_channel.so
load = func_db.so
load = func_env.so
load = func_global.so
load = func_hangupcause.so
load = func_logic.so
load = func_strings.so
load = func_uri.so
load = format_pcm.so
load = format_wav.so
load = codec_ulaw.so
""",
    # Sets what a trunk would set about a caller, from variables of the call file.
    "extensions.conf": """
[originated]
exten => s,1,Set(CALLERID(num)=${ORIGINATE_NUM})
 same => n,Set(CALLERID(name)=${ORIGINATE_NAME})
 same => n,Set(CALLERID(pres)=${ORIGINATE_PRES})
 same => n,Set(CALLERID(dnid)=${ORIGINATE_EXTEN})
 same => n,Goto(${ORIGINATE_CONTEXT},${ORIGINATE_EXTEN},1)

""",
}


class Asterisk:
    """Runs from construction until close(). A box can have only one at a time: it uses the usual spool and log."""

    def __init__(
        self,
        box: Box,
        extensions_conf: str,
        *,
        env: Mapping[str, str] | None = None,
        configuration: Mapping[str, str] | None = None,
    ) -> None:
        """`configuration`: more files of the configuration folder, or text to append to the files above."""
        self.box = box
        self._numbers = itertools.count(1)
        folder = box.path(CONFIG)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        files = {**CONFIGURATION, "extensions.conf": CONFIGURATION["extensions.conf"] + extensions_conf}
        for name, text in (configuration or {}).items():
            files[name] = files.get(name, "") + text
        for name, text in files.items():
            (folder / name).write_text(text)
        box.run(["chown", "--recursive", "asterisk:asterisk", CONFIG])
        box.run(["install", "--directory", "--owner=asterisk", "--group=asterisk", "/var/run/asterisk"])
        box.path(LOG).unlink(missing_ok=True)
        self._process = box.popen(
            [*self._command(), "-f", "-U", "asterisk"],
            env={"PATH": f"{INSTALLED}/venv/bin:{PATH}", **(env or {})},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait_for("Asterisk Ready")
            self.rx("core waitfullybooted")
        except BaseException:
            self.close()
            raise

    def rx(self, command: str) -> str:
        """What `asterisk -rx` prints."""
        return self.box.run([*self._command(), "-rx", command]).stdout.decode(errors="replace")

    def originate(self, exten: str, context: str, **caller: Any) -> None:
        """A call comes in: the dialplan runs exten@context from priority 1, on a Local channel, until it hangs up."""
        self.come_in(self.call_file(exten, context, **caller))

    def call_file(
        self,
        exten: str,
        context: str,
        *,
        callerid_num: str | bytes = "",
        callerid_name: str | bytes = "",
        callerid_pres: str = "allowed_not_screened",
        variables: Mapping[str, str | bytes] | None = None,
    ) -> Path:
        """A call file for `come_in`. The other half of the Local channel waits, so that Answer() works."""
        told = {
            "ORIGINATE_NUM": callerid_num,
            "ORIGINATE_NAME": callerid_name,
            "ORIGINATE_PRES": callerid_pres,
            "ORIGINATE_EXTEN": exten,
            "ORIGINATE_CONTEXT": context,
            **(variables or {}),
        }
        lines = [b"Channel: Local/s@originated/n", b"Application: Wait", b"Data: 3600"]
        lines += [b"Setvar: " + name.encode() + b"=" + call_file_value(value) for name, value in told.items()]
        # Written in another folder and then moved, because pbx_spool reads a file as soon as it sees it.
        written = self.box.path(f"/var/spool/asterisk/tmp/{next(self._numbers)}.call")
        written.write_bytes(b"\n".join(lines) + b"\n")
        owner = self.box.path(OUTGOING).stat()
        os.chown(written, owner.st_uid, owner.st_gid)
        return written

    def come_in(self, *call_files: Path) -> None:
        """Start these calls at once: pbx_spool starts a thread for each."""
        outgoing = self.box.path(OUTGOING)
        for file in call_files:
            file.rename(outgoing / file.name)

    @property
    def log(self) -> str:
        return self.box.path(LOG).read_text(errors="replace")

    def wait_for(self, pattern: str, path: str = LOG, *, count: int = 1, timeout: float = 30) -> re.Match[str]:
        """Waits for the count-th line that matches the pattern, in a file of the box (the log).

        The file may be there already or appear later; its folder must exist.
        """
        file = self.box.path(path)
        until = time.monotonic() + timeout
        died, changes = os.pidfd_open(self._process.pid), watch(file.parent)
        try:
            while True:
                lines = file.read_text(errors="replace").splitlines() if file.exists() else []
                found = [match for match in (re.search(pattern, line) for line in lines) if match]
                if len(found) >= count:
                    return found[count - 1]
                ready, _, _ = select.select([changes, died], [], [], max(0, until - time.monotonic()))
                if changes not in ready:
                    what = "Asterisk died" if died in ready else "timeout"
                    raise AssertionError(f"{what} before {pattern!r} was in {path}; the log is\n{self.log}")
                os.read(changes, 65536)
        finally:
            os.close(changes)
            os.close(died)

    def close(self) -> None:
        """Stops it by its command, or by its process id if it doesn't react."""
        try:
            self.box.run([*self._command(), "-rx", "core stop now"], check=False, timeout=10)
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            pid = self.box.path("/var/run/asterisk/asterisk.pid").read_text().strip()
            self.box.run(["sh", "-c", f"kill -KILL {pid}"], check=False)  # there is no other kill in a minimal Debian
            self._process.kill()  # if Asterisk was stopped by a signal, what waits for it is stopped, too
            self._process.wait()

    def __enter__(self) -> Asterisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _command(self) -> list[str]:
        return ["asterisk", "-C", f"{CONFIG}/asterisk.conf"]


def call_file_value(value: str | bytes) -> bytes:
    """pbx_spool.c: apply_outgoing. Of what starts a comment or ends a line, only a semicolon can be escaped."""
    raw = value.encode() if isinstance(value, str) else value
    if re.search(rb"[ \t]#|\n|\s$", raw):
        raise ValueError(f"{value!r} can't be written into a call file")
    return raw.replace(b";", b"\\;")


def watch(folder: Path) -> int:
    """A descriptor that is readable once a file in the folder has been made, changed, moved or removed: inotify(7)."""
    create, modify, moved_to, moved_from, delete = 0x100, 0x2, 0x80, 0x40, 0x200
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.inotify_init1(os.O_CLOEXEC)
    if libc.inotify_add_watch(descriptor, os.fsencode(folder), create | modify | moved_to | moved_from | delete) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return descriptor
