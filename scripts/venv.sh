#!/usr/bin/env bash
# venv.sh [dev]
#
# Makes .venv with the pinned requirements and the project itself, editable; "dev" adds what tests and lint
# need. Does nothing when it was made from the same files.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "$*" >&2
  exit 1
}

files=(requirements.txt requirements-build.txt)
made_from=.venv/made-from
if [ "${1-}" = dev ]; then
  files+=(requirements-dev.txt)
  made_from=.venv/made-from-dev
fi

sources() {
  # The scripts in .venv/bin hold the path of the folder.
  echo "$PWD"
  cat pyproject.toml "$@"
}

if [ -x .venv/bin/python ] && cmp -s "$made_from" <(sources "${files[@]}"); then
  exit 0
fi

find_python() {
  local python
  for python in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

usable() {
  grep -qsF "$PWD/.venv" .venv/bin/activate && .venv/bin/python -m pip --version >/dev/null 2>&1
}

pip() {
  .venv/bin/python -m pip -qq --disable-pip-version-check "$@" ||
    fail "pip could not install all that is needed; it says why above."
}

if ! python=$(find_python); then
  # Debian has Python without venv, bare Debian has none.
  if ! scripts/apt.sh python3 python3-venv || ! python=$(find_python); then
    fail "Python 3.11 or newer with its venv module is needed and not here; install it, or set PYTHON."
  fi
fi

if ! usable; then
  echo "Making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi
echo "Installing the pinned requirements into .venv (a minute or two)"
pip install "${files[@]/#/--requirement=}"
pip install --no-deps --no-build-isolation --editable .
sources "${files[@]}" >"$made_from"
# What "dev" installs is all that the server needs, too.
[ "${1-}" != dev ] || sources "${files[@]:0:2}" >.venv/made-from
