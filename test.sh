#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests through ctest, those labelled gpu only where there is a GPU.
# Arguments go to ctest (e.g. -R tokenizer).
set -euo pipefail
cd "$(dirname "$0")"
docker/install-deps.sh
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release
if [[ ! -e /dev/nvidia0 ]]; then
  set -- -LE gpu "$@"
  echo "no GPU here (/dev/nvidia0): the tests labelled gpu are left out"
fi
ctest --preset release "$@"
