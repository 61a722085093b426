#!/bin/sh
# tests/run.sh [PATH|PYTEST-OPTION]...: installs what the tests need and runs them with pytest. With paths (tests/unit,
# tests/fault/test_box.py::test_name) it runs only these tests, without paths all of them, the fast ones first.
# tests/unit needs neither root nor apt.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # the system's Python: parts of the tests run as another user, who can use it

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
venv=$(tests/venv.sh requirements.txt requirements/*.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv")
export SCREEN_POP_CACHE
if [ -z "$paths" ]; then
    set -- tests/unit tests/process tests/session tests/phonebook tests/fault tests/scale tests/asterisk tests/install "$@"
fi
unset PYTHONDONTWRITEBYTECODE # what pytest makes of the asserts is kept; to make it takes 3 s
exec "$venv/bin/python" -m pytest "$@"
