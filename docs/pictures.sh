#!/bin/sh
# docs/pictures.sh: takes the pictures of README.md, as root: gajim, dino and profanity show a pop and its correction.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # as tests/run.sh
tests/packages.sh
venv=$(tests/venv.sh requirements.txt requirements/*.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv")
export SCREEN_POP_CACHE
PYTHONPATH=lib:tests exec "$venv/bin/python" docs/pictures.py
