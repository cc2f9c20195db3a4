#!/usr/bin/env bash
# Installs what is missing of the one list of dependencies: Debian 12 packages (packages.txt) and a Python
# environment (requirements.txt), which lives in $GLIMPSE_CACHE (default ~/.cache/glimpse) so that every checkout
# shares it. Links it as .venv. Does nothing, quickly, when all is there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GLIMPSE_CACHE:-$HOME/.cache/glimpse}

mapfile -t packages < <(grep -v '^#' "$here/packages.txt")
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing ${#missing[@]} Debian packages"
  sudo=$([[ $(id -u) == 0 ]] || echo sudo)
  # Only the tests start a Prometheus; Debian's package would start another as a service.
  [[ ! -d /run/systemd/system || " ${missing[*]} " != *" prometheus "* ]] || $sudo systemctl mask --quiet prometheus
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

stamp=$cache/venv/requirements.txt
if ! cmp -s "$here/requirements.txt" "$stamp"; then
  echo "installing the Python environment (about 5 GB, most of it torch) into $cache/venv"
  mkdir -p "$cache"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$stamp"
fi
ln -sfn "$cache/venv" "$here/../.venv"
