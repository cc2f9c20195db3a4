#!/usr/bin/env bash
# The promises R5 to R13 in full size: installs what is missing, builds, injects the faults, and prints the table that
# stands in the README. About 20 minutes, on a machine that does nothing else.
#   tests/reliability.sh [FILE] [TEST...]   FILE: the table again, as JSON if it ends in .json; TEST: e.g. cancel restart
set -euo pipefail
cd "$(dirname "$0")/.."
docker/install-deps.sh
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release --target glimpse-server glimpse-fake-server glimpse-load
cmake --preset asan --log-level=WARNING >/dev/null  # with fail points
cmake --build --preset asan --target glimpse-fake-server

file=${1:-}
shift || true
tests=("$@")
((${#tests[@]})) || tests=(slow_reader stalled cancel deadline overload memory_pressure engine_fault fail_point restart connections)
rows=$(mktemp -d)
trap 'rm -rf "$rows"' EXIT
export PYTHONPATH=$PWD/tests/e2e GLIMPSE_RELIABILITY=full GLIMPSE_RELIABILITY_ROWS=$rows
failed=0
for test in "${tests[@]}"; do
  bin=build
  [[ $test != fail_point ]] || bin=build-asan
  begun=$SECONDS
  GLIMPSE_BIN=$PWD/$bin/bin .venv/bin/python "tests/reliability/${test}_test.py" >"$rows/$test.log" 2>&1 || {
    failed=1
    cat "$rows/$test.log"
  }
  echo "$test: $((SECONDS - begun)) s" >&2
done
.venv/bin/python tests/reliability/report.py "$rows" ${file:+"$file"} || failed=1
exit $failed
