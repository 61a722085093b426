#!/bin/sh
# Installs screen_pop on an Asterisk box:
#
#     sudo ./install.sh --jid pbx@example.org --password-file FILE --to alice@example.org
#
# or demonstrates it on a machine without Asterisk and without an XMPP account:
#
#     ./install.sh --demo [NUMBER]
#
# For all options: ./install.sh --help. Each release is installed in a folder of its own, releases/VERSION, and the link
# `current` points to the one in use. So an upgrade takes effect by one rename, and nothing changes before that.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

usage() {
    cat <<'USAGE'
./install.sh [--jid JID --password-file FILE --to JID[&JID]...] [--server HOST:PORT] [--ca-file FILE]
             [--with NAME[,NAME]...] [--no-service] [--dry-run] [--wheels DIR] [--prefix DIR]      install or upgrade
./install.sh --uninstall [--prefix DIR]
                               remove screen_pop; keep its configuration, spool and log
./install.sh --purge [--prefix DIR]
                               remove these, too
./install.sh --download DIR [--with NAME[,NAME]...]
                               download the Python packages for --wheels DIR on a box without a network
./install.sh --demo [NUMBER]   demonstrate screen_pop; install nothing

USAGE
    echo "--with adds libraries for the phone book: $(commas "$(addable)"). Upgrades keep them; --with none removes them."
    echo "--no-service sets up neither the systemd service nor, where systemd doesn't run, cron. Upgrades keep this; --service"
    echo "sets it up again."
}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

# --- Python ---

# Finds Python 3.9 or later. The system's is preferred: Asterisk's user can run it. With -I, here and below, it imports no
# module from the folder in which this is run, which may be anybody's. (ensurepip of Python 3.9 does, so venv runs in /.)
find_python() {
    for python in /usr/bin/python3 python3; do
        "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && return
    done
    fail "Python 3.9 or later is required; this machine has $(python3 --version 2>/dev/null || echo none)"
}

# make_environment FOLDER: makes a virtual environment. If Python has no pip, as on Debian, it comes from Debian's package.
make_environment() {
    if "$python" -I -c 'import ensurepip' 2>/dev/null; then
        env -C / "$python" -I -m venv "$1"
        return
    fi
    "$python" -I -m venv --without-pip "$1"
    for package in python3-pip-whl python-pip-whl; do # the second: Debian 11
        "$python" -I -c 'import runpy, sys
sys.path.insert(0, sys.argv.pop(1))
runpy.run_module("parts.debs", run_name="__main__")' "$here/tests" "$package" "$1/$package" 2>"$1/why" || continue
        for wheel in "$1/$package"/usr/share/python-wheels/pip-*.whl; do
            "$1/bin/python" -I "$wheel/pip" install --quiet --no-index "$wheel"
            return
        done
    done
    fail "this Python has no pip, and $(cat "$1/why"); as root: apt-get install python3-venv"
}

# pip_install ENVIRONMENT ARGUMENTS...
pip_install() {
    environment=$1
    shift
    "$environment/bin/python" -I -m pip install -qq --disable-pip-version-check --no-input "$@" </dev/null
}

# --- the libraries that --with adds ---

# Prints the names that --with knows: those of the files in requirements/. A release has none.
addable() {
    find "$here/requirements" -name '*.txt' -exec basename -s .txt {} + 2>/dev/null | sort | xargs
}

commas() {
    echo "$1" | tr ' ' ,
}

# choose NAMES: sets `chosen` to the names whose libraries are to be installed: NAMES and those of --with. `none` drops the
# names before it.
choose() {
    chosen=''
    set -f # a name may be *
    for name in $1 $with; do
        case " $(addable) none " in
        *" $name "*) ;;
        *) fail "there are no libraries for '$name'; --with can add those for $(commas "$(addable)")" ;;
        esac
        if [ "$name" = none ]; then chosen=''; else chosen="$chosen $name"; fi
    done
    set +f
    chosen=$(echo "$chosen" | tr ' ' '\n' | sort -u | xargs)
}

# Prints the requirements of screen_pop and those that were chosen.
requirements() {
    cat "$here/requirements.txt"
    for name in $chosen; do
        cat "$here/requirements/$name.txt"
    done
}

# --- the demo ---

demo() {
    find_python
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$work" # as root, Prosody runs as nobody
    echo "Setting up a virtual environment and a private Prosody in $work"
    make_environment "$work/venv"
    for requirements in "$here/requirements.txt" "$here/tests/demo-requirements.txt"; do
        pip_install "$work/venv" --requirement "$requirements" ||
            fail "the Python packages can't be downloaded: is there a network?"
    done
    "$work/venv/bin/python" "$here/tests/demo.py" "$work" "$1"
}

