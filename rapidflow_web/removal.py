"""Lists and removes what servers and builds wrote."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_OF_THE_DISK = "lost+found"


def contents(folder: Path) -> Iterator[Path]:
    """What is in a folder; not what the file system of a disk keeps in it if it is a mount point."""
    return (path for path in folder.iterdir() if path.name != _OF_THE_DISK)


def remove_folder(folder: Path) -> None:
    """Removes a folder with all that is in it, as far as that can be done; no harm if there is none.

    Builds leave folders in which not even their owner may write.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
    for path, inner, _ in os.walk(folder):
        for name in inner:
            # What a link leads to is not the build's; what is another user's stays.
            if not (Path(path) / name).is_symlink():
                with contextlib.suppress(OSError):
                    (Path(path) / name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def remove_surely(path: Path) -> None:
    """Removes a file, or a folder like `remove_folder`. Raises `OSError` where something of it stays."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    remove_folder(path)
    if path.exists():
        shutil.rmtree(path)
