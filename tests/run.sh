#!/bin/sh
# Runs all tests, from nothing: installs what they need and then calls pytest, with the arguments given.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # the system's Python: an ordinary user, as which parts of it run, can use that
tests/packages.sh
venv=$(tests/venv.sh requirements.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv")
export SCREEN_POP_CACHE

# The fast ones first, the real Asterisk last.
folders=
for folder in tests/unit tests/process tests/session tests/fault tests/asterisk tests/install; do
    if [ -n "$(find "$folder" -name 'test_*.py')" ]; then
        folders="$folders $folder"
    fi
done
# shellcheck disable=SC2086 # one argument for each folder
exec "$venv/bin/python" -m pytest $folders "$@"
