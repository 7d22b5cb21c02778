"""The files of a log, read alike whether they are compressed or not."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from rapidflow_web.logs.compressed import CompressedFile, path_of


class PlainFile:
    """A file that may still grow. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._fd)

    @property
    def size(self) -> int:
        """Bytes there are now."""
        return os.fstat(self._fd).st_size

    def read(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset`; fewer only at the end."""
        return os.pread(self._fd, count, offset)

    def read_now(self, offset: int, count: int) -> bytes | None:
        """The same if it is in memory, else None."""
        try:
            buffer = bytearray(count)
            if os.preadv(self._fd, [buffer], offset, os.RWF_NOWAIT) == count:
                return bytes(buffer)
        except (OSError, AttributeError):
            pass  # not in memory, or a system that can't tell
        return None

    def close(self) -> None:
        """Gives the descriptor back. Safe to call again."""
        self._close()


File = PlainFile | CompressedFile


def open_file(path: Path, kept: int = 1) -> File:
    """The file `path`, or its compressed form, of which `kept` blocks are kept. Raises `OSError`."""
    try:
        return PlainFile(path)
    except FileNotFoundError:
        # In this order: the compressed form is there before the other goes.
        return CompressedFile(path_of(path), kept)
