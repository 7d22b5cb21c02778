#!/usr/bin/env bash
# Writes the requirements files anew: the newest versions that pyproject.toml allows, the whole tree, pinned.
# PIP_CONSTRAINT is obeyed, as by every pip.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# pins FILE WHAT...: writes what pip installs for WHAT
pins() {
  local venv=$scratch/venv-$1
  python3 -m venv "$venv"
  # Dependency groups are new in pip 25.1.
  "$venv/bin/python" -m pip --quiet install --upgrade 'pip>=25.1'
  "$venv/bin/python" -m pip --quiet install "${@:2}"
  {
    echo "# Made by scripts/pin.sh"
    "$venv/bin/python" -m pip freeze --exclude rapidflow-web
  } >"$scratch/$1"
}

pins requirements.txt .
pins requirements-build.txt --group build
pins requirements-dev.txt --group dev --constraint "$scratch/requirements.txt" \
  --constraint "$scratch/requirements-build.txt"
mv "$scratch"/requirements*.txt .