download() {
    find_python
    choose ''
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    make_environment "$work/venv"
    mkdir -p "$1"
    # The box may have another version of Python, for which a condition (after a ;) chooses another version of a package.
    # So the conditions are removed. Each package that had one gets a file of its own, because pip accepts only one version.
    requirements | awk -v folder="$work" '
        /^#/ || /^$/ { next }
        /^[^ ]/      { file = folder "/" (/;/ ? ++count : 0) ".txt"; sub(/;[^\\-]*/, "") }
                     { print >file }'
    for file in "$work"/*.txt; do
        "$work/venv/bin/python" -I -m pip download -qq --disable-pip-version-check --no-deps --only-binary :all: \
            --ignore-requires-python --dest "$1" --requirement "$file" </dev/null ||
            fail "the Python packages can't be downloaded: is there a network?"
    done
    echo "On the box, run: ./install.sh --wheels $1${chosen:+ --with $(commas "$chosen")}"
}

# --- Asterisk ---

# setting NAME FILE: a value of asterisk.conf. Asterisk ignores the section [directories](!), which is a template, but in
# the files of Debian and of Asterisk it has the values that are compiled in.
setting() {
    sed -n "s/^[[:space:]]*$1[[:space:]]*=>\{0,1\}[[:space:]]*\([^;]*\).*/\1/p" "$2" 2>/dev/null |
        sed 's/[[:space:]]*$//' | tail -n 1
}

# directory LABEL NAME DEFAULT: a folder of the running Asterisk, else of asterisk.conf, else the default.
directory() {
    found=$(printf '%s\n' "$settings" | sed -n "s/^ *$1: *//p" | tail -n 1)
    [ -n "$found" ] || found=$(setting "$2" "$asterisk_conf")
    echo "${found:-$3}"
}

# The user of the running Asterisk, else of asterisk.conf or of Debian's defaults, else asterisk.
find_user() {
    program=$(readlink -f "$(command -v asterisk)" || echo none)
    for process in /proc/[0-9]*; do
        case $(readlink "$process/exe" 2>/dev/null) in
        "$program" | "$program (deleted)") ;;
        *) continue ;;
        esac
        # A console (-r, -R, -x, rasterisk) has the user who has opened it. Only -C, -e, -G, -L, -M, -s and -U take a value.
        tr '\0' '\n' 2>/dev/null <"$process/cmdline" | grep -qE '^-[^CeGLMsU-]*[rRx]|(^|/)rasterisk$' && continue
        stat -c %U "$process" 2>/dev/null && return
    done
    found=$(setting runuser "$asterisk_conf")
    # shellcheck source=/dev/null
    [ -n "$found" ] || found=$(. /etc/default/asterisk 2>/dev/null && echo "${AST_USER-}") || :
    echo "${found:-asterisk}"
}

find_asterisk() {
    asterisk_conf=/etc/asterisk/asterisk.conf
    settings=$({ timeout -s KILL 10 asterisk -rx 'core show settings' || :; } 2>/dev/null </dev/null)
    conf_dir=$(directory 'Configuration directory' astetcdir /etc/asterisk)
    spool_dir=$(directory 'Spool directory' astspooldir /var/spool/asterisk)
    log_dir=$(directory 'Log directory' astlogdir /var/log/asterisk)
    agi_dir=$(directory 'AGI Scripts directory' astagidir /var/lib/asterisk/agi-bin)
    user=$(find_user)
    group=$(id -gn "$user" 2>/dev/null || echo "$user")
    conf=$conf_dir/screen_pop.conf
    spool=$spool_dir/screen_pop
}

print_findings() {
    if [ -n "$settings" ]; then echo "Asterisk is running."; else echo "Asterisk isn't running."; fi
    printf '%-15s%s\n' 'AGI scripts' "$agi_dir" 'configuration' "$conf" 'spool' "$spool" 'log' "$log_dir" \
        'user' "$user" 'service' "$(wanted_service)" 'installed in' "$root/lib/screen_pop" \
        'Python' "$("$python" --version 2>&1)"
    [ -z "$with$chosen" ] || printf '%-15s%s\n' 'libraries for' "$(commas "${chosen:-none}")"
}

check_box() {
    [ -n "${DESTDIR-}" ] || id "$user" >/dev/null 2>&1 || fail "there is no user $user: is Asterisk installed here?"
    if [ -z "${DESTDIR-}" ]; then
        [ "$user" != root ] || [ "$(setting runuser "$asterisk_conf")" = root ] ||
            fail "Asterisk runs as root; if you want that, add to the section [options] of $asterisk_conf: runuser = root"
        owner=$(stat -c %U "$spool" 2>/dev/null || echo "$user")
        [ "$owner" = "$user" ] ||
            fail "$spool belongs to $owner, but Asterisk's user seems to be $user; start Asterisk, or: chown -R $user: $spool"
        [ -d "$conf_dir" ] || fail "there is no $conf_dir: is Asterisk installed here?"
        [ -d "$agi_dir" ] || fail "Asterisk's AGI directory $agi_dir doesn't exist; make it, or correct asterisk.conf"
    fi
}

