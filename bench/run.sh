#!/bin/sh
# bench/run.sh [hold|burst|drain|steady|where|commands|phonebook|sessions] [CALLS [ROUNDS]]: runs one measurement, or all.
# Their files describe them. hold, burst, where and a part of phonebook need root.
set -eu

cd "$(dirname "$0")/.."
PATH=/usr/bin:$PATH # as tests/run.sh
which="hold burst drain steady where commands phonebook sessions"
case ${1-} in
hold | burst | drain | steady | where | commands | phonebook | sessions)
    which=$1
    shift
    ;;
[0-9]*) which=hold ;;
esac
tests/packages.sh
venv=$(tests/venv.sh requirements.txt requirements/*.txt tests/requirements.txt)
SCREEN_POP_CACHE=$(dirname "$venv")
export SCREEN_POP_CACHE

failed=0
for measurement in $which; do
    PYTHONPATH=lib:tests "$venv/bin/python" "bench/$measurement.py" "$@" || failed=1
    echo
done
exit $failed
