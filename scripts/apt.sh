#!/usr/bin/env bash
# apt.sh PACKAGE...
#
# Installs Debian packages. Ends with 1 where it can't: not Debian, not root, or apt-get failed (it then says
# why). What that means is for the caller to say.
set -euo pipefail

[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT

install() {
  apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" >"$log" 2>&1 </dev/null
}

echo "Installing Debian packages: $*"
# Only a bare or an old machine needs new lists.
install "$@" || { apt-get update >/dev/null 2>&1 && install "$@"; } || {
  grep '^E:' "$log" >&2 || tail -n 3 "$log" >&2
  exit 1
}
