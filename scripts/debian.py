"""Debian packages, where we may install them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_APT = Path(__file__).with_name("apt.sh")


def install(*packages: str) -> bool:
    """Installs packages; False where that can't be done (not Debian, not root, or apt-get failed)."""
    return subprocess.run([_APT, *packages]).returncode == 0


def provide(commands: Mapping[str, str]) -> list[str]:
    """Installs the packages of those commands that are not here; returns the commands still missing."""
    if packages := sorted({commands[command] for command in missing(commands)}):
        install(*packages)
    return missing(commands)


def missing(commands: Mapping[str, str]) -> list[str]:
    """The commands that are not here."""
    return [command for command in commands if shutil.which(command) is None]
