#!/bin/sh
# venv.sh REQUIREMENTS-FILE…: prints the path of a virtual environment with these requirements. It is made once for each
# version of the files and of Python, in the cache folder of the tests, $SCREEN_POP_CACHE. Run it at the top of the
# checkout.
set -eu
umask 022 # servers of the tests run as another user, and their programs are in this folder

if [ "$(id -u)" -eq 0 ]; then
    default=/var/cache/screen_pop-tests
else
    default=${XDG_CACHE_HOME:-$HOME/.cache}/screen_pop-tests
fi
cache=${SCREEN_POP_CACHE:-$default}
python=$(python3 -c 'import sys; print(sys.version, sys.prefix)')
key=$( (echo "$python $*" && cat requirements.txt requirements/*.txt tests/*requirements*.txt) | sha256sum | cut -c 1-16)
venv=$cache/venv-$key
mkdir -p "$cache"
(
    flock 9
    if [ ! -e "$venv/complete" ]; then
        rm -rf "$venv"
        python3 -m venv "$venv"
        for file; do
            case $file in
            requirements/*) set -- --no-deps ;; # these files name all that is needed, as for the installer
            *) set -- ;;
            esac
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "$@" -r "$file"
        done
        touch "$venv/complete"
    fi
) 9>"$cache/lock" >&2 </dev/null
echo "$venv"
