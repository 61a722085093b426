#!/bin/sh
# bench/run.sh [CALLS]: how long a call is held, and how long a pop takes. As root; see hold.py.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # as tests/run.sh
tests/packages.sh
venv=$(tests/venv.sh requirements.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv") PYTHONPATH=lib:tests exec "$venv/bin/python" bench/hold.py "$@"
