"""Files that nobody but the server's user may read, whatever the umask is that it was started with."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_OTHERS = 0o077


def opener(path: str, flags: int) -> int:
    """For `open`: makes such a file where there is none."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write(path: Path, data: bytes) -> None:
    """Writes such a file. Raises `OSError`."""
    with open(path, "wb", opener=opener) as file:
        file.write(data)


def make(path: Path) -> None:
    """Makes such a file, or one of it that is there already. Raises `OSError`."""
    os.close(opener(str(path), os.O_WRONLY | os.O_CREAT))
    close(path)


def close(path: Path) -> None:
    """Takes a file or a folder from others, if it is there and ours."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        mode = path.stat().st_mode
        if mode & _OTHERS:
            path.chmod(mode & 0o7777 & ~_OTHERS)
