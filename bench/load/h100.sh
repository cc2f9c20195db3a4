#!/usr/bin/env bash
# h100.sh OUT: what a server of the 9B's size (random weights) does on one GPU under load. Writes to the folder OUT a
# report of each run, NAME.json and NAME.txt, the server's log and its /metrics at the end.
#
#     PATH=build/bin:$PATH bench/load/h100.sh out            in a checkout
#     DIR/run bench/load/h100.sh /tmp/out                    in a bundle for a GPU machine
#
# Runs: text only, 4, 16 and 64 calls at a time; 16 text calls at a time while one picture a second comes; ten times
# as many calls as the 64 could take. About 130 s. From the environment, to try it elsewhere: CONFIG (folder of the
# config.json), SERVER_FLAGS, PROMPT, ANSWER, BATCH (the largest run's calls at a time) and SCALE (of all durations).
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
prompt=${PROMPT:-512} answer=${ANSWER:-256} batch=${BATCH:-64} scale=${SCALE:-1}

# The sizes of CONFIG, and the tokenizer of models/tiny: ids beyond its vocabulary have no text, which costs nothing.
config=${CONFIG:-bench/glm-4v-9b}
scratch=$(mktemp -d)
model=$scratch/$(basename "$config")
mkdir "$model"
cp "$config/config.json" models/tiny/tokenizer.model models/tiny/tokenizer_config.json "$model"
started=$(date +%s%N)
# shellcheck disable=SC2086
glimpse-server --model="$model" --load_format=dummy --max_batch_size="$batch" --listen=127.0.0.1:0 \
  --admin_listen=127.0.0.1:0 --request_log=stderr ${SERVER_FLAGS:-} 2>"$out/server.log" &
server=$!
trap 'kill -KILL $server 2>/dev/null || true; rm -rf "$scratch"' EXIT

for ((i = 0; i < 900; i++)); do
  address=$(sed -n 's/^listening on \([0-9.]*:[0-9]*\).*/\1/p' "$out/server.log")
  [[ -z $address ]] || break
  kill -0 $server || { cat "$out/server.log"; exit 1; }
  sleep 0.1
done
[[ -n $address ]] || { echo "the server is not ready after 90 s"; exit 1; }
echo "listening $((($(date +%s%N) - started) / 1000000)) ms after the start" | tee "$out/start.txt"
metrics=$(sed -n 's/^metrics on \(http[^ ]*\).*/\1/p' "$out/server.log")

seconds() { python3 -c "print(f'{$1 * $scale}s')"; }

# load NAME SECONDS FLAG ...
load() {
  local name=$1 duration=$2
  shift 2
  glimpse-load --server="$address" --server_pid=$server --label="$name" --json="$out/$name.json" \
    --duration="$(seconds "$duration")" --warm_up="$(seconds 2)" --prompt_tokens="$prompt" --answer_tokens="$answer" \
    "$@" >"$out/$name.txt" 2>"$out/$name.progress" || echo "$name: exit code $?"
  echo "== $name" && cat "$out/$name.txt"
}

load text_4 10 --concurrency=4
load text_16 12 --concurrency=16
load "text_$batch" 20 --concurrency="$batch"

load pictures 18 --rate=1 --steady --picture_share=1 --picture_side=1120 --prompt_tokens=32 --answer_tokens=64 \
  >"$out/pictures.out" &
pictures=$!
load text_16_beside_pictures 18 --concurrency=16
wait $pictures
cat "$out/pictures.out"
rm "$out/pictures.out"

rate=$(python3 -c "import json, sys; print(10 * json.load(open(sys.argv[1]))['rates']['completed_per_s'])" \
  "$out/text_$batch.json")
[[ $rate != 0 && $rate != 0.0 ]] || { echo "text_$batch completed no call: no rate for ten_times"; exit 1; }
load ten_times 18 --rate="$rate" --connections=4 --drain="$(seconds 5)"

python3 -c "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())" "$metrics" \
  >"$out/metrics.txt"
kill -TERM $server
wait $server && echo "the server has ended as it should"
