#!/usr/bin/env bash
# The promises R5 to R13 in full size: installs what is missing, builds, injects the faults, and prints the table that
# stands in the README. About half an hour, on a machine that does nothing else.
#   tests/reliability.sh [FILE] [TEST...]
# FILE: the table again, as JSON if it ends in .json. TEST, instead of all: e.g. cancel restart, for tests/reliability's
# cancel_test.py and restart_test.py. A FILE has a dot or a slash in its name; a TEST has neither.
set -euo pipefail
cd "$(dirname "$0")/.."
file=
if [[ ${1:-} == *[./]* ]]; then
  file=$1
  shift
fi
tests=("$@")
((${#tests[@]})) || tests=(slow_reader stalled cancel history deadline overload memory_pressure engine_fault fail_point
  restart connections)
for test in "${tests[@]}"; do
  [[ -f tests/reliability/${test}_test.py ]] || {
    echo "no such test: $test" >&2
    exit 2
  }
done

docker/install-deps.sh
build() {  # PRESET TARGET...
  cmake --preset "$1" --log-level=WARNING >/dev/null
  cmake --build --preset "$1" --target "${@:2}"
}
build release glimpse-server glimpse-fake-server glimpse-load
[[ " ${tests[*]} " != *" fail_point "* ]] || build asan glimpse-fake-server  # with fail points
[[ " ${tests[*]} " != *" history "* ]] || build tsan history_test

rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
export PYTHONPATH=$PWD/tests/e2e GLIMPSE_RELIABILITY=full GLIMPSE_RELIABILITY_ROWS=$rows
failed=0
for test in "${tests[@]}"; do
  case $test in
    fail_point) bin=build-asan ;;
    history) bin=build-tsan ;;
    *) bin=build ;;
  esac
  begun=$SECONDS
  GLIMPSE_BIN=$PWD/$bin/bin .venv/bin/python "tests/reliability/${test}_test.py" >"$rows/$test.log" 2>&1 || {
    failed=1
    cat "$rows/$test.log"
  }
  echo "$test: $((SECONDS - begun)) s" >&2
done
.venv/bin/python tests/reliability/report.py "$rows" ${file:+"$file"} || failed=1
exit $failed
