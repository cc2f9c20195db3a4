#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests through ctest. Arguments go to ctest (e.g. -R tokenizer).
set -euo pipefail
cd "$(dirname "$0")"
docker/install-deps.sh
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release
ctest --preset release "$@"
