"""Files that nobody but the server's user may read, whatever the umask is that it was started with."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Generator
from pathlib import Path
from typing import BinaryIO

_OTHERS = 0o077
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def opener(path: str, flags: int) -> int:
    """For `open`: makes such a file where there is none."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A new file that takes the place of `path` at the end of the block, whole or not at all.

    It is made beside it as `.new`, and is on the disk when the block has ended. If the block raises, `path`
    is as it was, and nothing is left over. Raises `OSError`.
    """
    fresh = path.with_name(f"{path.name}.new")
    try:
        with open(fresh, "wb", opener=opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def no_room_named(path: Path) -> Generator[None]:
    """Has an `OSError` for want of room say which file it was: those of writes don't."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _NO_ROOM:
            error.filename = str(path)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Writes `data` to `path` as `replacing` does. Raises `OSError`."""
    with replacing(path) as file:
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