# Installs the package for virtual environments if it is missing, and says so.
install_venv() {
    "$python" -I -c 'import ensurepip, venv' 2>/dev/null && return
    if command -v apt-get >/dev/null; then
        set -- apt-get install -y --no-install-recommends python3-venv
    elif command -v dnf >/dev/null; then
        set -- dnf install -y python3-pip
    else
        fail "this Python can't make virtual environments; install its venv and ensurepip modules"
    fi
    echo "Missing: Python's venv. Running: $*"
    DEBIAN_FRONTEND=noninteractive "$@" >/dev/null </dev/null || fail "this failed; run it as root: $*"
}

# --- install ---

# Runs at the end. If the installation failed, it removes the files that this run has made.
undo() {
    status=$?
    trap '' INT TERM HUP
    [ -z "${echo_is_off-}" ] || stty echo
    if [ "$status" -ne 0 ] && [ -n "${made-}" ]; then
        printf '%s\n' "$made" | while IFS= read -r path; do
            [ -z "$path" ] || rm -rf "$path"
        done
    fi
    [ -z "${stage-}" ] || rm -rf "$stage"
    [ -z "${asked-}" ] || rm -f "$asked"
    if [ "$status" -ne 0 ] && [ -d "$root/lib/screen_pop" ]; then
        [ -h "$root/lib/screen_pop/current" ] || rm -f "$root/lib/screen_pop/folders"
        rmdir "$root/lib/screen_pop/releases" "$root/lib/screen_pop" 2>/dev/null || :
        remove_folders
    fi
}

# Removes the folders that this installer has made, if they are empty.
remove_folders() {
    printf '%s\n' "$folders" | while IFS= read -r folder; do
        [ -z "$folder" ] || rmdir "$folder" 2>/dev/null || :
    done
}

# will_make PATH: notes that this run makes it, so that it is removed if the installation fails.
will_make() {
    made="$1
${made-}"
}

# The name of a release: its version, and a hash of its content.
identify() {
    version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/lib/screenpop/__init__.py")
    # shellcheck disable=SC2016 # for find's own shell
    hash=$( (
        cd "$here"
        "$python" -I -c 'import sys; print(sys.version)'
        echo "$prefix $agi_dir $conf_dir $spool_dir $log_dir $chosen"
        find lib/screenpop -name '*.py' -o -name '*.png' -o -name '*.mo' | LC_ALL=C sort | xargs cat
        cat screen_pop.py install.sh
        requirements
    ) | sha256sum | cut -c 1-10)
    release=$version-$hash
}

# uninterrupted COMMAND...: ctrl-C ends the installer after this command; it doesn't end Python with a traceback.
uninterrupted() (
    trap '' INT
    "$@"
)

