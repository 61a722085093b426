#!/bin/sh
# Shows screen_pop at work on this machine, without Asterisk and without an XMPP account:
#
#     ./install.sh --demo [NUMBER]
#
# Nothing is installed, no service started, no root needed; all is made in a temporary folder and removed at the end.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

# The first Python of 3.9 or later.
find_python() {
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && return
    done
    fail "Python 3.9 or later is needed; as root: apt-get install python3"
}

# make_environment FOLDER: a virtual environment. Debian's Python comes without pip; its package is then unpacked beside.
make_environment() {
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$1"
        return
    fi
    "$python" -m venv --without-pip "$1"
    for package in python3-pip-whl python-pip-whl; do # the second: Debian 11
        PYTHONPATH=$here/tests "$python" -m parts.debs "$package" "$1/$package" 2>"$1/why" || continue
        for wheel in "$1/$package"/usr/share/python-wheels/pip-*.whl; do
            "$1/bin/python" "$wheel/pip" install --quiet --no-index "$wheel"
            return
        done
    done
    fail "this Python has no pip, and $(cat "$1/why"); as root: apt-get install python3-venv"
}

demo() {
    find_python
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$work" # as root, Prosody runs as nobody
    echo "Setting up a virtual environment and a private Prosody in $work"
    make_environment "$work/venv"
    "$work/venv/bin/pip" install -qq --disable-pip-version-check \
        --requirement "$here/requirements.txt" --requirement "$here/tests/demo-requirements.txt" ||
        fail "the Python packages can't be had: is there a network?"
    "$work/venv/bin/python" "$here/tests/demo.py" "$work" "$1"
}

case ${1-} in
--demo)
    [ $# -le 2 ] || fail "usage: ./install.sh --demo [NUMBER]"
    demo "${2-+15551234567}"
    ;;
*) fail "usage: ./install.sh --demo [NUMBER]" ;;
esac
