"""Where a backup is written: its file, and a folder for the copy of the database.

Both are locked while they are used, and what a backup that was killed has left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO

from rapidflow_web import private_files
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.removal import remove_surely

MANIFEST = "rapidflow-backup.json"
"""The name of the first file in a backup, with which the tar file begins."""
_SCRATCH = "backup-by-rapidflow-"


class BackupError(RapidFlowError):
    """A backup can't be made or used; the message says why."""


@contextlib.contextmanager
def written(target: Path) -> Generator[IO[bytes]]:
    """A file that becomes `target` when it is whole, so that this is never there in part.

    Raises `BackupError` where somebody else writes it, `OSError`.
    """
    fresh = target.with_name(f"{target.name}.new")
    with private_files.no_room_named(target), _ours(fresh, target) as output:
        try:
            yield output
            output.flush()
            os.fsync(output.fileno())
            fresh.rename(target)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _ours(fresh: Path, target: Path) -> Generator[IO[bytes]]:
    """The empty and locked file `fresh`, which may have the beginning of a backup that was killed."""
    in_the_way = f"{fresh} is there and is no backup that was cut short; move it away, or name another file"
    if os.path.lexists(fresh) and not stat.S_ISREG(fresh.lstat().st_mode):
        raise BackupError(in_the_way)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(fresh, flags, 0o600), "r+b") as output:
        try:
            fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_fresh = os.path.samestat(os.fstat(output.fileno()), fresh.lstat())
        except (BlockingIOError, FileNotFoundError):
            is_fresh = False
        if not is_fresh:
            raise BackupError(f"another backup is written to {target}; name another file")
        begin = output.read(len(MANIFEST) + 1)
        if begin not in (b"", f"{MANIFEST}\0".encode()):
            raise BackupError(in_the_way)
        output.seek(0)
        output.truncate()
        os.fchmod(output.fileno(), 0o600)
        yield output


@contextlib.contextmanager
def scratch(root: Path) -> Generator[Path]:
    """A folder inside the data folder `root`, until the end. Raises `OSError`."""
    remove_left_over(root)
    with contextlib.ExitStack() as stack:
        folder: Path | None = None
        while folder is None:
            made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root))
            # Others may take it for left over before it is locked.
            if (lock := _locked(made)) is None:
                remove_surely(made)
                continue
            stack.callback(os.close, lock)
            folder = made
        stack.callback(remove_surely, folder)
        yield folder


def left_over(root: Path) -> list[Path]:
    """Such folders in `root` that no backup uses, and those of older versions."""
    found: list[Path] = []
    for path in root.glob("backup-*"):
        if not path.name.startswith(_SCRATCH):
            found.append(path)
        elif (lock := _locked(path)) is not None:
            os.close(lock)
            found.append(path)
    return found


def remove_left_over(root: Path) -> None:
    """Removes such folders, but none that may be somebody else's by its name. Raises `OSError`."""
    for path in left_over(root):
        if path.name.startswith(_SCRATCH):
            remove_surely(path)


def _locked(folder: Path) -> int | None:
    """A descriptor that locks a folder; None where it is locked, or gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), folder.lstat()):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