# Builds the release in a folder with a temporary name, which is renamed when it is complete.
build() {
    mkdir -p "$root/lib/screen_pop/releases"
    stage=$root/lib/screen_pop/releases/$release.unfinished
    rm -rf "$stage"
    mkdir "$stage" "$stage/tmp"
    TMPDIR=$stage/tmp # pip leaves its temporary folders behind if it is interrupted
    export TMPDIR
    uninterrupted env -C / "$python" -I -m venv "$stage/venv" || fail "the virtual environment can't be made in $stage"
    if [ -n "$wheels" ]; then
        set -- --no-index --find-links "$wheels"
        why="$wheels lacks Python packages, or they were changed. To download them: ./install.sh --download DIR"
        why="$why${chosen:+ --with $(commas "$chosen")}"
    else
        set --
        why="the Python packages can't be downloaded: is there a network? --wheels needs none"
    fi
    requirements >"$stage/tmp/requirements.txt"
    uninterrupted pip_install "$stage/venv" "$@" --require-hashes --no-deps --only-binary :all: --no-compile \
        --requirement "$stage/tmp/requirements.txt" || fail "$why. Nothing was changed"
    site=$(uninterrupted "$stage/venv/bin/python" -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    cp -R "$here/lib/screenpop" "$site/"
    uninterrupted "$stage/venv/bin/python" -I -m pip uninstall -qq -y --disable-pip-version-check setuptools pip </dev/null 2>/dev/null || :
    find "$stage/venv/bin" -type f ! -name 'python*' -exec rm -f {} + # the packages' commands, which are not used
    rm -rf "$stage/tmp"
    unset TMPDIR
    sed -i '/^command = /d' "$stage/venv/pyvenv.cfg" # it contains the temporary name of the folder
    find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
    # Compile now: Asterisk's user can't write byte-code, and without it each call would wait for the compiler.
    uninterrupted "$stage/venv/bin/python" -I -m compileall -q -s "$stage" -p "$prefix/lib/screen_pop/releases/$release" "$site" >/dev/null ||
        fail "the byte-code can't be written to $stage"

    # With -I -S Python starts 3 ms faster. (It is one word, -IS, because a first line may have only one argument.) Then
    # LIBRARY says where the modules are: in this release, also while another one is installed.
    home=$prefix/lib/screen_pop/releases/$release
    sed -e "1s|.*|#!$home/venv/bin/python3 -IS|" -e "s|^LIBRARY = .*|LIBRARY = \"$home${site#"$stage"}\"|" \
        "$here/screen_pop.py" >"$stage/screen_pop.py"
    cat >"$stage/screen-pop" <<LAUNCHER
#!/bin/sh
# The folders of this box's Asterisk. With -I -S, Python starts faster and imports only from this installation.
: "\${AST_CONFIG_DIR:=$conf_dir}" "\${AST_SPOOL_DIR:=$spool_dir}" "\${AST_LOG_DIR:=$log_dir}"
export AST_CONFIG_DIR AST_SPOOL_DIR AST_LOG_DIR
exec $home/venv/bin/python3 -I -S -c 'import sys; sys.path.append("$home${site#"$stage"}")
from screenpop.__main__ import main; main()' "\$@"
LAUNCHER
    chmod 755 "$stage/screen_pop.py" "$stage/screen-pop"
    cp "$here/install.sh" "$stage/"
    printf '%s\n' "$prefix/bin/screen-pop" "$agi_dir/screen_pop.py" >"$stage/links"
    echo "$chosen" >"$stage/with"
}

# ask QUESTION: prints the answer that is typed on the terminal.
ask() {
    printf '%s: ' "$1" >&2
    IFS= read -r answer || fail "no answer"
    printf '%s' "$answer"
}

ask_for_configuration() {
    echo "There is no $conf yet." >&2
    jid=$(ask "The account that sends the messages (such as pbx@example.org)")
    echo_is_off=yes
    stty -echo
    password=$(ask "Its password")
    stty echo
    echo_is_off=
    echo >&2
    to=$(ask "Send the messages to (such as alice@example.org)")
    asked=$(mktemp)
    printf '%s\n' "$password" >"$asked"
    password_file=$asked
}

# Prints the configuration: the sample with the values of the options.
configure() {
    JID=$jid TO=$to SERVER=$server PASSWORD_FILE=${password_file:+$conf_dir/screen_pop.password} \
        CA_FILE=${ca_file:+$conf_dir/screen_pop.ca.pem} awk '
        function put(name, value) { print (value == "" ? ";" : "") name " = " value }
        /^jid = /            { put("jid", ENVIRON["JID"]); next }
        /^password = /       { print ";password ="; next }
        /^;password_file =/  { put("password_file", ENVIRON["PASSWORD_FILE"]); next }
        /^;server =/         { put("server", ENVIRON["SERVER"]); next }
        /^;ca_file =/        { put("ca_file", ENVIRON["CA_FILE"]); next }
        /^to = /             { put("to", ENVIRON["TO"]); next }
        { print }' "$here/screen_pop.conf.sample"
}

# complaints ENVIRONMENT CONFIGURATION: prints the errors that this release finds in it; fails if there are any.
complaints() {
    "$1/bin/python3" -I -c '
import sys
from pathlib import Path
from screenpop import config, settings
try:
    settings.load(Path(sys.argv[1]))
except config.ConfigError as error:
    sys.exit("\n".join(error.complaints))' "$2" 2>&1
}

# suggest_libraries CONFIGURATION: names the option that adds what it uses and what is not installed.
suggest_libraries() {
    missing=''
    for name in $("$prefix/lib/screen_pop/current/venv/bin/python3" -I -c '
import sys
from pathlib import Path
from screenpop import settings
found = settings.load(Path(sys.argv[1]))
print(*sorted({source.type for source in found.sources.values()}), *["places"] * found.pop.places)' "$1"); do
        case " $chosen " in
        *" $name "*) continue ;;
        esac
        [ ! -e "$here/requirements/$name.txt" ] || missing="$missing $name"
    done
    missing=$(commas "${missing# }")
    [ -z "$missing" ] || echo "$1 uses libraries that are not installed; to add them: ./install.sh --with $missing"
}

# is_complete RELEASE: whether its own libraries can be imported, and all modules that --with has added are there.
is_complete() {
    "$1/venv/bin/python3" -I -c '
import sys
from importlib.metadata import distributions
from screenpop import libraries
for found in distributions():  # found.files leaves out what is missing
    names = [line.split(",")[0] for line in (found.read_text("RECORD") or "").splitlines()]
    modules = [name for name in names if name.endswith(".py") and not name.startswith("..")]
    if not all(found.locate_file(name).exists() for name in modules):
        sys.exit(1)
sys.exit(bool(libraries.problems()))' 2>/dev/null
}

# place SOURCE TARGET MODE: makes a new file that root and Asterisk can read. Asterisk's user may own the folder of TARGET and
# make links in it; so the file gets its content, owner and mode in $stage.
place() {
    will_make "$DESTDIR$2"
    cp "$1" "$stage/placed"
    [ -n "$DESTDIR" ] || chown "root:$group" "$stage/placed"
    chmod "$3" "$stage/placed"
    mv -TZ "$stage/placed" "$DESTDIR$2" # -Z: where there is SELinux, with the type of that folder
}

install_configuration() {
    if [ -e "$DESTDIR$conf" ]; then
        [ -z "$jid$to$server$password_file$ca_file" ] || echo "$conf exists already and is not changed."
        [ -n "$DESTDIR" ] || wrong=$(complaints "$stage/venv" "$conf") || fail "$wrong"
        return
    fi
    mkdir -p "$DESTDIR$conf_dir"
    [ -z "$password_file" ] || place "$password_file" "$conf_dir/screen_pop.password" 640
    [ -z "$ca_file" ] || place "$ca_file" "$conf_dir/screen_pop.ca.pem" 644
    configure >"$stage/conf"
    if [ -n "$jid" ] && [ -z "$DESTDIR" ]; then
        wrong=$(complaints "$stage/venv" "$stage/conf") || fail "$(echo "$wrong" | sed "s|$stage/conf|$conf|")"
    fi
    place "$stage/conf" "$conf" 640
    rm "$stage/conf"
}

install_spool() {
    [ -d "$DESTDIR$spool" ] && return
    mkdir -p "$DESTDIR$spool_dir"
    will_make "$DESTDIR$spool"
    if [ -n "$DESTDIR" ]; then
        mkdir -m 700 "$DESTDIR$spool"
    elif [ "$(stat -L -c %u "$spool_dir")" -eq 0 ]; then
        mkdir -m 700 "$spool"
        chown -h "$user:$group" "$spool"
    else # not by root: the owner of the folder could replace it by a link before chown
        runuser -u "$user" -- mkdir -m 700 "$spool" || fail "$user can't make $spool: who owns $spool_dir?"
    fi
}

# Adds no rule where one rotates all of Asterisk's *.log, as on newer Debians: logrotate accepts only one rule for a file.
install_logrotate() {
    rules=$DESTDIR/etc/logrotate.d
    if [ -e "$rules/screen_pop" ] || [ ! -d "$rules" ] || grep -qsF "$log_dir/*.log" "$rules"/*; then
        return
    fi
    cat >"$stage/logrotate" <<RULES
$log_dir/screen_pop.log {
    weekly
    rotate 8
    compress
    delaycompress
    missingok
    notifempty
    su $user $group
    create 0640 $user $group
}
RULES
    will_make "$rules/screen_pop"
    mv "$stage/logrotate" "$rules/screen_pop"
}

# link TARGET NAME: makes or replaces a symbolic link in one rename.
link() {
    mkdir -p "$(dirname "$2")"
    [ "$(readlink "$2" 2>/dev/null)" != "$1" ] || return 0
    [ -e "$2" ] || [ -h "$2" ] || will_make "$2"
    ln -sfT "$1" "$2.new"
    mv -T "$2.new" "$2"
}

# --- after a restart of the machine ---

WRITTEN='# Written by install.sh of screen_pop'
unit=/etc/systemd/system/screen_pop.service
cron=/etc/cron.d/screen_pop

has_systemd() {
    [ -d /run/systemd/system ] # sd_booted(3)
}

has_cron() {
    [ -d "$(dirname "$cron")" ] && { command -v cron || command -v crond; } >/dev/null
}

systemd() {
    systemctl --quiet "$@" </dev/null
}

wanted_service() {
    if [ "$service" = no ]; then
        echo none
    elif has_systemd || [ -n "$DESTDIR" ]; then
        echo systemd
    elif has_cron; then
        echo "$cron"
    else
        echo 'none: this machine runs neither systemd nor cron'
    fi
}

# quoted TEXT: as a value in a unit (systemd.syntax(7)).
quoted() {
    printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g; s/%/%%/g')"
}

service_unit() {
    cat <<UNIT
$WRITTEN, which replaces it in upgrades. For changes: systemctl edit screen_pop

[Unit]
Description=screen_pop, which shows callers on XMPP clients
Wants=network-online.target
After=network-online.target
RequiresMountsFor=$(quoted "$spool") $(quoted "$log_dir")
StartLimitIntervalSec=0

[Service]
Type=notify
# A spool that is missing now would stay read-only. Only Asterisk's user makes it, because the folder is his.
ExecStartPre=-+/usr/bin/setpriv --reuid=$user --regid=$group --init-groups mkdir -p -m 700 $(quoted "$spool")
ExecStart=$prefix/bin/screen-pop serve
ExecReload=/bin/sh -c "kill -HUP \$MAINPID"
User=$user
Group=$group
Restart=always
RestartSec=5
# The command is unknown: an older version was installed.
RestartPreventExitStatus=2
# A host that doesn't answer can take 90 s.
WatchdogSec=180
TimeoutStopSec=15
# It ends so if the server confirms nothing before it must leave; what was not confirmed stays in the spool.
SuccessExitStatus=SIGALRM

# The sender needs 30 to 50 MB, with [pop] places 100 MB more.
MemoryMax=512M
OOMPolicy=continue

# It writes only to the spool, the log and /dev/shm. [log] file in another folder needs: ReadWritePaths=FOLDER
ProtectSystem=strict
ReadWritePaths=$(quoted "-$spool") $(quoted "-$log_dir")
# Files of the phone book may be in /home.
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
UMask=0077
# The memory has passwords.
LimitCORE=0

NoNewPrivileges=yes
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
# AF_UNIX: syslog, and databases on this machine. AF_NETLINK: getaddrinfo(3).
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
UNIT
}

cron_table() {
    cat <<CRON
$WRITTEN, which replaces it in upgrades. It sends what has been left waiting, and prints nothing.
@reboot $user $prefix/bin/screen-pop flush --start
*/5 * * * * $user $prefix/bin/screen-pop flush --start
CRON
}

# written PATH: whether this installer wrote the file. Another one, or a link (systemctl mask makes one), is left alone.
written() {
    [ -f "$1" ] && [ ! -h "$1" ] && grep -qF "$WRITTEN" "$1"
}

# update PATH TEXT: writes the file; fails if that would change nothing, or if somebody else wrote it.
update() {
    if [ -e "$1" ] || [ -h "$1" ]; then
        written "$1" || {
            echo "$1 was not written by this installer and is not changed."
            return 1
        }
        [ "$(cat "$1")" != "$2" ] || return 1
    fi
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1.new"
    chmod 644 "$1.new"
    mv "$1.new" "$1"
}

# install_service CHANGED: sets up the service or, where systemd doesn't run, cron. CHANGED is not empty if a running service
# must begin again. One that an administrator has stopped, disabled or masked stays so.
install_service() {
    if [ -n "$DESTDIR" ]; then
        [ "$service" = no ] || update "$root/lib/systemd/system/screen_pop.service" "$(service_unit)" || :
        return
    fi
    if [ "$service" = no ]; then
        remove_service
        [ -e "$library/no-service" ] || : >"$library/no-service"
        return
    fi
    rm -f "$library/no-service"
    if has_systemd; then
        [ ! -e "$unit" ] || systemd is-active screen_pop.service || was_stopped=yes
        ! written "$cron" || rm -f "$cron"
        verb=${1:+try-restart}
        [ -e "$unit" ] || [ -h "$unit" ] || verb='enable --now'
        if update "$unit" "$(service_unit)"; then
            systemd daemon-reload
            verb=${verb:-try-restart}
        fi
        # shellcheck disable=SC2086 # two words
        [ -z "$verb" ] || systemd $verb screen_pop.service ||
            echo "The service doesn't start; to see why: journalctl -u screen_pop"
    elif has_cron; then
        update "$cron" "$(cron_table)" || :
    fi
}

remove_service() {
    if written "$unit"; then
        ! has_systemd || systemd stop screen_pop.service || :
        rm -f "$unit" "$(dirname "$unit")"/*.wants/screen_pop.service
        ! has_systemd || systemd daemon-reload || :
    fi
    ! written "$cron" || rm -f "$cron"
}

# Refuses if the script that Asterisk runs is in another prefix.
check_prefix() {
    [ -e "$DESTDIR$agi_dir/screen_pop.py" ] || return 0
    script=$(readlink "$DESTDIR$agi_dir/screen_pop.py" || :)
    case $script in
    "$prefix/lib/screen_pop/"*) ;;
    */lib/screen_pop/*) fail "screen_pop is installed in ${script%/lib/screen_pop/*}; add: --prefix ${script%/lib/screen_pop/*}" ;;
    esac
}

# ours PATH: whether it is a link into this installation.
ours() {
    case $(readlink "$1" 2>/dev/null) in
    "$prefix/lib/screen_pop/"*) ;;
    *) return 1 ;;
    esac
}

# Ends the running senders, except the service of systemd, and waits until they have released the spool.
end_senders() {
    for process in /proc/[0-9]*; do
        if tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -qx -e screenpop.sender -e serve &&
            tr '\0' '\n' <"$process/cmdline" 2>/dev/null | grep -q "^$prefix/lib/screen_pop/" &&
            ! grep -qs '/screen_pop\.service$' "$process/cgroup"; then
            kill "${process#/proc/}" 2>/dev/null || :
        fi
    done
    { has_systemd && systemd is-active screen_pop.service; } || [ ! -e "$spool/lock" ] ||
        flock -w 12 "$spool/lock" true || :
    rm -f "$spool/doorbell" # the trigger of version 0.1.0
}

start_sender() {
    AST_CONFIG_DIR=$conf_dir AST_SPOOL_DIR=$spool_dir AST_LOG_DIR=$log_dir runuser -u "$user" -- \
        "$prefix/lib/screen_pop/current/venv/bin/python3" -I -c '
from screenpop.spool import outbox, trigger
trigger.ring(outbox.path_from_environment())'
}

install() {
    [ -n "$DESTDIR" ] || [ "$(id -u)" -eq 0 ] || fail "run this as root: sudo ./install.sh"
    for file in "$password_file" "$ca_file"; do
        [ -z "$file" ] || { [ -f "$file" ] && [ -r "$file" ]; } || fail "$file is not a readable file"
    done
    if [ -n "$jid$to$password_file" ]; then
        for value in "$jid" "$to" "$password_file"; do
            [ -n "$value" ] || fail "--jid, --password-file and --to must be used together; one of them is missing"
        done
    fi
    choose "$(cat "$root/lib/screen_pop/current/with" 2>/dev/null || :)"
    [ -n "$service" ] || [ ! -e "$root/lib/screen_pop/no-service" ] || service=no
    find_python
    find_asterisk
    check_box
    check_prefix
    print_findings
    [ -z "$dry_run" ] || return 0

    install_venv
    identify
    library=$root/lib/screen_pop
    trap undo EXIT
    trap 'exit 130' INT TERM HUP
    folders=$(for folder in "$root/bin" "$root/lib" "$root"; do [ -d "$folder" ] || echo "$folder"; done)
    mkdir -p "$library" 2>/dev/null || fail "$library can't be made; nothing was changed"
    [ -w "$library" ] || fail "$library can't be written; nothing was changed"
    before=$(readlink "$library/current" 2>/dev/null || :)
    for path in "$DESTDIR$agi_dir/screen_pop.py" "$root/bin/screen-pop"; do
        [ ! -e "$path" ] || ours "$path" || fail "$path exists and was not made by this installer; move it away"
    done
    changed=''
    if [ "$before" = "releases/$release" ] && [ -h "$DESTDIR$agi_dir/screen_pop.py" ] && [ -h "$root/bin/screen-pop" ] &&
        [ -e "$DESTDIR$conf" ] && [ -d "$DESTDIR$spool" ] && is_complete "$library/current"; then
        echo "Nothing to do: $release is installed."
    else
        if [ -z "$jid" ] && [ ! -e "$DESTDIR$conf" ] && [ -t 0 ]; then
            ask_for_configuration
        fi
        echo "Installing $release"
        build
        install_configuration
        install_spool
        install_logrotate
        if [ -d "$library/releases/$release" ] && is_complete "$library/releases/$release"; then
            rm -rf "$stage"
        else
            [ ! -d "$library/releases/$release" ] || mv "$library/releases/$release" "$library/releases/$release.broken"
            mv "$stage" "$library/releases/$release"
            will_make "$library/releases/$release"
        fi
        stage=
        [ -n "$DESTDIR" ] || [ -e "$library/folders" ] || echo "$folders" >"$library/folders"
        link "$prefix/lib/screen_pop/current/screen-pop" "$root/bin/screen-pop"
        link "$prefix/lib/screen_pop/current/screen_pop.py" "$DESTDIR$agi_dir/screen_pop.py"
        link "releases/$release" "$library/current" # from here on calls use the new release
        made=
        remove_old_releases
        changed=yes
        [ -z "$before" ] || [ -n "$DESTDIR" ] || end_senders
    fi
    install_service "$changed"
    if [ -n "$changed" ] && [ -n "$before" ] && [ -z "$DESTDIR" ]; then
        start_sender || echo "No sender could be started; the next call will start one."
    fi
    trap - EXIT INT TERM HUP
    [ -z "${asked-}" ] || rm -f "$asked"
    [ -n "$DESTDIR" ] || test_installation
}

# Removes all releases except the new one and the previous one, which a sender may still be using.
remove_old_releases() {
    for old in "$library"/releases/*; do
        case $old in
        "$library/releases/$release" | "$library/$before") ;;
        *) rm -rf "$old" ;;
        esac
    done
}

test_installation() {
    echo
    if wrong=$(complaints "$prefix/lib/screen_pop/current/venv" "$conf"); then
        suggest_libraries "$conf"
        "$prefix/bin/screen-pop" check || [ -n "$was_stopped" ] || # which is no reason to fail; the test shows other ones
            fail "installed, but calls can't be shown yet: solve the problems above, then run: screen-pop check"
        echo
        "$prefix/bin/screen-pop" test "+15551234567" "screen_pop" ||
            fail "installed, but the test pop wasn't delivered: solve the problem above, then run: screen-pop test NUMBER"
    else
        echo "$wrong"
        echo "Fill in $conf, then run: screen-pop check, and: screen-pop test NUMBER"
    fi
    cat <<DIALPLAN

Add this line to $conf_dir/extensions.conf, in the context of incoming calls, before Dial():

    same => n,AGI(screen_pop.py,\${CALLERID(num)})

And once, so that the message says at the end of the call who has answered, or that nobody did:

    [screen_pop]
    exten => ended,1,AGI(screen_pop.py,,,ended)
     same => n,Return()

With FreePBX, add these lines to $conf_dir/extensions_custom.conf, make a Custom Destination of them (target
screen-pop,s,1, with Return), and let the inbound route go through it:

    [screen-pop]
    exten => s,1,AGI(screen_pop.py,\${CALLERID(num)})
     same => n,Return()

With FreePBX, the context [screen_pop] goes into the same file.

Then run: asterisk -rx 'dialplan reload'

Some clients hide messages from strangers. To become a contact of the recipients, run: screen-pop introduce
DIALPLAN
}

# --- uninstall ---

uninstall() {
    [ "$(id -u)" -eq 0 ] || fail "run this as root: sudo ./install.sh --$1"
    find_asterisk
    check_prefix
    library=$root/lib/screen_pop
    [ -d "$library" ] || [ "$1" = purge ] || fail "screen_pop isn't installed in $library"
    remove_service
    end_senders
    cat "$library"/releases/*/links 2>/dev/null | sort -u | while IFS= read -r path; do
        ! ours "$path" || rm -f "$path"
    done
    folders=$(cat "$library/folders" 2>/dev/null || :)
    rm -rf "$library" "$DESTDIR/etc/logrotate.d/screen_pop"
    remove_folders
    if [ "$1" = purge ]; then
        # calls that could not be written to the spool are in memory (spool/outbox.py: spare_path)
        spare=/dev/shm/screen_pop-$(id -u "$user")$(printf %s "$spool" | tr / -)
        rm -rf "$conf" "$conf_dir/screen_pop.password" "$conf_dir/screen_pop.ca.pem" "$spool" "$spare" \
            "$log_dir"/screen_pop.log* "$unit.d"
        echo "screen_pop, its configuration, spool and log were removed."
    else
        echo "screen_pop was removed. Its configuration, spool and log were kept; --purge removes them, too."
    fi
    callers=$(grep -rlisE --exclude='screen_pop.*' '^[^;]*agi.*screen_pop' "$conf_dir" | sort | paste -sd ' ' -)
    [ -z "$callers" ] || echo "The dialplan still calls it; remove these lines from: $callers"
}

# --- the command line ---

folders='' jid='' password_file='' to='' server='' ca_file='' wheels='' with='' dry_run='' service='' prefix=/usr/local action=install argument=''
was_stopped=''
DESTDIR=${DESTDIR-}
case $here in
*/lib/screen_pop/current | */lib/screen_pop/releases/*) prefix=${here%/lib/screen_pop/*} ;; # the installed copy
esac

while [ $# -gt 0 ]; do
    case $1 in
    --jid | --password-file | --to | --server | --ca-file | --wheels | --with | --prefix | --download)
        [ $# -gt 1 ] || fail "$1 needs a value"
        case $2 in
        *'
'*) fail "the value of $1 has more than one line" ;;
        esac
        ;;
    esac
    case $1 in
    --jid) jid=$2 && shift ;;
    --password-file) password_file=$2 && shift ;;
    --to) to=$2 && shift ;;
    --server) server=$2 && shift ;;
    --ca-file) ca_file=$2 && shift ;;
    --wheels) wheels=$2 && shift ;;
    --with) with="$with $(printf %s "$2" | tr , ' ')" && shift ;;
    --prefix) prefix=$2 && shift ;;
    --download) action=download argument=$2 && shift ;;
    --service) service=yes ;;
    --no-service) service=no ;;
    --dry-run) dry_run=yes ;;
    --uninstall) action=uninstall ;;
    --purge) action=purge ;;
    --demo)
        action=demo argument=+15551234567
        [ $# -lt 2 ] || { argument=$2 && shift; }
        ;;
    --jid=* | --password-file=* | --to=* | --server=* | --ca-file=* | --wheels=* | --with=* | --prefix=* | --download=*)
        fail "write a space in place of =: ${1%%=*} VALUE"
        ;;
    --password*) fail "a password on the command line could be read by everybody: put it into a file and use --password-file" ;;
    --help | -h)
        usage
        exit 0
        ;;
    *) fail "unknown option $1; for all options run: ./install.sh --help" ;;
    esac
    shift
done
[ -z "$wheels" ] || [ -d "$wheels" ] || fail "there is no folder $wheels"
case $prefix in
*[!A-Za-z0-9/._+-]*) fail "--prefix may contain only letters, digits and / . _ + -" ;; # it becomes a part of a first line
/*) ;;
*) fail "--prefix should be an absolute path, such as /usr/local" ;;
esac
root=$DESTDIR$prefix

case $action in
demo) demo "$argument" ;;
download) download "$argument" ;;
install) install ;;
*) uninstall "$action" ;;
esac
