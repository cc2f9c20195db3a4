#!/usr/bin/env bash
# unpack.sh DIR: unpacks the parts of the bundle whose pieces lie beside this script.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
for part in engine service tests; do
  compgen -G "$here/$part.tar.xz.*" >/dev/null || continue
  cat "$here/$part".tar.xz.* |
    python3 -c 'import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz").extractall(sys.argv[1])' "$1"
  echo "unpacked $part"
done
