#!/bin/sh
# tests/run.sh [PATH|PYTEST-OPTION]...: runs the tests, from nothing. It installs what they need and then calls pytest.
# With paths (tests/unit, tests/fault/test_box.py::test_name) just these; without, all folders, the fast ones first and
# the real Asterisk last. tests/unit needs neither root nor apt.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # the system's Python: an ordinary user, as which parts of it run, can use that

paths=
beyond_unit=
for argument; do
    file=${argument%%::*}
    if [ -e "$file" ]; then
        paths=yes
        case $file in
        tests/unit | tests/unit/*) ;;
        *) beyond_unit=yes ;;
        esac
    fi
done
if [ -z "$paths" ] || [ -n "$beyond_unit" ]; then
    tests/packages.sh
fi
venv=$(tests/venv.sh requirements.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv")
export SCREEN_POP_CACHE
if [ -z "$paths" ]; then
    set -- tests/unit tests/process tests/session tests/fault tests/asterisk tests/install "$@"
fi
exec "$venv/bin/python" -m pytest "$@"
