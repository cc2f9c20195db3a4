#!/usr/bin/env bash
# ./demo.sh [image] [question]: installs what is missing, builds, starts a server on the checkpoint in models/tiny,
# asks it about the picture, prints the answer as it streams, and stops the server.
set -euo pipefail
cd "$(dirname "$0")"
image=${1:-examples/picture.jpg}
question=${2:-What is in this picture?}

docker/install-deps.sh
cmake --preset release --log-level=WARNING >/dev/null
cmake --build --preset release --target glimpse-server glimpse-chat

log=$(mktemp)
build/bin/glimpse-server --model=models/tiny --listen=127.0.0.1:0 --admin_listen=off >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server; rm -f "$log"' EXIT

address=
until address=$(sed -n 's/.*listening on \([^ ]*\).*/\1/p' "$log") && [[ $address ]]; do
  kill -0 $server 2>/dev/null || { cat "$log"; exit 1; }
  sleep 0.1
done
echo "$image: $question"
build/bin/glimpse-chat --server="$address" --image="$image" "$question"
